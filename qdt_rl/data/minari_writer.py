"""Minari datasets in HDF5, written whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage import get_dataset_path

from qdt_rl.data.staging import staged_folder

Episode = tuple[EpisodeBuffer, Mapping[str, Any]]

_SPARE_BYTES = 2**25  # what HDF5 may hold back of its own bookkeeping until it closes the file


def write_dataset(
    dataset_id: str,
    episodes: Iterable[Episode],
    env_spec: EnvSpec,
    metadata: Mapping[str, Any],
    overwrite: bool = False,
) -> MinariDataset:
    """Store episodes as they come, and give them their id once all are on disk.

    A process that fails or is killed on the way leaves neither a dataset nor anything that blocks the id, as
    the folder that Minari's own ``create_dataset_from_buffers`` leaves would.

    Args:
        dataset_id: ``namespace/name-vN``, in the folder that Minari uses.
        episodes: Minari's episodes, and what is to be known of each: numbers and strings by name.
        env_spec: Where they come from, and where agents trained on them are evaluated. Its entry points must
            be strings, or ``recover_environment()`` cannot make the environment again.
        metadata: Of the dataset, beyond what Minari knows by itself; ``author`` is a set.
        overwrite: Whether a dataset of this id is replaced. It stays until the new one is whole.

    Returns:
        The dataset, opened.

    Raises:
        DatasetError: If the id is taken and ``overwrite`` is false.
        OSError: If less than 32 MiB would be left on the disk.
    """
    with staged_folder(get_dataset_path(), dataset_id, overwrite) as folder:
        storage = MinariStorage.new(folder / "data", env_spec=env_spec, data_format="hdf5")
        identity = {"dataset_id": dataset_id, "minari_version": minari.__version__}
        storage.update_metadata({**identity, "eval_env_spec": env_spec.to_json(), **metadata})
        _store(storage, episodes)
        _create_namespace(dataset_id)
    return minari.load_dataset(dataset_id)


def _store(storage: MinariStorage, episodes: Iterable[Episode]) -> None:
    described: list[Mapping[str, Any]] = []

    def buffers() -> Iterator[EpisodeBuffer]:
        for buffer, description in episodes:
            _require_space(storage.data_path, buffer)
            described.append(description)
            yield buffer

    storage.update_episodes(buffers())
    storage.update_episode_metadata([dict(description) for description in described])


def _require_space(folder: Path, episode: EpisodeBuffer) -> None:
    """Refuse an episode that the disk has no room for: HDF5 itself may crash when it closes a file on it."""
    arrays = (episode.observations, episode.actions, episode.rewards)
    if shutil.disk_usage(folder).free < _SPARE_BYTES + sum(np.asarray(array).nbytes for array in arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _create_namespace(dataset_id: str) -> None:
    namespace, _, _ = parse_dataset_id(dataset_id)
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)
