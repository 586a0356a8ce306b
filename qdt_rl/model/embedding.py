"""From a window of a trajectory to tokens, and from hidden state to an action."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Module):
    """Three tokens a timestep, ``(R_1, s_1, a_1, …, R_K, s_K, a_K)``.

    Each is a linear map to D plus a learned embedding of the episode's timestep; LayerNorm over the result.

    Args:
        observation_size: S.
        action_size: A.
        d_model: D.
        max_timestep: Rows of the timestep embedding; a later timestep uses the last row.
    """

    def __init__(self, observation_size: int, action_size: int, d_model: int, max_timestep: int) -> None:
        super().__init__()
        self.return_to_go = nn.Linear(1, d_model)
        self.observation = nn.Linear(observation_size, d_model)
        self.action = nn.Linear(action_size, d_model)
        self.timestep = nn.Embedding(max_timestep, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(
        self,
        returns_to_go: Float[Tensor, "batch context"],
        observations: Float[Tensor, "batch context observation"],
        actions: Float[Tensor, "batch context action"],
        timesteps: Int[Tensor, "batch context"],
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Embed scaled inputs as (B, 3K, D) tokens."""
        kinds = (
            self.return_to_go(returns_to_go.unsqueeze(-1)),
            self.observation(observations),
            self.action(actions),
        )
        time = self.timestep(timesteps.clamp(max=self.timestep.num_embeddings - 1)).unsqueeze(2)
        tokens = torch.stack(kinds, dim=2).to(time.dtype)  # (B, K, 3, D)
        return self.norm((tokens + time).flatten(1, 2))


class ActionHead(nn.Module):
    """A bounded action from a state token: Linear(D, D) → GELU → Linear(D, A) → tanh.

    Args:
        d_model: D.
        action_size: A.
    """

    def __init__(self, d_model: int, action_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(d_model, d_model)
        self.action = nn.Linear(d_model, action_size)

    def forward(self, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch action"]:
        """Return actions in [−1, 1]."""
        return torch.tanh(self.action(F.gelu(self.hidden(states))))
