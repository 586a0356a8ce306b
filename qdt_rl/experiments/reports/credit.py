"""What delayed rewards cost, and what a context is worth, with a hidden polarity too."""

from collections.abc import Iterator, Mapping, Sequence

from qdt_rl.config import ModelConfig
from qdt_rl.evaluation.statistics import student_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import DELAYED, HIDDEN, REPLAY
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.conditions import WITH_CONTEXT, Condition, conditions
from qdt_rl.experiments.reports.contexts import context_panel, context_table, leads_text
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes
from qdt_rl.experiments.reports.page import Page, Panel, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves

_DELAY_OF = {dataset: delay for delay, dataset in DELAYED.items()}
_DELAYS_HEADER = [
    "context",
    "agent",
    "delay",
    "seeds",
    "run alike",
    "undelayed",
    "delayed",
    "difference",
    "score kept, %",
]
_CONTRASTS_HEADER = [
    "context",
    "delay",
    "seeds",
    "run alike",
    "compared with",
    "the delay costs `qdt` less by",
]
_RIVALS = ("dt", "wide-dt")
_INTRODUCTION = """\
An agent that is trained with windows of K timesteps acts from the last ⌊K/2⌋ + 1 to K of them, and sees K
times as many actions in an update as with a context of 1.

### Delayed rewards

Each row compares a delayed run with the undelayed one of the same seed. The score kept is the first's over
the second's; a score is 0 for random actions, 100 for the expert. Runs alike are those on one kind of
processor, at one precision and from one commit. Cloning reads no rewards, and its best tenth is the same
episodes: where its runs are not alike, its rows show what another processor does.
"""
_CONTRASTS = """\
Does QDT assign credit better? By the seed, and with Student's 95 % intervals. It says little where the delay
costs nobody anything.
"""
_CONTEXTS = """\
### Contexts

Each row's differences are from runs of the same seeds. A longer context means more actions in an update too,
in proportion, so that memory is not told apart from the size of the batch. The loss is the mean over the last
500 updates of runs that did not diverge.
"""
_HIDDEN = """\
### Hidden polarity

The difference from the same agent with a context of 1 is what memory and the more actions in an update are
worth; the one from `bc`, which differs in its network and its batches too, also what asking for a return is
worth. The loss is the mean over the last 500 updates of runs that did not diverge, and over all positions of
the windows, of which the first ones have little to remember where the context is longer than 1.
"""


def credit_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return what agents keep of their undelayed return, and their returns with a hidden polarity."""
    groups = conditions(cells)
    delays = markdown_table(_DELAYS_HEADER, _delay_rows(groups, outcomes))
    contrasts = markdown_table(_CONTRASTS_HEADER, _contrast_rows(groups, outcomes))
    usual = ModelConfig.context_length
    contexts = (
        f"Rewards {when}:\n\n{context_table(groups, outcomes, DELAYED[delay], 'bc-10%', usual)}"
        for delay, when in ((1, "at once"), (50, "50 steps late"))
    )
    hidden = context_table(groups, outcomes, HIDDEN, "bc", 1)
    shortfall = outcomes.shortfall(cell for group in groups.values() for cell in group.values())
    parts = (shortfall, _INTRODUCTION, delays, _CONTRASTS, contrasts, _CONTEXTS, *contexts)
    parts += (leads_text(groups, outcomes), _HIDDEN, hidden)
    figures = {
        "delays": _delay_panels(groups, outcomes),
        "contexts": context_panel(groups, outcomes, REPLAY, "medium-replay"),
        "hidden": context_panel(groups, outcomes, HIDDEN, "hidden polarity"),
    }
    return Page("\n".join(parts), {name: panels for name, panels in figures.items() if panels})


def _delay_rows(groups: Mapping[Condition, Group], outcomes: Outcomes) -> Iterator[list[str]]:
    for condition, group in sorted(groups.items(), key=lambda item: (item[0][1:], _delay(item[0]))):
        undelayed = groups.get(condition._replace(dataset=DELAYED[1]), {})
        planned = group.keys() & undelayed.keys()
        if _delay(condition) == 1 or not planned:
            continue
        seeds = outcomes.finished(group, undelayed)
        before, after = outcomes.returns(undelayed, seeds), outcomes.returns(group, seeds)
        yield [
            condition.context,
            f"`{condition.agent}`",
            str(_delay(condition)),
            f"{len(seeds)} of {len(planned)}",
            str(len(outcomes.alike(group, undelayed))),
            *(mean_and_interval(returns) for returns in (before, after)),
            mean_and_interval(after - before, signed=True),
            mean_and_interval(outcomes.kept(group, undelayed, seeds)),
        ]


def _contrast_rows(groups: Mapping[Condition, Group], outcomes: Outcomes) -> Iterator[list[str]]:
    """Yield how much less a delay costs QDT than its rivals, where all of them were planned."""
    own = [condition for condition in groups if condition.agent == "qdt" and _delay(condition) > 1]
    for condition in sorted(own, key=lambda condition: (condition.context_length, _delay(condition))):
        for rival in _RIVALS:
            pair = (condition, condition._replace(agent=rival))
            runs = [groups.get(c, {}) for c in pair]
            runs += [groups.get(c._replace(dataset=DELAYED[1]), {}) for c in pair]
            planned = set.intersection(*(set(group) for group in runs))
            if not planned:
                continue
            seeds = outcomes.finished(*runs)
            mine, its, mine_before, its_before = (outcomes.returns(group, seeds) for group in runs)
            less = (its_before - its) - (mine_before - mine)
            yield [
                condition.context,
                str(_delay(condition)),
                f"{len(seeds)} of {len(planned)}",
                str(len(outcomes.alike(*runs))),
                f"`{rival}`",
                mean_and_interval(less, signed=True, interval=student_interval),
            ]


def _delay_panels(groups: Mapping[Condition, Group], outcomes: Outcomes) -> list[Panel]:
    """Draw what a delay changes, a panel a context; each point has the seeds of its table's row."""
    panels: list[Panel] = []
    for context_length in sorted({condition.context_length for condition in groups}):
        lines: dict[str, dict[float, Array]] = {}
        for agent in WITH_CONTEXT:
            by_delay = {
                delay: groups.get(Condition(dataset, context_length, agent), {})
                for delay, dataset in DELAYED.items()
            }
            undelayed = by_delay.pop(1)
            for delay, group in by_delay.items():
                if seeds := outcomes.finished(group, undelayed):
                    lines.setdefault(agent, {})[delay] = outcomes.gaps(group, undelayed, seeds)
        title, label = f"context of {context_length}", "return less the undelayed one of the seed"
        if lines:
            delay_label, levels = "delay of the reward, steps", {"as without delay": 0.0}
            panels.append(Curves(title, delay_label, label, lines, log_x=True, levels=levels))
    return panels


def _delay(condition: Condition) -> int:
    return _DELAY_OF.get(condition.dataset, 1)
