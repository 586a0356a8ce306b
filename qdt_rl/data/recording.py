"""Episodes of behaviour policies, recorded in the synthetic environment."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64
from minari.data_collector import EpisodeBuffer

from qdt_envs.controllers import Controller
from qdt_envs.dynamics import N_ACTUATORS
from qdt_envs.vector_env import SyntheticVectorEnv


class Recording(NamedTuple):
    """N episodes of the same T steps.

    Attributes:
        observations: (N, T + 1, 11) float32, the final ones included.
        actions: (N, T, 3) float32.
        rewards: (N, T) float64.
        terminations: (N, T) bool.
        truncations: (N, T) bool.
    """

    observations: Float32[np.ndarray, "rows observed observation"]
    actions: Float32[np.ndarray, "rows steps action"]
    rewards: Float64[np.ndarray, "rows steps"]
    terminations: Bool[np.ndarray, "rows steps"]
    truncations: Bool[np.ndarray, "rows steps"]

    def episode(self, row: int, seed: int) -> EpisodeBuffer:
        """Hand out one episode in the form that Minari stores.

        Args:
            row: Which one.
            seed: What its environment was reset with.
        """
        return EpisodeBuffer(
            seed=seed,
            observations=self.observations[row],
            actions=self.actions[row],
            rewards=self.rewards[row],
            terminations=self.terminations[row],
            truncations=self.truncations[row],
            infos={},  # None would come back as None, which Minari's own EpisodeData cannot print
        )


def record(
    env: SyntheticVectorEnv, controller: Controller, seeds: Sequence[int], rng: np.random.Generator
) -> Recording:
    """Let a controller act for one episode in every row.

    Every episode lasts until the environment truncates it: none ends earlier.

    Args:
        env: N rows.
        controller: Who acts; it is shown the polarity.
        seeds: What each row is reset with.
        rng: Where the controller draws from.

    Returns:
        The N episodes.
    """
    observations, _ = env.reset(seed=seeds)
    recording = _empty_recording(env.num_envs, env.max_episode_steps, observations.shape[1])
    recording.observations[:, 0] = observations
    for step in range(env.max_episode_steps):
        actions = controller(observations, env.polarity, rng)
        observations, rewards, terminations, truncations, _ = env.step(actions)
        recording.observations[:, step + 1] = observations
        recording.actions[:, step] = actions
        recording.rewards[:, step] = rewards
        recording.terminations[:, step] = terminations
        recording.truncations[:, step] = truncations
    return recording


def _empty_recording(n_rows: int, n_steps: int, observation_size: int) -> Recording:
    return Recording(
        observations=np.empty((n_rows, n_steps + 1, observation_size), np.float32),
        actions=np.empty((n_rows, n_steps, N_ACTUATORS), np.float32),
        rewards=np.empty((n_rows, n_steps), np.float64),
        terminations=np.empty((n_rows, n_steps), np.bool_),
        truncations=np.empty((n_rows, n_steps), np.bool_),
    )
