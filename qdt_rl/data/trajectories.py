"""Episodes laid end to end in contiguous arrays: the form in which everything here holds data."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from qdt_rl.data.checks import require_finite
from qdt_rl.errors import DatasetError

_LAYOUT = (
    ("observations", np.float32, 2),
    ("actions", np.float32, 2),
    ("rewards", np.float32, 1),
    ("offsets", np.int64, 1),
)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """E episodes of N steps in total; S numbers in an observation, A in an action.

    Attributes:
        observations: (N, S) float32, what each action was an answer to; final observations are not kept.
        actions: (N, A) float32, in the environment's units. They may lie outside the action space: recorded
            demonstrations do.
        rewards: (N,) float32, what each action earned.
        offsets: (E + 1,) int64; episode e is the rows from ``offsets[e]`` to ``offsets[e + 1]``.
        returns_to_go: (N,) float32, the sum of the episode's rewards from each step on, that step's own
            reward included, in reward units. Derived: summed in float64, then cast.

    Raises:
        DatasetError: If an array has another dtype, is not C-contiguous, has another number of rows, or holds
            NaN or infinity, or if the offsets do not rise from 0 to N (an empty episode among them).
    """

    observations: Float32[np.ndarray, "steps observation"]
    actions: Float32[np.ndarray, "steps action"]
    rewards: Float32[np.ndarray, " steps"]
    offsets: Int64[np.ndarray, " boundaries"]
    returns_to_go: Float32[np.ndarray, " steps"] = field(init=False)

    def __post_init__(self) -> None:
        for name, dtype, ndim in _LAYOUT:
            _require_layout(name, getattr(self, name), np.dtype(dtype), ndim)
        _require_equal_lengths(self.observations, self.actions, self.rewards)
        _require_offsets(self.offsets, len(self.rewards))
        for name in ("observations", "actions", "rewards"):
            require_finite(name, getattr(self, name), self.offsets)
        object.__setattr__(self, "returns_to_go", _returns_to_go(self.rewards, self.offsets))
        require_finite("returns_to_go", self.returns_to_go, self.offsets)

    @property
    def n_steps(self) -> int:
        """N, the number of steps."""
        return len(self.rewards)

    @property
    def n_episodes(self) -> int:
        """E, the number of episodes."""
        return len(self.offsets) - 1

    @property
    def episode_lengths(self) -> Int64[np.ndarray, " episodes"]:
        """The number of steps of each episode, (E,) int64."""
        return np.diff(self.offsets)

    @property
    def episode_returns(self) -> Float64[np.ndarray, " episodes"]:
        """The sum of each episode's rewards, (E,) float64."""
        return np.add.reduceat(self.rewards, self.offsets[:-1], dtype=np.float64)

    def select(self, episodes: Int[np.ndarray, " selected"]) -> "Trajectories":
        """Copy some episodes out, in the order given.

        Args:
            episodes: Which ones, counted from 0; one may be named more than once.

        Returns:
            Trajectories of these episodes alone.

        Raises:
            DatasetError: If no episode is named.
            IndexError: If one does not exist.
        """
        lengths = self.episode_lengths[episodes]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][episodes] - offsets[:-1], lengths)
        return Trajectories(self.observations[steps], self.actions[steps], self.rewards[steps], offsets)


def _require_layout(name: str, array: np.ndarray, dtype: np.dtype, ndim: int) -> None:
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{name} must be a NumPy array of {dtype}, but is a {type(array).__name__}.")
    if array.dtype != dtype or array.ndim != ndim:
        raise DatasetError(
            f"{name} must be a {ndim}-dimensional {dtype} array, but is a {array.ndim}-dimensional "
            f"{array.dtype} array."
        )
    if 0 in array.shape[1:]:
        raise DatasetError(f"{name} must have at least one column, but has the shape {array.shape}.")
    if not array.flags.c_contiguous:
        raise DatasetError(f"{name} must be C-contiguous: pass np.ascontiguousarray({name}).")


def _require_equal_lengths(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
    if not len(observations) == len(actions) == len(rewards):
        raise DatasetError(
            "observations, actions and rewards must have one row per step, but have "
            f"{len(observations)}, {len(actions)} and {len(rewards)} rows."
        )


def _require_offsets(offsets: np.ndarray, n_steps: int) -> None:
    if len(offsets) < 2:
        raise DatasetError(f"At least one episode is needed, but offsets is {offsets.tolist()}.")
    if offsets[0] != 0 or offsets[-1] != n_steps:
        raise DatasetError(
            f"offsets must run from 0 to the number of steps, {n_steps}, but runs from {offsets[0]} "
            f"to {offsets[-1]}."
        )
    not_rising = np.flatnonzero(np.diff(offsets) <= 0)
    if len(not_rising):
        episode = not_rising[0]
        raise DatasetError(
            f"offsets must rise, since no episode may be empty, but episode {episode} runs from "
            f"{offsets[episode]} to {offsets[episode + 1]}."
        )


def _returns_to_go(
    rewards: Float32[np.ndarray, " steps"], offsets: Int64[np.ndarray, " boundaries"]
) -> Float32[np.ndarray, " steps"]:
    # Episode by episode: a sum over all of them would leave the rounding of large episodes in small ones.
    returns_to_go = np.empty(len(rewards), dtype=np.float32)
    with np.errstate(over="ignore"):  # what overflows is inf, and refused as such
        for start, end in pairwise(offsets.tolist()):
            returns_to_go[start:end] = np.cumsum(rewards[start:end][::-1], dtype=np.float64)[::-1]
    return returns_to_go
