"""What goes on inside over training, with and without entanglement."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qdt_rl.config import TrainConfig
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes, by_seed, in_ablation
from qdt_rl.experiments.reports.page import Page, Panel, mean_and_interval
from qdt_rl.experiments.reports.panels import Curves

_INTRODUCTION = """\
The similarity of channels is the mean linear CKA of two channels' outputs on the same tokens: 1, the same
up to rotation and scale; 0, nothing in common. It is high before any training already, as all channels see
the same few-dimensional input, and 1 for two channels that cancel too. Their cosine tells these apart: 1,
they add up; −1, they cancel; 0, neither. Of `wide-dt`, which has no channels, the wide feedforward is cut
into three parts of a channel's width, in `mechanism` alone: what these have in common is no interference's
doing. Weights are
softmax(θ), which starts at 1/3 each; a channel's scale may lie in its matrices instead. Singular values are
those of the output projection as it acts: W_O (I + α W_E) with entanglement, W_O without. Means over seeds,
after the first and the last updates that all of an agent's runs were measured at, the latter with its
interval, and n where it is not all seeds that were measured; weights at the end, the largest first.
"""
_HEADER = [
    "agent",
    "block",
    "seeds",
    "updates",
    "channel similarity",
    "channel cosine",
    "weights",
    "norm of α W_E",
    "largest singular value",
]
_CKA = "similarity of channels (CKA)"
_RANKS = ("largest", "middle", "smallest")

Measure = Callable[[Mapping[str, Any]], float | None]
"""Picks a number out of one measurement of a model, or None where the model has no such part."""


def mechanism_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return what was measured in the runs of a grid, and in the ablation's ``dt`` of its seeds."""
    groups: dict[str, Group] = dict(by_seed(cells, lambda cell: cell.variant))
    run = {seed for group in groups.values() for seed in outcomes.finished(group)}
    first = next(iter(groups.values()))
    same_seeds = {seed: cell for seed, cell in first.items() if seed in run or not run}
    groups = {"dt": in_ablation(same_seeds, "dt")} | groups
    shortfall = outcomes.shortfall(cell for group in groups.values() for cell in group.values())
    page = inside(groups, outcomes)
    return Page(f"{shortfall}\n{page.text}", page.figures)


def inside(groups: Mapping[str, Group], outcomes: Outcomes) -> Page:
    """Return what was measured first and last, and figures of what was measured between.

    Args:
        groups: By agent; those in which nothing was measured are left out of the table.
        outcomes: Of their cells.
    """
    found = {agent: _records(group, outcomes) for agent, group in groups.items()}
    of_blocks = (record["mechanism"][0]["singular_values"] for runs in found.values() for record in runs)
    n_blocks = max(map(len, of_blocks), default=0)
    measured = {agent: groups[agent] for agent, runs in found.items() if runs}
    rows = (
        _row(agent, group, block, outcomes) for agent, group in measured.items() for block in range(n_blocks)
    )
    return Page(f"{_INTRODUCTION}\n{markdown_table(_HEADER, rows)}", _figures(groups, n_blocks, outcomes))


def over_training(group: Group, outcomes: Outcomes, measure: Measure) -> dict[float, Array]:
    """Return a measure by updates, a value a seed; empty where the model has no such part."""
    by_update: dict[float, list[float]] = {}
    for record in _records(group, outcomes):
        for entry in record["mechanism"]:
            value = measure(entry)
            if value is not None:
                by_update.setdefault(entry["n_updates"], []).append(value)
    return {n_updates: np.array(values) for n_updates, values in sorted(by_update.items())}


def _records(group: Group, outcomes: Outcomes) -> list[Mapping[str, Any]]:
    records = [outcomes.record(group[seed]) for seed in outcomes.finished(group)]
    return [record for record in records if record.get("mechanism")]


def similarity(block: int) -> Measure:
    """Measure the mean CKA of a block's channels."""
    return lambda entry: entry["channel_similarity"][block] if entry["channel_similarity"] else None


def cosine(block: int) -> Measure:
    """Measure the mean cosine of a block's channels, which the oldest records lack."""
    return lambda entry: entry["channel_cosine"][block] if entry.get("channel_cosine") else None


def weight(block: int, rank: int) -> Measure:
    """Measure a block's interference weight of a rank, 0 for the largest: channels have no order."""
    return lambda entry: (
        sorted(entry["interference_weights"][block], reverse=True)[rank]
        if entry["interference_weights"]
        else None
    )


def norm(block: int) -> Measure:
    """Measure the spectral norm of a block's α W_E."""
    return lambda entry: entry["entanglement_norm"][block]


