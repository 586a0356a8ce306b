"""What a model must have to be trained, saved and acted with."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from qdt_rl.model.scaling import Scaling


class ActionModel(nn.Module, ABC):
    """Predicts actions from windows of trajectories.

    Attributes:
        config: A frozen dataclass from which the model can be built again.
        scaling: Maps the units of the data to the model's.
    """

    config: Any
    scaling: Scaling

    @abstractmethod
    def forward(
        self,
        returns_to_go: Float[Tensor, "batch context"],
        observations: Float[Tensor, "batch context observation"],
        actions: Float[Tensor, "batch context action"],
        timesteps: Int[Tensor, "batch context"],
    ) -> Float[Tensor, "batch context action"]:
        """Predict the action of each timestep from what came before it.

        Args:
            returns_to_go: (B, K), reward units: the return wanted from each timestep on.
            observations: (B, K, S), environment units.
            actions: (B, K, A), environment units; an action may be seen by later timesteps only.
            timesteps: (B, K), the step of the episode, from 0.

        Returns:
            (B, K, A) actions in [−1, 1]; ``scaling.unscale_actions`` maps them to the action box.
        """
