"""Records of grids that nobody has run."""

from collections.abc import Callable, Iterable
from typing import Any

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Outcomes

LOW, HIGH = -50.0, 150.0
"""Reference scores: a return r scores (r + 50) / 2."""
BEST, EXPERT = 7.0, 9.0
"""What is asked for."""


def record_of(cell: Cell, mean: float, **changes: Any) -> dict[str, Any]:
    """Return a record: ``mean`` at the end, an eighth less at each moment before, 100 more for the expert.

    Args:
        cell: That was run.
        mean: Its return.
        changes: What else the record says.
    """
    moments = sorted({*cell.evaluate_at, cell.n_steps}, reverse=True)
    judged = [(n, BEST, mean - i / 8) for i, n in enumerate(moments)][::-1]
    judged += [(cell.n_steps, EXPERT, mean + 100)] if cell.expert_target else []
    trace = [10.0 / (1 + i) for i in range(20)]
    return {
        "key": cell.key(),
        "failed": None,
        "diverged": None,
        "train_seconds": 60.0,
        "reference_scores": [LOW, HIGH],
        "versions": {"torch": "1"},
        "processor": "some",
        "commit": "abc",
        "loss": trace,
        "gradient_norm": trace,
        "trace_interval": 10,
        "evaluations": [
            {
                "n_updates": n,
                "target_return": target,
                "sliding_window": False,
                "returns": [value - 5, value + 5],
            }
            for n, target, value in judged
        ],
    } | changes


def outcomes_of(cells: Iterable[Cell], mean: Callable[[Cell], float], **changes: Any) -> Outcomes:
    """Return the outcomes of cells that have all been run."""
    return Outcomes([record_of(cell, mean(cell), **changes) for cell in cells])


def rows(text: str) -> list[list[str]]:
    """Return the cells of all Markdown tables in a text."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
