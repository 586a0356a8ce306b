"""What the command line does with experiments: run them, and tell how far they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from qdt_rl.config import Backend
from qdt_rl.data.generation import DATASET_IDS, generate_dataset, generation_seed
from qdt_rl.data.minari_reader import is_stored, load_dataset
from qdt_rl.errors import DatasetError, RecordError
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grid import cells_to_run, run_grid
from qdt_rl.experiments.grids import GRIDS, find_grid
from qdt_rl.experiments.output import output_folder
from qdt_rl.experiments.records import read_records, records_path

_N_EPISODES, _SEED = 200, 0


def run_experiment(name: str, folder: Path, n_jobs: int, backend: Backend = "loky") -> Path:
    """Run what is missing of an experiment; datasets that are missing are generated first.

    Args:
        name: One of ``GRIDS``.
        folder: Of the records.
        n_jobs: Cells at a time.
        backend: Joblib's.

    Returns:
        The records.

    Raises:
        RecordError: If cells have failed, when the others are done.
        ConfigError: If the experiment or backend is unknown, or nothing can be written to ``folder``.
        DatasetError: If a dataset of a grid's name is there, but was not generated as the grid means it.
    """
    cells = find_grid(name)
    path = records_path(output_folder(folder), name)
    for dataset_id in sorted({cell.dataset for cell in cells_to_run(cells, path)}):
        _ensure_dataset(dataset_id)
    run_grid(cells, path, n_jobs, progress_bar=True, backend=backend)
    if failed := _failures(cells, path):
        raise RecordError(
            f"{len(failed)} of {len(cells)} cells have failed, and are run again by the next call; "
            f"`qdt-rl experiment report {name} --out {folder}` names them. The last: "
            f"{failed[-1].strip().splitlines()[-1]}"
        )
    return path


def experiment_states(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield each experiment's name, and its numbers of cells, of those that are done and that failed."""
    for name, cells in GRIDS.items():
        path = records_path(folder, name)
        n_done = len(cells) - len(cells_to_run(cells, path))
        yield name, str(len(cells)), str(n_done), str(len(_failures(cells, path)))


def _failures(cells: Sequence[Cell], path: Path) -> list[str]:
    """Return the tracebacks of a grid's failed cells; records of cells that it has no more do not count."""
    keys = {cell.key() for cell in cells}
    return [record["failed"] for record in read_records(path) if record["failed"] and record["key"] in keys]


def _ensure_dataset(dataset_id: str) -> None:
    if not is_stored(dataset_id):
        if dataset_id in DATASET_IDS:
            generate_dataset(dataset_id, n_episodes=_N_EPISODES, seed=_SEED)
        return  # elsewhere, the cell itself tells what is missing
    dataset = load_dataset(dataset_id)
    if dataset_id in DATASET_IDS and (dataset.total_episodes, generation_seed(dataset)) != (
        _N_EPISODES,
        _SEED,
    ):
        raise DatasetError(
            f"{dataset_id} is there, but is not the one of {_N_EPISODES} episodes and seed {_SEED} that the "
            f"experiment means; make it anew with `qdt-rl data generate {dataset_id} --overwrite`."
        )
