"""Grids of cells: run in parallel, recorded as they end, continued where they were cut off."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from joblib import Parallel, delayed, parallel_config

from qdt_rl.config import Backend, require
from qdt_rl.errors import ConfigError, MissingExtraError
from qdt_rl.experiments.cells import Cell, run_cell
from qdt_rl.experiments.records import append_record, drop_cut_record, read_records
from qdt_rl.progress import track


def run_grid(
    cells: Sequence[Cell], path: Path, n_jobs: int, progress_bar: bool = False, backend: Backend = "loky"
) -> None:
    """Run the cells that are not recorded yet, and append each record when its cell ends.

    Killed at any point and started again, this loses the cells in flight and nothing else. Cells that failed
    are recorded with their error, and run again.

    Args:
        cells: The grid.
        path: The records, ``.jsonl.gz``.
        n_jobs: Cells at a time, each in a process and on a thread of its own; a Dask cluster that is named
            has its own number.
        progress_bar: Show one, if standard error is a terminal.
        backend: Joblib's: processes of this machine, Ray or Dask. The latter two use the cluster that their
            variables RAY_ADDRESS and DASK_SCHEDULER_ADDRESS name, or start one on this machine.

    Raises:
        RecordError: If ``path`` holds something else.
        ConfigError: If ``backend`` is unknown, or a Dask worker runs several cells in one process.
        MissingExtraError: If the backend's package is not installed.
    """
    require(backend in get_args(Backend), "backend", f"one of {', '.join(get_args(Backend))}", backend)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    drop_cut_record(path)
    missing = cells_to_run(cells, path)
    with _started(backend, n_jobs):
        records = _records(missing, n_jobs, backend)
        for record in track(records, len(missing), "Running cells", progress_bar):
            append_record(path, record)


def cells_to_run(cells: Sequence[Cell], path: Path) -> list[Cell]:
    """Return the cells without a record, and those that failed."""
    done = {record["key"] for record in read_records(path) if not record["failed"]}
    return [cell for cell in cells if cell.key() not in done]


def _records(cells: Sequence[Cell], n_jobs: int, backend: Backend) -> Iterator[dict[str, Any]]:
    """Run cells, and yield each record when it is there."""
    if backend != "ray":
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        yield from parallel(delayed(run_cell)(cell) for cell in cells)
        return
    for start in range(0, len(cells), n_jobs):  # Ray's backend hands a whole call's results over at once
        batch = cells[start : start + n_jobs]
        yield from Parallel(n_jobs=n_jobs, batch_size=1)(delayed(run_cell)(cell) for cell in batch)


@contextmanager
def _started(backend: Backend, n_jobs: int) -> Iterator[None]:
    """Let joblib send its tasks to a backend."""
    if backend == "ray":
        _require_package("ray", backend).register_ray()
    if backend == "dask":
        start = _require_package("distributed", backend).Client
        is_running = import_module("dask.config").get("scheduler-address", None) is not None
        cluster = start() if is_running else start(n_workers=n_jobs, threads_per_worker=1)
        with cluster, parallel_config(backend):
            if any(n_threads > 1 for n_threads in cluster.nthreads().values()):
                raise ConfigError(
                    "Each cell needs a process of its own, but workers of this Dask cluster have several "
                    "threads; start them with --nthreads 1."
                )
            yield
        return
    with parallel_config(backend):
        yield


def _require_package(package: str, extra: str) -> Any:
    try:
        return import_module("ray.util.joblib" if package == "ray" else package)
    except ImportError as error:
        raise MissingExtraError(
            f"The {extra} backend needs a package that is not installed: pip install 'qdt-rl[{extra}]'."
        ) from error
