"""Minari episodes of any storage format, laid end to end."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from minari import EpisodeData

from qdt_rl.data.checks import require_rewards, require_shape


class RawEpisodes(NamedTuple):
    """E episodes of N steps in total: of the right shapes, but their values not yet checked.

    Attributes:
        observations: (N, S) float32, without the episodes' final observations.
        actions: (N, A) float32.
        rewards: (N,) float32.
        offsets: (E + 1,) int64; episode e is the rows from ``offsets[e]`` to ``offsets[e + 1]``.
    """

    observations: Float32[np.ndarray, "steps observation"]
    actions: Float32[np.ndarray, "steps action"]
    rewards: Float32[np.ndarray, " steps"]
    offsets: Int64[np.ndarray, " boundaries"]


def read_rewards(episodes: Iterable[EpisodeData]) -> list[Float32[np.ndarray, " _"]]:
    """Take the rewards out of episodes of any spaces.

    Args:
        episodes: Minari's own episodes.

    Returns:
        One array of T rewards for each episode.

    Raises:
        DatasetError: If an episode has no rewards, or they are not one-dimensional.
    """
    return [_rewards(episode) for episode in episodes]


def read_raw_episodes(
    episodes: Iterable[EpisodeData], observation_size: int, action_size: int
) -> RawEpisodes:
    """Lay episodes end to end, in the order given.

    Args:
        episodes: Minari's own episodes.
        observation_size: S.
        action_size: A.

    Returns:
        The episodes.

    Raises:
        DatasetError: If the arrays of an episode do not fit each other or the sizes.
    """
    observations, actions, rewards = [], [], []
    for episode in episodes:
        rewards.append(_rewards(episode))
        length = len(rewards[-1])
        observations.append(_cast(episode, "observations", (length + 1, observation_size))[:-1])
        actions.append(_cast(episode, "actions", (length, action_size)))
    return RawEpisodes(
        observations=np.concatenate(observations),
        actions=np.concatenate(actions),
        rewards=np.concatenate(rewards),
        offsets=np.cumsum([0, *map(len, rewards)]),
    )


def _rewards(episode: EpisodeData) -> Float32[np.ndarray, " _"]:
    shape = np.shape(episode.rewards)
    require_rewards(int(episode.id), shape)
    return _cast(episode, "rewards", shape)


def _cast(episode: EpisodeData, field: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    values = np.asarray(getattr(episode, field))
    require_shape(int(episode.id), field, values.shape, shape)
    with np.errstate(over="ignore"):  # what overflows is inf, and refused as such
        return values.astype(np.float32, copy=False)
