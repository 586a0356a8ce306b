"""Whether 2,000 updates are a plateau."""

from collections.abc import Iterator, Mapping, Sequence

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Group, Moment, Outcomes, by_seed, learning_curve
from qdt_rl.experiments.reports.page import Page, mean_and_interval, table
from qdt_rl.experiments.reports.panels import Curves

_EARLY = Moment(2000)
_HEADER = ["agent", "seeds", "2,000 updates", "at the end", "difference", "per 1,000 updates"]


def plateau_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return for each dataset what the updates beyond 2,000 bring, and what they do to QDT − DT."""
    parts, panels = [outcomes.shortfall(cells)], []
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        groups = by_seed((cell for cell in cells if cell.dataset == dataset), lambda cell: cell.variant)
        parts.append(f"### {dataset}\n\n{table(_HEADER, _rows(groups, outcomes))}")
        lines = {agent: learning_curve(group, outcomes) for agent, group in groups.items()}
        lines = {agent: line for agent, line in lines.items() if line}
        panels += [Curves(dataset, "updates", "return", lines, log_x=True)] if lines else []
    return Page("\n".join(parts), {"curves": panels} if panels else {})


def _rows(groups: Mapping[str, Group], outcomes: Outcomes) -> Iterator[list[str]]:
    for agent, group in groups.items():
        seeds = outcomes.finished(group)
        early, late = outcomes.returns(group, seeds, _EARLY), outcomes.returns(group, seeds)
        n_further = (next(iter(group.values())).n_steps - _EARLY.n_updates) / 1000
        yield [
            f"`{agent}`",
            f"{len(seeds)} of {len(group)}",
            *(mean_and_interval(returns) for returns in (early, late)),
            *(
                mean_and_interval(change, signed=True)
                for change in (late - early, (late - early) / n_further)
            ),
        ]
    seeds = outcomes.finished(groups["qdt"], groups["dt"])
    gaps = [
        outcomes.returns(groups["qdt"], seeds, moment) - outcomes.returns(groups["dt"], seeds, moment)
        for moment in (_EARLY, None)
    ]
    row = ["`qdt` − `dt`", f"{len(seeds)} of {len(groups['qdt'])}"]
    yield [*row, *(mean_and_interval(gap, signed=True) for gap in (*gaps, gaps[1] - gaps[0])), "–"]
