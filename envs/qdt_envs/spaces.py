"""What goes out of the environment, and what may come in."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from qdt_envs.dynamics import N_ACTUATORS, N_MASSES, STATE_LIMIT
from qdt_envs.errors import EnvArgumentError


def observation_space() -> Space[NDArray[np.float32]]:
    """Return the space of observations (11,): positions and velocities within ±10, then the command, ±1."""
    high = np.array([STATE_LIMIT] * (2 * N_MASSES) + [1.0], np.float32)
    return Box(-high, high, dtype=np.float32)


def action_space() -> Space[NDArray[np.float32]]:
    """Return the space of one action (3,): a share of the full force for masses 1, 3 and 5, in [−1, 1]."""
    return Box(-1.0, 1.0, (N_ACTUATORS,), np.float32)


def check_actions(
    actions: Any, shape: tuple[int, ...], ignored: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """Return actions as float64, not yet clipped.

    Args:
        actions: Anything that NumPy turns into numbers.
        shape: (3,) for one environment, (N, 3) for a batch.
        ignored: Indices of the rows whose actions may be anything, and come out as 0.

    Raises:
        EnvArgumentError: If they are no numbers, of another shape, or not finite.
    """
    try:
        values = np.array(actions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        text = f"An action must be an array of numbers of shape {shape}, but {actions!r} was given."
        raise EnvArgumentError(text) from error
    if values.shape != shape:
        raise EnvArgumentError(
            f"An action of shape {shape} was expected, but shape {values.shape} was given."
        )
    if ignored is not None and ignored.size:
        values[ignored] = 0.0
    if np.count_nonzero(np.isfinite(values)) != values.size:
        raise EnvArgumentError(f"An action must be finite, but this one holds NaN or infinity: {values}.")
    return values
