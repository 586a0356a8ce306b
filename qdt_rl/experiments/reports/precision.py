"""What bfloat16 and the cached context cost."""

from collections.abc import Sequence

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Group, Moment, Outcomes, by_seed, moments_of, settings_of
from qdt_rl.experiments.reports.page import Page, mean_and_interval


def precision_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return the returns of each precision and of each context, and their differences paired by seed."""
    groups = by_seed(cells, lambda cell: (cell.variant, settings_of(cell)["precision"]))
    precisions, contexts = [], []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        exact, rounded = groups[variant, "32"], groups[variant, "bf16-mixed"]
        (cell, *_) = rounded.values()
        precisions += [_row(variant, (exact, at), (rounded, at), outcomes) for at in moments_of(cell)]
        cached = Moment(cell.n_steps)
        window = cached._replace(sliding_window=True)
        contexts.append(_row(variant, (rounded, window), (rounded, cached), outcomes))
    header = ["agent", "updates", "seeds"]
    tables = [
        markdown_table([*header, "float32", "bfloat16", "difference"], precisions),
        markdown_table([*header, "sliding window", "cached context", "difference"], contexts),
    ]
    return Page("\n".join([outcomes.shortfall(cells), *tables]))


def _row(
    variant: str, first: tuple[Group, Moment], second: tuple[Group, Moment], outcomes: Outcomes
) -> list[str]:
    """Return the returns of two groups, each at its moment, and what the second has more."""
    seeds = outcomes.finished(first[0], second[0])
    before, after = (outcomes.returns(group, seeds, moment) for group, moment in (first, second))
    count = f"{len(seeds)} of {len(second[0])}"
    returns = [mean_and_interval(before), mean_and_interval(after)]
    difference = mean_and_interval(after - before, signed=True, digits=1)
    return [f"`{variant}`", f"{second[1].n_updates:,}", count, *returns, difference]
