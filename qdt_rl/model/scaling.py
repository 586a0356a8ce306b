"""The units of the data outside the model, and the units inside."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

_ROUNDING = 1e-6
"""A few roundings of float32, relative to the number."""
_RESIDUE = 1e-12
"""What differences of ordinary float64 numbers leave in the place of zero; far from underflow in float32."""


class Scaling(nn.Module):
    """Observations standardised, actions mapped from their box to [−1, 1], returns-to-go divided.

    The statistics are buffers: they travel with the weights, are not trained, and start as the identity.

    Args:
        observation_size: S.
        action_size: A.
    """

    observation_mean: Float[Tensor, " observation"]
    observation_std: Float[Tensor, " observation"]
    action_low: Float[Tensor, " action"]
    action_high: Float[Tensor, " action"]
    return_scale: Float[Tensor, ""]

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))
        self.register_buffer("action_low", -torch.ones(action_size))
        self.register_buffer("action_high", torch.ones(action_size))
        self.register_buffer("return_scale", torch.ones(()))

    def fit(
        self,
        observations: Float32[np.ndarray, "steps observation"],
        returns_to_go: Float32[np.ndarray, " steps"],
        action_low: Shaped[np.ndarray, " action"],
        action_high: Shaped[np.ndarray, " action"],
    ) -> None:
        """Take the units of a dataset.

        An observation feature that does not vary, or by rounding alone, is only centred: one whose standard
        deviation is at most a millionth of its |mean|, or 1e-12. The return scale is the largest
        |return-to-go|, or 1 where all are zero.

        Args:
            observations: (N, S).
            returns_to_go: (N,), reward units.
            action_low: (A,), the lower bounds of the action box.
            action_high: (A,), the upper bounds.
        """
        mean, std = observations.mean(axis=0, dtype=np.float64), observations.std(axis=0, dtype=np.float64)
        varies = std > np.maximum(_ROUNDING * np.abs(mean), _RESIDUE)
        self.observation_mean.copy_(torch.from_numpy(mean))
        self.observation_std.copy_(torch.from_numpy(np.where(varies, std, 1.0)))
        self.action_low.copy_(torch.from_numpy(action_low))
        self.action_high.copy_(torch.from_numpy(action_high))
        self.return_scale.fill_(float(np.abs(returns_to_go).max()) or 1.0)

    def observations(
        self, observations: Float[Tensor, "*batch observation"]
    ) -> Float[Tensor, "*batch observation"]:
        """Standardise observations."""
        return (observations - self.observation_mean) / self.observation_std

    def actions(self, actions: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """Map actions from their box to [−1, 1]; what lies outside the box stays outside."""
        return (actions - self.action_low) * (2 / (self.action_high - self.action_low)) - 1

    def unscale_actions(self, actions: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch action"]:
        """Map actions from [−1, 1] to their box."""
        return self.action_low + (actions + 1) * ((self.action_high - self.action_low) / 2)

    def returns_to_go(self, returns_to_go: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Divide returns-to-go by the return scale."""
        return returns_to_go / self.return_scale
