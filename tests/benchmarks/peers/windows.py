"""The last K timesteps of n environments, for peers that read them anew at each step."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks import settings
from tests.benchmarks.protocol import Job

Choose = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Takes (n, T, S) observations, (n, T, A) actions, the newest of them zero, (n, T, 1) returns-to-go and
(n, T) timesteps, T ≤ K, and returns (n, A) actions.
"""


class Windows:
    """Appends each step to the windows, and lets the peer choose by them.

    Args:
        n_envs: How many environments go through their episodes side by side.
        choose: The peer's own forward.
    """

    def __init__(self, n_envs: int, choose: Choose) -> None:
        self.step = 0
        self._choose = choose
        self._observations = torch.zeros(n_envs, 0, settings.OBSERVATION_SIZE)
        self._actions = torch.zeros(n_envs, 0, settings.ACTION_SIZE)
        self._returns_to_go = torch.zeros(n_envs, 0, 1)
        self._timesteps = torch.zeros(n_envs, 0, dtype=torch.long)

    @torch.no_grad()
    def predict(self, observations: np.ndarray, returns_to_go: np.ndarray) -> np.ndarray:
        """Take (n, S) observations and (n,) returns-to-go; return (n, A) actions."""
        n_envs = len(observations)
        self._observations = _append(self._observations, torch.from_numpy(observations))
        self._actions = _append(self._actions, torch.zeros(n_envs, settings.ACTION_SIZE))
        self._returns_to_go = _append(self._returns_to_go, torch.from_numpy(returns_to_go)[:, None])
        self._timesteps = _append(self._timesteps, torch.full((n_envs,), self.step))
        self.step = (self.step + 1) % settings.MAX_TIMESTEP
        chosen = self._choose(self._observations, self._actions, self._returns_to_go, self._timesteps)
        self._actions[:, -1] = chosen
        return chosen.numpy()


def _append(window: Tensor, newest: Tensor) -> Tensor:
    return torch.cat([window, newest[:, None]], dim=1)[:, -settings.CONTEXT_LENGTH :]


def acting_job(n_envs: int, model: torch.nn.Module, choose: Choose) -> Job:
    """Batched acting: K timesteps of all environments in one forward."""
    windows = Windows(n_envs, choose)
    observations = settings.acting_observations(n_envs)
    targets = np.full(n_envs, settings.TARGET_RETURN, np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            windows.predict(observations[windows.step % len(observations)], targets)

    run(settings.CONTEXT_LENGTH + 1)
    return Job(run, {"parameters": sum(parameter.numel() for parameter in model.parameters())})
