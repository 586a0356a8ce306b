"""What callers hand to ``predict``, checked and brought to batched float32 arrays."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from qdt_rl.errors import InputError


class ActingInput(NamedTuple):
    """A checked batch: observations (B, S), targets (B,) or None, episode starts (B,), and if B was given."""

    observations: Float32[np.ndarray, "batch observation"]
    target_returns: Float32[np.ndarray, " batch"] | None
    episode_start: Bool[np.ndarray, " batch"]
    is_batch: bool


def read_input(
    observation: Any, target_return: Any, episode_start: Any, observation_size: int
) -> ActingInput:
    """Check what ``predict`` was given.

    Args:
        observation: (S,) or (B, S), or a mapping with ``"observation"`` and ``"return_to_go"``, which then
            carries its own target.
        target_return: A number or one per row, the return still wanted from this observation on; or None.
        episode_start: A truth value or one per row, or None for no row.
        observation_size: S.

    Raises:
        InputError: If a shape or dtype does not fit, or a value is not finite.
    """
    if isinstance(observation, Mapping):
        observation, target_return = _unpack(observation, target_return)
    observations = _numbers("The observation", observation)
    is_batch = observations.ndim == 2
    if observations.ndim not in (1, 2) or observations.shape[-1] != observation_size:
        raise InputError(
            f"Expected an observation of shape ({observation_size},) or (n, {observation_size}), "
            f"but one of shape {observations.shape} came."
        )
    if len(observations) == 0:
        raise InputError("Expected at least one observation, but an empty batch came.")
    observations = observations.reshape(-1, observation_size)
    n_rows = len(observations)
    targets = (
        None
        if target_return is None
        else _rows("The target return", _numbers("The target return", target_return), n_rows)
    )
    try:
        starts = np.asarray(False if episode_start is None else episode_start)
    except ValueError as error:
        raise InputError("episode_start must hold truth values, but its rows differ in length.") from error
    except (TypeError, RuntimeError) as error:
        raise InputError(f"episode_start must hold truth values: {error}") from error
    if starts.dtype != np.bool_ and not np.isin(starts, (0, 1)).all():
        raise InputError(f"episode_start must hold truth values, but {episode_start!r} came.")
    return ActingInput(
        observations, targets, _rows("episode_start", starts.astype(np.bool_), n_rows), is_batch
    )


def _unpack(observation: Mapping[str, Any], target_return: Any) -> tuple[Any, Any]:
    expected = {"observation", "return_to_go"}
    if set(observation) != expected:
        raise InputError(
            f"A Dict observation must have the keys {sorted(expected)}, but has {sorted(observation)}."
        )
    if target_return is not None:
        raise InputError(
            "A Dict observation carries its own target: leave target_return out, or pass the array alone."
        )
    return observation["observation"], observation["return_to_go"]


def _numbers(name: str, value: Any) -> Float32[np.ndarray, "..."]:
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} must be an array of numbers, but its rows differ in length.") from error
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    if given.dtype.kind not in "fiu":
        raise InputError(f"{name} must be an array of numbers, but has dtype {given.dtype}.")
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float32)
    if not np.isfinite(numbers).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise InputError(f"{name} must be finite in float32, but is {given[where]} at index {where}.")
    return numbers


def _rows(name: str, values: np.ndarray, n_rows: int) -> np.ndarray:
    if values.shape not in ((), (1,), (n_rows,), (n_rows, 1)):
        raise InputError(
            f"{name} must be one value or one for each of {n_rows} rows, but has shape {values.shape}."
        )
    return np.broadcast_to(values.reshape(-1), (n_rows,))
