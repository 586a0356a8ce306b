"""What a context is worth, and whether QDT is ahead with a longer one."""

from collections.abc import Iterator, Mapping

from qdt_rl.config import ModelConfig
from qdt_rl.experiments.grids import ALIKE, REPLAY
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.claims import MIN_SEEDS, UNSEEN, above, judged
from qdt_rl.experiments.reports.conditions import WITH_CONTEXT, WITHOUT_CONTEXT, Condition
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes
from qdt_rl.experiments.reports.page import Panel, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves
from qdt_rl.experiments.reports.tasks import Task, difference

_USUAL = ModelConfig.context_length
_LEADS = {**difference("qdt", "dt"), **difference("qdt", "wide-dt"), **difference("wide-dt", "dt")}
_LEADS_HEADER = ["context", "difference", "seeds", "points (seed)", "mean", UNSEEN, "above zero"]
_LEADS_HEADER += ["without one seed", f"{UNSEEN}, less that with {_USUAL}", "above zero"]
_LEADS_TEXT = f"""\
### Is QDT ahead with a longer context?

In points of the score: 0 for random actions, 100 for the expert. With a context of 50 `qdt` was ahead of `dt`
in each of seeds 0 to 2. Whether it is so was left to {UNSEEN}, by a rule that was written down
before any of them had ended: that a difference is above zero is confirmed if its interval, the one by which
the ablation's claims are judged, lies above zero, contradicted if it lies below, and undecided otherwise or
with fewer than {MIN_SEEDS} seeds. The rule was made for `qdt` with 50; the other rows are there to read it
by. The mean of all seeds counts those that raised the question, and decides nothing.
"""


def context_table(
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
            condition.context,
            f"{len(seeds)} of {len(group)}",
            mean_and_interval(outcomes.returns(group, seeds)),
            *(_gap(group, other, outcomes) for other in (memoryless, own)),
            f"{outcomes.scores(group, seeds).mean():.1f}" if seeds else "–",
            mean_and_interval(outcomes.late(group, outcomes.whole(group), "loss"), digits=4),
        ]


def _gap(group: Group, other: Group, outcomes: Outcomes) -> str:
    """Return by how much a group's returns exceed another's of the same seeds; a dash for a group's own."""
    if group is other:
        return "–"
    seeds = outcomes.finished(group, other)
    return mean_and_interval(outcomes.gaps(group, other, seeds), signed=True)


def leads_text(groups: Mapping[Condition, Group], outcomes: Outcomes) -> str:
    """Return by how much QDT is ahead at each context on medium-replay, and the rule that decides it."""
    tasks = {
        context_length: Task(f"context of {context_length}", by_agent, outcomes)
        for context_length, by_agent in _by_context(groups, REPLAY).items()
    }
    rows = (row for context_length in tasks for row in _lead_rows(context_length, tasks))
    return f"{_LEADS_TEXT}\n{markdown_table(_LEADS_HEADER, rows)}"


def _lead_rows(context_length: int, tasks: Mapping[int, Task]) -> Iterator[list[str]]:
    task, usual = tasks[context_length], tasks[_USUAL]
    for name, contrast in _LEADS.items():
        n_planned = task.n_planned(*contrast)
        if not n_planned:
            continue
        seeds = task.seeds(*contrast)
        points = task.points(contrast)
        each = [f"{values.mean():+.1f} ({seed})" for seed, values in zip(seeds, points, strict=True)]
        alone = [seed for seed in seeds if seed in ALIKE]
        shared = [seed for seed in usual.seeds(*contrast) if seed in alone]
        more = task.points(contrast, seeds=shared) - usual.points(contrast, seeds=shared)
        beside = ("–", "–") if task is usual else judged(more, above)[:2]
        yield [
            str(context_length),
            name,
            f"{len(seeds)} of {n_planned}",
            ", ".join(each) or "–",
            judged(points, above)[0],
            *judged(task.points(contrast, seeds=alone), above),
            *beside,
        ]


def _by_context(groups: Mapping[Condition, Group], dataset: str) -> dict[int, dict[str, Group]]:
    """Return the agents with a context, by its length."""
    found: dict[int, dict[str, Group]] = {}
    for condition, group in sorted(groups.items()):
        if condition.dataset == dataset and condition.agent in WITH_CONTEXT:
            found.setdefault(condition.context_length, {})[condition.agent] = group
    return found


def context_panel(
    groups: Mapping[Condition, Group], outcomes: Outcomes, dataset: str, title: str
) -> list[Panel]:
    """Draw returns against the context: of all seeds that a table's row has, in each point."""
    lines: dict[str, dict[float, Array]] = {}
    for condition, group in sorted(groups.items()):
        if condition.dataset == dataset and (seeds := outcomes.finished(group)):
            returns = outcomes.returns(group, seeds)
            lines.setdefault(condition.agent, {})[condition.context_length] = returns
    cloning = {agent: lines.pop(agent)[1] for agent in WITHOUT_CONTEXT if agent in lines}
    levels = {f"{agent}, {len(returns)} seeds": returns.mean() for agent, returns in cloning.items()}
    panel = Curves(title, "context, timesteps", "return at the end", lines, levels=levels)
    return [panel] if lines else []
