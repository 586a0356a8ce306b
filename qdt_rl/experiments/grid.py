"""Grids of cells: run in parallel, recorded as they end, continued where they were cut off."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from qdt_rl.config import Backend, require
from qdt_rl.errors import ConfigError, MissingExtraError, RecordError
from qdt_rl.experiments.cells import Cell, run_cell
from qdt_rl.experiments.records import append_record, drop_cut_record, read_records
from qdt_rl.progress import track

_DASK_WAIT = 120  # seconds for the first worker of a Dask cluster to come


def run_grid(
    cells: Sequence[Cell], path: Path, n_jobs: int, progress_bar: bool = False, backend: Backend = "loky"
) -> None:
    """Run the cells that are not recorded yet, and append each record when its cell ends.

    Killed at any point and started again, this loses the cells in flight and nothing else; on Ray, whose
    results come in rounds of ``n_jobs``, those of the round. Cells that failed are recorded with their error,
    and run again.

    Args:
        cells: The grid.
        path: The records, ``.jsonl.gz``.
        n_jobs: Cells at a time, each in a process and on a thread of its own; a Dask cluster that is named
            has its own number.
        progress_bar: Show one, if standard error is a terminal.
        backend: Joblib's: processes of this machine, Ray or Dask. The latter two use the cluster that their
            variables RAY_ADDRESS and DASK_SCHEDULER_ADDRESS name, or start one on this machine.

    Raises:
        RecordError: If ``path`` holds something else, another process is writing to it, or a worker of this
            machine has died.
        ConfigError: If ``backend`` is unknown, a Dask cluster has no worker or one that runs several cells in
            one process, or Ray is to run a single cell at a time.
        MissingExtraError: If the backend's package is not installed.
    """
    require(backend in get_args(Backend), "backend", f"one of {', '.join(get_args(Backend))}", backend)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with _sole_writer(path), _started(backend, n_jobs):
        drop_cut_record(path)
        missing = cells_to_run(cells, path)
        records = _records(missing, n_jobs, backend)
        try:
            for record in track(records, len(missing), "Running cells", progress_bar):
                append_record(path, record)
        except TerminatedWorkerError as error:
            raise RecordError(
                "A worker process was killed, perhaps because memory ran out, and the cells in flight are "
                "lost. Start again to go on, with fewer jobs if memory is short."
            ) from error


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
def _sole_writer(path: Path) -> Iterator[None]:
    """Keep other processes from running cells into the same file meanwhile."""
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise RecordError(f"Another process is running cells into {path}; wait for its end.") from error


@contextmanager
def _started(backend: Backend, n_jobs: int) -> Iterator[None]:
    """Let joblib send its tasks to a backend."""
    if backend == "ray":
        require(n_jobs > 1, "n_jobs", "at least 2 on Ray, since joblib runs a single one here", n_jobs)
        _require_package("ray", backend).register_ray()
    if backend == "dask":
        start = _require_package("distributed", backend).Client
        is_running = import_module("dask.config").get("scheduler-address", None) is not None
        cluster = start() if is_running else start(n_workers=n_jobs, threads_per_worker=1)
        with cluster, parallel_config(backend):
            try:
                cluster.wait_for_workers(1, timeout=_DASK_WAIT)
            except TimeoutError as error:
                raise ConfigError(
                    f"The Dask cluster has had no worker for {_DASK_WAIT} seconds; start one first, or let "
                    "adapt() keep at least one."
                ) from error
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
            f"The {extra} backend needs a package that is not installed: pip install {package}."
        ) from error
