"""The one function that cuts windows out of episodes: for training and for acting alike."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped


class Windows(NamedTuple):
    """B windows of K timesteps: what a Decision Transformer sees.

    A window starts with its real steps; what is left up to K, on the right, is padding: zero in every array.

    Attributes:
        returns_to_go: (B, K) float32, in reward units.
        observations: (B, K, S) float32.
        actions: (B, K, A) float32.
        timesteps: (B, K) int64, how many steps of the episode came before.
        lengths: (B,) int64, the number of real steps, from 1 to K.
    """

    returns_to_go: Float32[np.ndarray, "batch context"]
    observations: Float32[np.ndarray, "batch context observation"]
    actions: Float32[np.ndarray, "batch context action"]
    timesteps: Int64[np.ndarray, "batch context"]
    lengths: Int64[np.ndarray, " batch"]


def take_windows(
    observations: Float32[np.ndarray, "steps observation"],
    actions: Float32[np.ndarray, "steps action"],
    returns_to_go: Float32[np.ndarray, " steps"],
    timesteps: Int64[np.ndarray, " steps"],
    starts: Int64[np.ndarray, " batch"],
    lengths: Int64[np.ndarray, " batch"],
    context_length: int,
) -> Windows:
    """Cut B windows out of N consecutive steps, by index arithmetic alone.

    Window b holds the steps ``starts[b] … starts[b] + lengths[b] - 1``, then zeros. That these belong to one
    episode is the caller's affair, as is ``1 <= lengths <= context_length``.

    Args:
        observations: (N, S).
        actions: (N, A).
        returns_to_go: (N,), in reward units.
        timesteps: (N,), the step within the episode, from 0.
        starts: (B,), the row at which each window starts.
        lengths: (B,), the number of real steps in each.
        context_length: K.

    Returns:
        The windows.

    Raises:
        IndexError: If a window reaches beyond the last step.
    """
    positions = np.arange(context_length)
    is_padding = positions >= lengths[:, None]  # (B, K)
    # Padding repeats the window's last step before it is zeroed, so that no index leaves the arrays.
    steps = starts[:, None] + np.minimum(positions, lengths[:, None] - 1)  # (B, K)

    def take(values: Shaped[np.ndarray, "steps ..."]) -> Shaped[np.ndarray, "batch context ..."]:
        taken: Shaped[np.ndarray, "batch context ..."] = values.take(steps, axis=0)
        taken[is_padding] = 0
        return taken

    return Windows(take(returns_to_go), take(observations), take(actions), take(timesteps), lengths)
