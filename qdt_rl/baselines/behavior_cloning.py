"""Behaviour cloning: an MLP that imitates the data, or the best of its episodes, whatever return is asked."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from qdt_rl.config import MAX_LAYERS, Precision, TrainConfig, is_number, is_whole, require, require_whole
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.model.base import ActionModel
from qdt_rl.model.scaling import Scaling
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.inputs import ActingInput
from qdt_rl.policy.settings import constructor_arguments


@dataclass(frozen=True)
class MlpConfig:
    """The shape of a multilayer perceptron from observations to actions.

    Attributes:
        observation_size: S.
        action_size: A.
        hidden_sizes: The width of each hidden layer; the default is the usual one for continuous control.

    Raises:
        ConfigError: If a size is no whole number of at least 1.
    """

    observation_size: int
    action_size: int
    hidden_sizes: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        for name in ("observation_size", "action_size"):
            object.__setattr__(self, name, require_whole(name, getattr(self, name), 1))
        given = tuple(self.hidden_sizes)  # JSON has lists only
        are_sizes = all(is_whole(size, 1) for size in given)
        require(are_sizes, "hidden_sizes", "whole numbers of at least 1", given)
        object.__setattr__(self, "hidden_sizes", tuple(map(int, given)))
        n_layers = len(given)
        require(n_layers <= MAX_LAYERS, "hidden_sizes", f"at most {MAX_LAYERS:,} sizes", n_layers)


class Mlp(ActionModel):
    """Predicts each timestep's action from its observation alone: Linear → ReLU → … → Linear → tanh.

    Args:
        config: The sizes.
        seed: Of the initial weights, which are torch's defaults; None: the model is on the meta device, where
            it has shapes but takes no memory.
    """

    def __init__(self, config: MlpConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        widths = (config.observation_size, *config.hidden_sizes)
        with torch.device("cpu" if seed is not None else "meta"):
            self.scaling = Scaling(config.observation_size, config.action_size)
        with torch.device("meta"):  # elsewhere torch's layers would draw weights from the global generator
            hidden = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
            self.layers = nn.Sequential(*hidden, nn.Linear(widths[-1], config.action_size), nn.Tanh())
        self.float()  # whatever torch.set_default_dtype says
        if seed is not None:
            self._initialise(torch.Generator().manual_seed(seed))

    def forward(
        self,
        returns_to_go: Float[Tensor, "batch context"],
        observations: Float[Tensor, "batch context observation"],
        actions: Float[Tensor, "batch context action"],
        timesteps: Int[Tensor, "batch context"],
    ) -> Float[Tensor, "batch context action"]:
        """Predict actions from observations; shapes and units as in ``ActionModel.forward``."""
        return self.imitate(observations)

    def imitate(self, observations: Float[Tensor, "*batch observation"]) -> Float[Tensor, "*batch action"]:
        """Return actions in [−1, 1] for observations in environment units."""
        actions: Tensor = self.layers(self.scaling.observations(observations))
        return actions

    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights and biases as ``nn.Linear`` does, uniformly within ±1/√(its inputs)."""
        self.layers.to_empty(device="cpu")
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
                bound = 1 / math.sqrt(layer.in_features)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


class BehaviorCloning(OfflinePolicy):
    """Imitates the behaviour policy with an MLP, trained by the same loss and optimiser as ``QDTPolicy``.

    ``predict`` takes a target return, as every policy here does, and takes no notice of it.

    Args:
        hidden_sizes: The width of each hidden layer.
        best_fraction: Learn from this fraction of the episodes, the best by return ("%BC" in the Decision
            Transformer's paper); in (0, 1].
        learning_rate: Reached after the warm-up, then constant.
        batch_size: Steps per update.
        weight_decay: On matrices only.
        max_grad_norm: The norm at which the gradient is clipped.
        warmup_steps: Updates over which the learning rate rises linearly.
        precision: ``"32"``, ``"bf16-mixed"``, or ``"auto"``.
        tensorboard_log: A folder for TensorBoard's logs, or None.
        verbose: 1 prints the log to standard output.
        seed: Of the initial weights and the batches.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``, or torch's object.

    Raises:
        ConfigError: If a value is out of its range.
    """

    config_type = MlpConfig
    is_return_conditioned = False

    def __init__(
        self,
        *,
        hidden_sizes: tuple[int, ...] = MlpConfig.hidden_sizes,
        best_fraction: float = 1.0,
        learning_rate: float = TrainConfig.learning_rate,
        batch_size: int = 256,
        weight_decay: float = TrainConfig.weight_decay,
        max_grad_norm: float = TrainConfig.max_grad_norm,
        warmup_steps: int = TrainConfig.warmup_steps,
        precision: Precision = "32",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        settings = constructor_arguments(locals())
        require(isinstance(hidden_sizes, Iterable), "hidden_sizes", "a tuple of whole numbers", hidden_sizes)
        settings["hidden_sizes"] = hidden_sizes = tuple(hidden_sizes)
        is_fraction = is_number(best_fraction) and 0 < best_fraction <= 1
        require(is_fraction, "best_fraction", "in (0, 1]", best_fraction)
        MlpConfig(1, 1, hidden_sizes)  # what is wrong is refused here, not after loading data
        super().__init__(settings, device)

    @property
    def model(self) -> Mlp:
        """The torch module; in evaluation mode but while it trains. Only its values may be changed."""
        return cast(Mlp, super().model)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The width of each hidden layer."""
        return tuple(self._settings["hidden_sizes"])

    @property
    def best_fraction(self) -> float:
        """Which fraction of the episodes it learns from, the best by return."""
        return float(self._settings["best_fraction"])

    @property
    def context_length(self) -> int:
        """1: each timestep is imitated by itself."""
        return 1

    def _select(self, trajectories: Trajectories) -> Trajectories:
        # Rounded first: 7 % of 100 episodes come out as 7.000000000000001, and are 7.
        n_best = math.ceil(round(self.best_fraction * trajectories.n_episodes, 9))
        best_first = np.argsort(-trajectories.episode_returns, kind="stable")
        return trajectories.select(np.sort(best_first[:n_best]))

    def _configure(self, observation_size: int, action_size: int, max_timestep: int) -> MlpConfig:
        return MlpConfig(observation_size, action_size, self.hidden_sizes)

    def _build(self, config: MlpConfig, seed: int | None) -> Mlp:
        return Mlp(config, seed)

    @torch.inference_mode()
    def _act(self, given: ActingInput, state: Any) -> tuple[Float32[np.ndarray, "batch action"], Any]:
        observations = torch.from_numpy(given.observations).to(self.model.scaling.return_scale.device)
        return self.model.scaling.unscale_actions(self.model.imitate(observations)).cpu().numpy(), state
