"""What delayed rewards cost, and what a context is worth, with a hidden polarity too."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from qdt_rl.config import ModelConfig
from qdt_rl.evaluation.statistics import student_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ABLATION, DELAYED, HIDDEN
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes, by_seed, settings_of
from qdt_rl.experiments.reports.page import Page, Panel, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves

_DELAY_OF = {dataset: delay for delay, dataset in DELAYED.items()}
_WITH_CONTEXT = ("dt", "qdt", "wide-dt")
_WITHOUT = ("bc", "bc-10%")
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


class Condition(NamedTuple):
    """What the runs of a group share."""

    dataset: str
    context_length: int
    agent: str


def conditions(cells: Sequence[Cell]) -> dict[Condition, dict[int, Cell]]:
    """Return the runs of each condition; with the usual context and short delays they are the ablation's."""
    datasets = {*DELAYED.values(), HIDDEN}
    agents = (*_WITH_CONTEXT, *_WITHOUT)
    usual = (
        cell
        for cell in ABLATION
        if cell.dataset in datasets and not cell.n_data_episodes and cell.variant in agents
    )
    return by_seed([*cells, *usual], _condition)


def _condition(cell: Cell) -> Condition:
    context_length = settings_of(cell).get("context_length", ModelConfig.context_length)
    return Condition(cell.dataset, context_length if cell.variant in _WITH_CONTEXT else 1, cell.variant)


def credit_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return what agents keep of their undelayed return, and their returns with a hidden polarity."""
    groups = conditions(cells)
    delays = markdown_table(_DELAYS_HEADER, _delay_rows(groups, outcomes))
    contrasts = markdown_table(_CONTRASTS_HEADER, _contrast_rows(groups, outcomes))
    usual = ModelConfig.context_length
    contexts = (
        f"Rewards {when}:\n\n{_by_context(groups, outcomes, DELAYED[delay], 'bc-10%', usual)}"
        for delay, when in ((1, "at once"), (50, "50 steps late"))
    )
    hidden = _by_context(groups, outcomes, HIDDEN, "bc", 1)
    shortfall = outcomes.shortfall(cell for group in groups.values() for cell in group.values())
    parts = (shortfall, _INTRODUCTION, delays, _CONTRASTS, contrasts, _CONTEXTS, *contexts, _HIDDEN, hidden)
    return Page("\n".join(parts), {**_delay_panels(groups, outcomes), **_hidden_panel(groups, outcomes)})


def _delay_rows(groups: Mapping[Condition, Group], outcomes: Outcomes) -> Iterator[list[str]]:
    for condition, group in sorted(groups.items(), key=lambda item: (item[0][1:], _delay(item[0]))):
        undelayed = groups.get(condition._replace(dataset=DELAYED[1]), {})
        planned = group.keys() & undelayed.keys()
        if _delay(condition) == 1 or not planned:
            continue
        seeds = outcomes.finished(group, undelayed)
        before, after = outcomes.returns(undelayed, seeds), outcomes.returns(group, seeds)
        yield [
            _context(condition),
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
                _context(condition),
                str(_delay(condition)),
                f"{len(seeds)} of {len(planned)}",
                str(len(outcomes.alike(*runs))),
                f"`{rival}`",
                mean_and_interval(less, signed=True, interval=student_interval),
            ]


def _by_context(
    groups: Mapping[Condition, Group], outcomes: Outcomes, dataset: str, cloning: str, context_length: int
) -> str:
    """Return a table of returns by context, beside cloning's and the agent's own with ``context_length``."""
    rows = _context_rows(groups, outcomes, dataset, cloning, context_length)
    compared = [f"− `{cloning}`", f"− own, context {context_length}"]
    return markdown_table(["agent", "context", "seeds", "return", *compared, "normalised", "loss"], rows)


def _context_rows(
    groups: Mapping[Condition, Group], outcomes: Outcomes, dataset: str, cloning: str, context_length: int
) -> Iterator[list[str]]:
    memoryless = groups[Condition(dataset, 1, cloning)]
    for condition, group in sorted(groups.items(), key=lambda item: (item[0].agent, item[0].context_length)):
        if condition.dataset != dataset:
            continue
        seeds = outcomes.finished(group)
        own = groups.get(condition._replace(context_length=context_length), {})
        yield [
            f"`{condition.agent}`",
            _context(condition),
            f"{len(seeds)} of {len(group)}",
            mean_and_interval(outcomes.returns(group, seeds)),
            *(_difference(group, other, outcomes) for other in (memoryless, own)),
            f"{outcomes.scores(group, seeds).mean():.1f}" if seeds else "–",
            mean_and_interval(outcomes.late(group, outcomes.whole(group), "loss"), digits=4),
        ]


def _difference(group: Group, other: Group, outcomes: Outcomes) -> str:
    """Return by how much a group's returns exceed another's of the same seeds; a dash for a group's own."""
    if group is other:
        return "–"
    seeds = outcomes.finished(group, other)
    return mean_and_interval(outcomes.gaps(group, other, seeds), signed=True)


def _delay_panels(groups: Mapping[Condition, Group], outcomes: Outcomes) -> dict[str, list[Panel]]:
    """Draw what a delay changes, a panel a context; each point has the seeds of its table's row."""
    panels: list[Panel] = []
    for context_length in sorted({condition.context_length for condition in groups}):
        lines: dict[str, dict[float, Array]] = {}
        for agent in _WITH_CONTEXT:
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
    return {"delays": panels} if panels else {}


def _hidden_panel(groups: Mapping[Condition, Group], outcomes: Outcomes) -> dict[str, list[Panel]]:
    """Draw the return against the context, of seeds as for delays, and of all what cloning reaches."""
    by_agent: dict[str, dict[float, Group]] = {}
    for condition, group in sorted(groups.items()):
        if condition.dataset == HIDDEN:
            by_agent.setdefault(condition.agent, {})[condition.context_length] = group
    drawn = {agent: outcomes.shared_returns(by_context) for agent, by_context in by_agent.items()}
    lines = {agent: line for agent, line in drawn.items() if line}
    cloning = {agent: lines.pop(agent)[1] for agent in _WITHOUT if agent in lines}
    levels = {f"{agent}, {len(returns)} seeds": returns.mean() for agent, returns in cloning.items()}
    panel = Curves("hidden polarity", "context, timesteps", "return at the end", lines, levels=levels)
    return {"hidden": [panel]} if lines else {}


def _context(condition: Condition) -> str:
    return str(condition.context_length) if condition.agent in _WITH_CONTEXT else "none"


def _delay(condition: Condition) -> int:
    return _DELAY_OF.get(condition.dataset, 1)