def singular_value(block: int, index: int) -> Measure:
    """Measure one of the singular values that were kept of a block, 0 for the largest."""
    return lambda entry: entry["singular_values"][block][index]


def _row(agent: str, group: Group, block: int, outcomes: Outcomes) -> list[str]:
    runs = _records(group, outcomes)
    n_measured = len(runs)
    known = set.intersection(*({entry["n_updates"] for entry in run["mechanism"]} for run in runs))
    moments = min(known), max(known)
    measures = (similarity(block), cosine(block), norm(block), singular_value(block, 0))
    alike, aligned, entangled, largest = (
        _first_and_last(over_training(group, outcomes, measure), moments, n_measured) for measure in measures
    )
    lines = [over_training(group, outcomes, weight(block, rank)) for rank in range(len(_RANKS))]
    weights = " / ".join(f"{line[moments[1]].mean():.4f}" for line in lines if moments[1] in line) or "–"
    count = f"{n_measured} of {len(group)}"
    updates = f"{moments[0]:,} → {moments[1]:,}"
    return [f"`{agent}`", str(block + 1), count, updates, alike, aligned, weights, entangled, largest]


def _first_and_last(line: Mapping[float, Array], moments: tuple[int, int], n_measured: int) -> str:
    if not line.keys() >= {*moments}:
        return "–"
    first, last = (line[n_updates] for n_updates in moments)
    fewer = "" if len(last) == n_measured else f", n = {len(last)}"
    return f"{first.mean():.3f} → {mean_and_interval(last, digits=3)}{fewer}"


def _figures(groups: Mapping[str, Group], n_blocks: int, outcomes: Outcomes) -> dict[str, Sequence[Panel]]:
    blocks = range(n_blocks)
    figures = {
        "similarity": [_by_agent(groups, f"block {b + 1}", similarity(b), outcomes, _CKA) for b in blocks],
        "cosine": [
            _by_agent(groups, f"block {b + 1}", cosine(b), outcomes, "cosine of channels") for b in blocks
        ],
        "weights": [_weights(groups, b, outcomes) for b in blocks],
        "spectrum": [_spectrum(groups, b, outcomes) for b in blocks],
        "traces": [_traces(groups, name, outcomes) for name in ("gradient_norm", "loss")],
    }
    return {name: panels for name, panels in figures.items() if any(panel.lines for panel in panels)}


def _by_agent(
    groups: Mapping[str, Group], title: str, measure: Measure, outcomes: Outcomes, label: str
) -> Curves:
    lines = {agent: over_training(group, outcomes, measure) for agent, group in groups.items()}
    lines = {agent: line for agent, line in lines.items() if line}
    return Curves(title, "updates", label, lines, log_x=True)


def _weights(groups: Mapping[str, Group], block: int, outcomes: Outcomes) -> Curves:
    lines = {
        f"{agent}, {name}": line
        for agent, group in groups.items()
        for rank, name in enumerate(_RANKS)
        if (line := over_training(group, outcomes, weight(block, rank)))
    }
    return Curves(f"block {block + 1}", "updates", "interference weights", lines, log_x=True)


def _spectrum(groups: Mapping[str, Group], block: int, outcomes: Outcomes) -> Curves:
    """Draw the singular values that were kept, from the largest to the smallest, at the end."""
    lines: dict[str, dict[float, Array]] = {}
    for agent, group in groups.items():
        found = _records(group, outcomes)
        n_values = len(found[0]["mechanism"][0]["singular_values"][block]) if found else 0
        for index in range(n_values):
            line = over_training(group, outcomes, singular_value(block, index))
            lines.setdefault(f"{agent}, {min(line):,} updates", {})[index + 1] = line[min(line)]
            lines.setdefault(f"{agent}, {max(line):,} updates", {})[index + 1] = line[max(line)]
    label = "singular values kept, the largest first"
    return Curves(f"block {block + 1}", label, "singular value of the output projection", lines)


def _traces(groups: Mapping[str, Group], name: str, outcomes: Outcomes) -> Curves:
    """Draw what every tenth update has recorded; DT's runs are the ablation's, of the same seeds."""
    lines = {
        agent: outcomes.trace(group, outcomes.finished(group), name)
        for agent, group in groups.items()
        if outcomes.finished(group)
    }
    label = f"{name.replace('_', ' ')}, mean of 100 updates"
    levels = {"clipped at": TrainConfig.max_grad_norm} if name == "gradient_norm" else {}
    return Curves(name.replace("_", " "), "updates", label, lines, log_y=True, levels=levels, as_band=True)
