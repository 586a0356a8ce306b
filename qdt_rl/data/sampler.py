"""Random windows for training."""

from typing import Any

import numpy as np

from qdt_rl.data.trajectories import Trajectories
from qdt_rl.data.windows import Windows, take_windows


class WindowSampler:
    """Draws batches of windows whose starts are uniform over all steps of the data.

    A window ends after K steps or with its episode, so every window holds at least one real step, and long
    episodes are drawn in proportion to their steps, as in the original Decision Transformer.

    Args:
        trajectories: The data.
        context_length: K, the number of timesteps in a window.
        batch_size: B, the number of windows in a batch.
        seed: The seed of the sampler's own PCG64 generator.
    """

    def __init__(self, trajectories: Trajectories, context_length: int, batch_size: int, seed: int) -> None:
        self._trajectories = trajectories
        self._context_length = context_length
        self._batch_size = batch_size
        self._generator = np.random.Generator(np.random.PCG64(seed))
        offsets, lengths = trajectories.offsets, trajectories.episode_lengths
        self._episode_ends = np.repeat(offsets[1:], lengths)
        self._timesteps = np.arange(trajectories.n_steps) - np.repeat(offsets[:-1], lengths)

    def sample(self) -> Windows:
        """Draw the next batch of B windows."""
        data = self._trajectories
        starts = self._generator.integers(data.n_steps, size=self._batch_size)
        lengths = np.minimum(self._episode_ends[starts] - starts, self._context_length)
        return take_windows(
            data.observations,
            data.actions,
            data.returns_to_go,
            self._timesteps,
            starts,
            lengths,
            self._context_length,
        )

    @property
    def state(self) -> dict[str, Any]:
        """The generator's state, of JSON types; a sampler of the same data goes on from it when it is set."""
        return dict(self._generator.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._generator.bit_generator.state = state
