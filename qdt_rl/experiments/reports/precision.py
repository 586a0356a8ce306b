"""What bfloat16 and the cached context cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qdt_rl.errors import CheckpointError
from qdt_rl.evaluation.statistics import bootstrap_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Outcomes, Records
from qdt_rl.experiments.reports.page import Page


def precision_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return the page of a grid that was run to its end.

    Raises:
        CheckpointError: If a cell is missing or has failed.
    """
    return Page(precision_report(require_complete(cells, outcomes)))


def require_complete(cells: Sequence[Cell], outcomes: Outcomes) -> Records:
    """Return the records of a grid's cells.

    Raises:
        CheckpointError: With the first cell that is missing or has failed.
    """
    for cell in cells:
        state = outcomes.state(cell)
        if state == "missing":
            raise CheckpointError(
                f"The record of this cell is missing; run the experiment to its end: {cell}"
            )
        if state == "failed":
            raise CheckpointError(f"This cell failed; its traceback is in the records: {cell}")
    return [outcomes.record(cell) for cell in cells]


def precision_report(records: Records) -> str:
    """Return, as Markdown, the return of each precision and context, and their differences paired by seed."""
    lines = [
        "| variant | updates | float32 | bfloat16 | difference, 95 % interval over seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    variants = sorted({record["variant"] for record in records})
    for variant in variants:
        exact, rounded = (_select(records, variant, precision) for precision in ("32", "bf16-mixed"))
        judged_at = sorted({evaluation["n_updates"] for r in exact.values() for evaluation in r})
        lines += [
            f"| `{variant}` | {n} | " + _paired(_means(exact, n, False), _means(rounded, n, False))
            for n in judged_at
        ]
    lines += [
        "",
        "| variant | updates | sliding window | cached context | difference, 95 % interval over seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for variant in variants:
        rounded = _select(records, variant, "bf16-mixed")
        last = max(evaluation["n_updates"] for r in rounded.values() for evaluation in r)
        pair = _paired(_means(rounded, last, True), _means(rounded, last, False))
        lines.append(f"| `{variant}` | {last} | {pair}")
    return "\n".join(lines) + "\n"


def _select(records: Records, variant: str, precision: str) -> dict[int, list[dict[str, Any]]]:
    return {
        record["seed"]: record["evaluations"]
        for record in records
        if record["variant"] == variant and dict(record["settings"])["precision"] == precision
    }


def _means(by_seed: Mapping[int, list[dict[str, Any]]], n_updates: int, sliding_window: bool) -> np.ndarray:
    """Return the mean return of each seed, in the order of the seeds."""
    return np.array(
        [
            np.mean(evaluation["returns"])
            for _, evaluations in sorted(by_seed.items())
            for evaluation in evaluations
            if (evaluation["n_updates"], evaluation["sliding_window"]) == (n_updates, sliding_window)
        ]
    )


def _paired(first: np.ndarray, second: np.ndarray) -> str:
    difference = second - first
    low, high = bootstrap_interval(difference)
    return (
        f"{first.mean():.0f} ± {first.std():.0f} | {second.mean():.0f} ± {second.std():.0f} | "
        f"{difference.mean():+.1f} ({low:+.1f} to {high:+.1f}) |"
    )
