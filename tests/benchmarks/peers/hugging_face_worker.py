"""The worker that acts with Hugging Face's ``DecisionTransformerModel``, batched."""

import os

import numpy as np
import torch
import transformers
from transformers import DecisionTransformerConfig, DecisionTransformerModel

from tests.benchmarks import settings
from tests.benchmarks.protocol import Job, serve


class Windows:
    """The last K timesteps of n environments, and the model that reads them anew at each step."""

    def __init__(self, n_envs: int) -> None:
        config = DecisionTransformerConfig(
            state_dim=settings.OBSERVATION_SIZE,
            act_dim=settings.ACTION_SIZE,
            hidden_size=settings.D_MODEL,
            max_ep_len=settings.MAX_TIMESTEP,
            n_layer=settings.N_LAYERS,
            n_head=settings.N_HEADS,
        )
        self.model = DecisionTransformerModel(config).eval()
        self.states = torch.zeros(n_envs, 0, settings.OBSERVATION_SIZE)
        self.actions = torch.zeros(n_envs, 0, settings.ACTION_SIZE)
        self.returns_to_go = torch.zeros(n_envs, 0, 1)
        self.timesteps = torch.zeros(n_envs, 0, dtype=torch.long)
        self.step = 0

    @torch.no_grad()
    def predict(self, observations: np.ndarray, returns_to_go: np.ndarray) -> np.ndarray:
        """Take (n, S) observations and (n,) returns-to-go; return (n, A) actions."""
        n_envs = len(observations)
        self.states = _append(self.states, torch.from_numpy(observations))
        self.actions = _append(self.actions, torch.zeros(n_envs, settings.ACTION_SIZE))
        self.returns_to_go = _append(self.returns_to_go, torch.from_numpy(returns_to_go)[:, None])
        self.timesteps = _append(self.timesteps, torch.full((n_envs,), self.step))
        self.step = (self.step + 1) % settings.MAX_TIMESTEP
        output = self.model(
            states=self.states,
            actions=self.actions,
            rewards=None,
            returns_to_go=self.returns_to_go,
            timesteps=self.timesteps,
        )
        self.actions[:, -1] = output.action_preds[:, -1]
        return self.actions[:, -1].numpy()


def _append(window: torch.Tensor, newest: torch.Tensor) -> torch.Tensor:
    return torch.cat([window, newest[:, None]], dim=1)[:, -settings.CONTEXT_LENGTH :]


def acting(n_envs: int) -> Job:
    """Batched acting: K timesteps of all environments in one forward."""
    windows = Windows(n_envs)
    observations = settings.acting_observations(n_envs)
    targets = np.full(n_envs, settings.TARGET_RETURN, np.float32)

    def run(n: int) -> None:
        for _ in range(n):
            windows.predict(observations[windows.step % len(observations)], targets)

    run(settings.CONTEXT_LENGTH + 1)
    return Job(run, {"parameters": sum(parameter.numel() for parameter in windows.model.parameters())})


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"transformers": transformers.__version__, "torch": torch.__version__}, {"acting": acting})


if __name__ == "__main__":
    main()
