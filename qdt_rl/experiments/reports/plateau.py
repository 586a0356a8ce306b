"""Whether 2,000 updates are a plateau."""

from collections.abc import Iterator, Mapping, Sequence

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import LATE_LOSS, Group, Moment, Outcomes, by_seed, learning_curve
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import LOSS, Curves

_EARLY = Moment(2000)
_HEADER = ["agent", "seeds", "2,000 updates", "at the end", "difference", LATE_LOSS]
_INTRODUCTION = """\
After 2,000 updates the agents are judged at the end alone, so that a rise is seen, and one that fell again is
not.
"""


def plateau_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return for each dataset what the updates beyond 2,000 bring, and what they do to QDT − DT."""
    parts = [_INTRODUCTION, outcomes.shortfall(cells)]
    curves, losses = [], []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        groups = by_seed((cell for cell in cells if cell.dataset == dataset), lambda cell: cell.variant)
        parts += [f"### {dataset}\n", markdown_table(_HEADER, _rows(groups, outcomes))]
        run = {agent: seeds for agent, group in groups.items() if (seeds := outcomes.finished(group))}
        returns = {agent: learning_curve(groups[agent], outcomes, seeds) for agent, seeds in run.items()}
        traces = {agent: outcomes.trace(groups[agent], seeds, "loss") for agent, seeds in run.items()}
        if returns:
            low, high = outcomes.references(groups.values())
            parts.append(f"Random actions return {low:,.0f}, the expert {high:,.0f}.\n")
            curves.append(Curves(dataset, "updates", "return", returns, log_x=True))
            losses.append(Curves(dataset, "updates", LOSS, traces, log_y=True, as_band=True))
    return Page("\n".join(parts), {"curves": curves, "losses": losses} if curves else {})


def _rows(groups: Mapping[str, Group], outcomes: Outcomes) -> Iterator[list[str]]:
    for agent, group in groups.items():
        seeds = outcomes.finished(group)
        early, late = outcomes.returns(group, seeds, _EARLY), outcomes.returns(group, seeds)
        yield [
            f"`{agent}`",
            f"{len(seeds)} of {len(group)}",
            *(mean_and_interval(returns) for returns in (early, late)),
            mean_and_interval(late - early, signed=True),
            mean_and_interval(1000 * outcomes.late(group, seeds, "loss"), digits=2),
        ]
    seeds = outcomes.finished(groups["qdt"], groups["dt"])
    gaps = [outcomes.gaps(groups["qdt"], groups["dt"], seeds, moment) for moment in (_EARLY, None)]
    row = ["`qdt` − `dt`", f"{len(seeds)} of {len(groups['qdt'])}"]
    yield [*row, *(mean_and_interval(gap, signed=True) for gap in (*gaps, gaps[1] - gaps[0])), "–"]
