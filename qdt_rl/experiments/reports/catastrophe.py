"""Which reading of the paper's description makes Q-attention alone fail."""

from collections.abc import Sequence

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Group, Outcomes, by_seed, in_ablation, settings_of
from qdt_rl.experiments.reports.page import Page, mean_and_interval, table
from qdt_rl.experiments.reports.panels import Rows

_RULE = """\
**The rule.** A reading *fails* if, in every seed that was run, its score is below half of that of
Q-attention's own run of the seed. The score is 0 for random actions and 100 for the expert, at the end, asked
for the best return in the data. Differences are paired by seed; a failed run counts as none, and one that
diverged by the weights before. For comparison: in the paper Q-attention alone is at −2447 and DT at −134, a
difference of −2313.
"""
_WORDS = {("warmup_steps", 0): "no warm-up", ("max_grad_norm", 1e9): "no clipping"}
_HEADER = ["reading", "seeds", "return", "− `q-attention`", "− `dt`", "score kept", "verdict"]


def catastrophe_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return a row a reading, and what Q-attention and DT themselves come to with the same seeds."""
    groups = by_seed(cells, reading)
    first = next(iter(groups.values()))
    beside = {"q-attention, as it is": in_ablation(first), "dt": in_ablation(first, "dt")}
    shortfall = outcomes.shortfall(
        c for group in [*groups.values(), *beside.values()] for c in group.values()
    )
    rows = [_row(name, group, outcomes) for name, group in groups.items()]
    rows += [_row(name, group, outcomes, is_reading=False) for name, group in beside.items()]
    found = {name: outcomes.finished(group) for name, group in (beside | groups).items()}
    returns = {
        name: outcomes.returns((beside | groups)[name], seeds) for name, seeds in found.items() if seeds
    }
    panel = Rows("q-attention, other readings", "return at the end", returns)
    return Page(f"{_RULE}\n{shortfall}\n{table(_HEADER, rows)}", {"readings": [panel]} if returns else {})


def reading(cell: Cell) -> str:
    """Return the name of a cell's reading: its change, or its settings."""
    change = cell.variant.partition("+")[2].replace("-", " ")
    settings = (
        _WORDS.get((name, value), f"{name.replace('_', ' ')} {value:g}")
        for name, value in settings_of(cell).items()
    )
    return ", ".join([change] * bool(change) + list(settings))


def fails(group: Group, own: Group, seeds: Sequence[int], outcomes: Outcomes) -> bool:
    """Whether the rule calls a reading failed; ``seeds`` are those of which both have runs."""
    return bool((outcomes.scores(group, seeds) < outcomes.scores(own, seeds) / 2).all())


def _row(name: str, group: Group, outcomes: Outcomes, is_reading: bool = True) -> list[str]:
    own, dt = in_ablation(group, "q-attention"), in_ablation(group, "dt")
    seeds = outcomes.finished(group, own, dt)
    returns = outcomes.returns(group, seeds)
    differences = [
        mean_and_interval(returns - outcomes.returns(other, seeds), signed=True) for other in (own, dt)
    ]
    row = [name, f"{len(seeds)} of {len(group)}", mean_and_interval(returns), *differences]
    if not seeds:
        return [*row, "–", "not run"]
    kept = outcomes.scores(group, seeds).mean() / outcomes.scores(own, seeds).mean()
    n_diverged = sum(outcomes.state(group[seed]) == "diverged" for seed in seeds)
    verdict = "**fails**" if fails(group, own, seeds, outcomes) else "stands"
    verdict += f", {n_diverged} diverged" if n_diverged else ""
    return [*row, f"{kept:.0%}", verdict if is_reading else "–"]
