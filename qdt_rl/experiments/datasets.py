"""What the command line tells of datasets."""

import warnings
from collections.abc import Iterator

import minari
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from qdt_rl.data.generation import DATASET_IDS
from qdt_rl.data.summary import DatasetSummary
from qdt_rl.errors import DatasetError


def known_datasets() -> Iterator[tuple[str, str]]:
    """Yield each dataset that is in the local Minari folder or can be generated, and which of the two.

    Raises:
        DatasetError: If a folder in there has a name that no dataset can have.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            local = minari.list_local_datasets()
        except (ValueError, TypeError) as error:  # as Minari has it: which folder, it may not say
            raise DatasetError(
                f"No dataset's id, such as qdt/synthetic/expert-v0, can name what {get_dataset_path()} holds "
                f"at {', '.join(_impossible_names())}; move it elsewhere ({error})."
            ) from error
    for dataset_id in sorted({*local, *DATASET_IDS}):
        if dataset_id in local:
            yield dataset_id, f"here, {local[dataset_id]['total_episodes']} episodes"
        else:
            yield dataset_id, "can be generated"
    for warning in caught:  # Minari's way to tell of a folder that it cannot read
        yield str(warning.message), "cannot be read"


def _impossible_names() -> Iterator[str]:
    """Yield the folders with data in the Minari folder that no dataset's id can name."""
    root = get_dataset_path()
    for folder in sorted(path.parent.relative_to(root) for path in root.rglob("data") if path.is_dir()):
        try:
            parse_dataset_id(folder.as_posix())
        except (ValueError, TypeError):
            yield str(folder)


def summary_rows(summary: DatasetSummary) -> Iterator[tuple[str, str]]:
    """Yield what is known of a dataset, a name and a text at a time."""
    scores = summary.reference_scores
    yield "environment", summary.env_id or "not named"
    yield "behaviour policy", summary.behaviour_policy or "not named"
    yield "episodes", f"{summary.n_episodes:,}"
    yield "steps", f"{summary.n_steps:,}"
    yield "episode length", f"{summary.shortest_episode} to {summary.longest_episode}"
    yield "return", f"{summary.return_mean:.1f} ± {summary.return_std:.1f}"
    yield "return, range", f"{summary.return_min:.1f} to {summary.return_max:.1f}"
    yield "reference scores", "none" if scores is None else f"0 at {scores[0]:.1f}, 100 at {scores[1]:.1f}"
    yield "observations", str(summary.observation_space)
    yield "actions", str(summary.action_space)
