"""Grids of cells: run in parallel, recorded as they end, continued where they were cut off."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from qdt_rl.errors import CheckpointError
from qdt_rl.experiments.cells import Cell, run_cell
from qdt_rl.progress import track


def run_grid(cells: Sequence[Cell], path: Path, n_jobs: int, progress_bar: bool = False) -> None:
    """Run the cells that are not recorded yet, and append each record when its cell ends.

    Killed at any point and started again, this loses the cells in flight and nothing else. Cells that failed
    are recorded with their error, and run again.

    Args:
        cells: The grid.
        path: The records, JSON lines.
        n_jobs: Cells at a time, each in a process and on a thread of its own.
        progress_bar: Show one, if standard error is a terminal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    _drop_cut_line(path)
    done = {record["key"] for record in read_records(path) if not record["failed"]}
    missing = [cell for cell in cells if cell.key() not in done]
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    records: Iterator[dict[str, Any]] = parallel(delayed(run_cell)(cell) for cell in missing)
    with path.open("a", encoding="utf-8") as file:
        for record in track(records, len(missing), "Running cells", progress_bar):
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records in a file, plain or ``.gz``; of a cell that was run twice, the last.

    A last line that a kill has cut off is left out.

    Raises:
        CheckpointError: If a line in the middle is no record.
    """
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    lines = text.split("\n")
    records = {}
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            records[record["key"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}, line {number} is no record of an experiment: {error}") from error
    return list(records.values())


def _drop_cut_line(path: Path) -> None:
    """Remove what a kill left of a line, so that the next record begins on one of its own."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
