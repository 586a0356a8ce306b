"""From Minari datasets to :class:`Trajectories`, with an error that says why where that cannot be."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float32, Int
from minari import MinariDataset
from minari.storage import get_dataset_path

from qdt_rl.config import is_scale, is_whole
from qdt_rl.data import episode_reader, hdf5_reader
from qdt_rl.data.checks import require_finite
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.env_ids import is_safe_env_id
from qdt_rl.errors import DatasetError, DatasetWarning

_SMALLEST_EPISODE = 64
"""Bytes; five arrays and their names take more, whatever the format."""


def is_stored(dataset_id: str) -> bool:
    """Return whether the folder that Minari uses holds a dataset of this id; it need not be readable."""
    return Path(get_dataset_path(dataset_id), "data").exists()


def load_dataset(dataset: MinariDataset | str) -> MinariDataset:
    """Open a dataset by its id; one that is open already is handed back.

    Args:
        dataset: The dataset, or the id of one in the folder that Minari uses: ``MINARI_DATASETS_PATH``, or
            ``~/.minari/datasets``.

    Returns:
        The dataset. It needs no environment spec.

    Raises:
        DatasetError: If there is no dataset of this id, or it cannot be read.
    """
    if isinstance(dataset, MinariDataset):
        return dataset
    if not isinstance(dataset, str):
        raise DatasetError(f"A MinariDataset or its id was expected, but {type(dataset).__name__} was given.")
    if not is_stored(dataset):
        raise DatasetError(
            f"There is no dataset {dataset!r} in {get_dataset_path()} (set by MINARI_DATASETS_PATH). "
            "`qdt-rl data list` shows what is there, `qdt-rl data generate` makes the synthetic datasets, "
            f"and `minari download {dataset}` fetches a published one (with `pip install 'minari[hf]'`)."
        )
    with _reading(dataset, get_dataset_path(dataset)):
        _require_harmless(dataset, get_dataset_path(dataset) / "data")
        return minari.load_dataset(dataset)


def read_trajectories(dataset: MinariDataset | str) -> Trajectories:
    """Read the episodes of a dataset into contiguous float32 arrays.

    Only the episodes that ``dataset.episode_indices`` names are read, in that order: those of a filtered or
    split dataset. Actions outside the action space are kept as they are, since recorded demonstrations hold
    such (5.6 % of the entries of Adroit's human ones); a policy clips what it does itself.

    Args:
        dataset: A dataset, of any storage format of Minari's, or the id of a local one.

    Returns:
        The episodes; numbers of other types are cast to float32.

    Raises:
        DatasetError: If the dataset is missing, empty or damaged, has spaces that are not supported, arrays
            that do not fit each other or the spaces, or values that are not finite in float32.
    """
    dataset = load_dataset(dataset)
    check_spaces(dataset.observation_space, dataset.action_space)
    episodes = _episode_indices(dataset)
    sizes = dataset.observation_space.shape[0], dataset.action_space.shape[0]
    with _reading(dataset.id, dataset.storage.data_path):
        if dataset.storage.FORMAT == "hdf5":
            raw = hdf5_reader.read_raw_episodes(dataset.storage.data_path, episodes, *sizes)
        else:
            raw = episode_reader.read_raw_episodes(dataset.iterate_episodes(), *sizes)
    for field in ("observations", "actions", "rewards"):
        require_finite(field, getattr(raw, field), raw.offsets, episodes)
    return Trajectories(*raw)


def read_rewards(dataset: MinariDataset) -> list[Float32[np.ndarray, " _"]]:
    """Read the rewards of a dataset's episodes alone; its spaces may be any.

    Args:
        dataset: An open dataset.

    Returns:
        One array of T rewards for each episode.

    Raises:
        DatasetError: If the dataset is empty or damaged.
    """
    episodes = _episode_indices(dataset)
    with _reading(dataset.id, dataset.storage.data_path):
        if dataset.storage.FORMAT == "hdf5":
            return hdf5_reader.read_rewards(dataset.storage.data_path, episodes)
        return episode_reader.read_rewards(dataset.iterate_episodes())


def check_spaces(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    """Refuse spaces that agents cannot use yet.

    Args:
        observation_space: One-dimensional :class:`~gymnasium.spaces.Box` of numbers, one at least, no bool.
        action_space: One-dimensional and bounded :class:`~gymnasium.spaces.Box` of floating-point numbers.

    Raises:
        DatasetError: If a space is another.
    """
    if not (isinstance(observation_space, Box) and len(observation_space.shape) == 1):
        raise DatasetError(
            f"Observations must come from a one-dimensional Box space, but come from {observation_space}. "
            "Record the data through gymnasium.wrappers.FlattenObservation to make them such."
        )
    if observation_space.dtype.kind not in "fiu":
        raise DatasetError(
            f"Observations must be numbers, but come from {observation_space}. Record the data through "
            "gymnasium.wrappers.DtypeObservation to make them such."
        )
    if not (isinstance(action_space, Box) and len(action_space.shape) == 1):
        raise DatasetError(
            f"Actions must come from a one-dimensional Box space, but come from {action_space}. "
            "Discrete and structured actions are not supported yet."
        )
    if not (action_space.is_bounded() and np.issubdtype(action_space.dtype, np.floating)):
        raise DatasetError(
            f"Actions must be bounded floating-point numbers, since they are scaled to [-1, 1], but come "
            f"from {action_space}. Give the space finite bounds and a floating-point dtype when recording."
        )
    for name, space in {"Observations": observation_space, "Actions": action_space}.items():
        if space.shape == (0,):
            raise DatasetError(f"{name} must have at least one entry, but come from {space}.")
    with np.errstate(over="ignore", divide="ignore"):
        widths = action_space.high.astype(np.float32) - action_space.low.astype(np.float32)
        is_scalable = np.isfinite(widths).all() and np.isfinite(2 / widths).all()
    if not is_scalable:
        raise DatasetError(
            f"Actions are scaled from their bounds to [-1, 1] in float32, but those of {action_space} are "
            "equal or too far apart. Leave out actions that cannot vary, and give the others bounds that are "
            "meant."
        )


def reference_scores(dataset: MinariDataset) -> tuple[float, float] | None:
    """The returns that the dataset's metadata count as 0 and 100 of a normalised score.

    Args:
        dataset: An open dataset.

    Returns:
        ``(ref_min_score, ref_max_score)``, or ``None`` where the metadata lack one of them.

    Warns:
        DatasetWarning: If they are there, but not two finite numbers in ascending order: then ``None`` too.
    """
    metadata = dataset.storage.metadata
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is None or high is None:
        return None
    if is_scale(low, high):
        return float(low), float(high)
    warnings.warn(
        f"Dataset {dataset.id!r} has the reference scores {low!r} and {high!r}, but they must be two finite "
        "numbers, the minimum first; they are not used. Give others: evaluate(..., reference_scores=...).",
        DatasetWarning,
        stacklevel=2,
    )
    return None


def environment_id(dataset: MinariDataset) -> str | None:
    """The id of the environment that a dataset says it was recorded in, or None where it names none.

    Raises:
        DatasetError: If it names a module too: Gymnasium would import it, and so run it.
    """
    if dataset.env_spec is None:
        return None
    env_id: str = dataset.env_spec.id
    if is_safe_env_id(env_id):
        return env_id
    raise DatasetError(
        f"Dataset {dataset.id!r} names the environment {env_id!r}, but only an id without a module before it "
        "is used from a dataset. Take the module out of the dataset's env_spec, and import it yourself."
    )


def _episode_indices(dataset: MinariDataset) -> Int[np.ndarray, " episodes"]:
    """Return which episodes of its storage the dataset names: at least one."""
    if len(dataset.episode_indices) == 0:
        raise DatasetError(
            f"Dataset {dataset.id!r} names no episodes: it is empty, or a filter or split left none of its "
            f"{dataset.storage.total_episodes}."
        )
    return np.asarray(dataset.episode_indices)


def _require_harmless(dataset_id: str, folder: Path) -> None:
    """Refuse metadata that make Minari call what they name, or count out more memory than the files have."""
    metadata = json.loads((folder / "metadata.json").read_text())
    for space in ("observation_space", "action_space"):
        if space not in metadata:  # Minari would make the environment, from whatever entry point is named
            raise DatasetError(
                f"The metadata of dataset {dataset_id!r} lack the {space}, and only the environment that it "
                "names could tell it. If you trust its origin, open it with minari.load_dataset, which makes "
                "that environment, and give the dataset instead of its id."
            )
    total = metadata["total_episodes"]
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if not is_whole(total, 0) or total > n_bytes // _SMALLEST_EPISODE:
        raise DatasetError(
            f"Dataset {dataset_id!r} is said to hold {total!r} episodes, for which its {n_bytes:,} bytes "
            "have no room; it is damaged, or was not written to its end."
        )


@contextmanager
def _reading(dataset_id: str, folder: Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign file makes the readers raise into a DatasetError."""
    try:
        yield
    except (DatasetError, MemoryError):
        raise
    except Exception as error:
        raise DatasetError(
            f"Dataset {dataset_id!r} in {folder} cannot be read: it is damaged, was not written by Minari, "
            f"or needs an extra of Minari's ({type(error).__name__}: {error})."
        ) from error
