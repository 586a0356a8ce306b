"""Minari's HDF5 files, read straight into contiguous arrays.

Minari hands episodes out one dictionary at a time, infos and all. HDF5's own interface reads whole data sets
into slices of arrays of the final size: half the time of plain h5py, and no memory but the arrays.
"""

import math
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Int

from qdt_rl.data.checks import require_rewards, require_shape, require_size
from qdt_rl.data.episode_reader import RawEpisodes
from qdt_rl.errors import DatasetError

_FILE_NAME = "main_data.hdf5"


def read_rewards(folder: Path, episodes: Int[np.ndarray, " episodes"]) -> list[Float32[np.ndarray, " _"]]:
    """Read the rewards of some episodes, and nothing else.

    Args:
        folder: The dataset's ``data`` folder.
        episodes: The episodes' indices in it.

    Returns:
        One array of T rewards for each episode.

    Raises:
        DatasetError: If an episode has no rewards, or they are not one-dimensional.
    """
    with h5py.File(folder / _FILE_NAME, "r") as file:
        arrays = _Arrays(file)
        return [_read_rewards(arrays, episode) for episode in episodes.tolist()]


def read_raw_episodes(
    folder: Path, episodes: Int[np.ndarray, " episodes"], observation_size: int, action_size: int
) -> RawEpisodes:
    """Read some episodes, in the order given.

    Args:
        folder: The dataset's ``data`` folder.
        episodes: The episodes' indices in it.
        observation_size: S.
        action_size: A.

    Returns:
        The episodes, end to end.

    Raises:
        DatasetError: If the arrays of an episode do not fit each other or the sizes, or are not in the file.
    """
    rewards = read_rewards(folder, episodes)
    offsets = np.cumsum([0, *map(len, rewards)])
    # An episode's final observation lands on the row that the next episode starts with, and is overwritten by
    # it; the spare row at the end takes the last one.
    observations = np.empty((offsets[-1] + 1, observation_size), np.float32)
    actions = np.empty((offsets[-1], action_size), np.float32)
    with h5py.File(folder / _FILE_NAME, "r") as file:
        arrays = _Arrays(file)
        for episode, start, end in zip(episodes.tolist(), offsets[:-1], offsets[1:], strict=True):
            _read_into(observations[start : end + 1], arrays, episode, "observations")
            _read_into(actions[start:end], arrays, episode, "actions")
    return RawEpisodes(observations[:-1], actions, np.concatenate(rewards), offsets)


class _Arrays:
    """The arrays of a file from a stranger: each must be in it, and in it once.

    Args:
        file: An open file.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._n_unread = file.id.get_filesize()

    def open(self, episode: int, field: str) -> h5py.h5d.DatasetID:
        """Return an array that the file itself holds: HDF5 can show bytes of other files, or of none."""
        source = h5py.h5d.open(self._file.id, f"episode_{episode}/{field}".encode())
        properties = source.get_create_plist()
        is_elsewhere = properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count() > 0
        if is_elsewhere or h5py.h5i.get_file_id(source).name != self._file.id.name:
            raise DatasetError(
                f"Episode {episode}: {field} lies in another file, where it is not looked for."
            )
        n_stored = source.get_storage_size()
        require_size(episode, field, math.prod(source.shape) * source.dtype.itemsize, n_stored)
        self._n_unread -= n_stored
        if self._n_unread < 0:
            raise DatasetError(
                f"Episode {episode}: {field} would make the arrays read larger than the file: "
                "episode_indices names an episode more than once, or several names stand for one array."
            )
        return source


def _read_rewards(arrays: _Arrays, episode: int) -> Float32[np.ndarray, " _"]:
    source = arrays.open(episode, "rewards")
    require_rewards(episode, source.shape)
    rewards = np.empty(source.shape, np.float32)
    source.read(h5py.h5s.ALL, h5py.h5s.ALL, rewards)
    return rewards


def _read_into(destination: Float32[np.ndarray, "..."], arrays: _Arrays, episode: int, field: str) -> None:
    source = arrays.open(episode, field)
    # Otherwise HDF5 would write past the destination's end.
    require_shape(episode, field, source.shape, destination.shape)
    source.read(h5py.h5s.ALL, h5py.h5s.ALL, destination)  # casts to float32 on the way
