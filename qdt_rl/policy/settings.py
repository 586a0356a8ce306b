"""What a policy was constructed with: it is read everywhere, saved, and changes by setters alone."""

import copy
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any

import torch

from qdt_rl.config import Precision, TrainConfig, require_whole
from qdt_rl.policy.agent_file import as_json
from qdt_rl.training import require_device, resolve_device


class Configured(ABC):
    """A policy's settings and its device.

    Args:
        settings: The constructor's arguments by name, as JSON can hold them: what ``save`` keeps, and what
            ``fit`` goes by. Among them are the seed and those of ``TrainConfig``.
        device: Where to train and act: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``, or torch's object.

    Raises:
        ConfigError: If a setting is out of its range, or this machine does not have the device.
    """

    def __init__(self, settings: dict[str, Any], device: str | torch.device) -> None:
        TrainConfig(**_of_training(settings))  # what is wrong is told before JSON is asked to hold it
        require_whole("seed", settings["seed"], 0)
        self._device = require_device(device)
        self._settings = as_json(settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The class and the constructor's arguments, as ``save`` keeps them."""
        return {"class": type(self).__name__, **copy.deepcopy(self._settings)}

    @property
    def device(self) -> torch.device:
        """Where the policy trains and acts; ``"auto"`` is resolved."""
        return torch.device(resolve_device(self._device))

    @property
    def train_config(self) -> TrainConfig:
        """How it is trained."""
        return TrainConfig(**_of_training(self._settings))

    @property
    def learning_rate(self) -> float:
        """Reached after the warm-up, then constant."""
        return self.train_config.learning_rate

    @property
    def batch_size(self) -> int:
        """Windows per update."""
        return self.train_config.batch_size

    @property
    def weight_decay(self) -> float:
        """On matrices only."""
        return self.train_config.weight_decay

    @property
    def max_grad_norm(self) -> float:
        """The norm at which the gradient is clipped."""
        return self.train_config.max_grad_norm

    @property
    def warmup_steps(self) -> int:
        """Updates over which the learning rate rises linearly."""
        return self.train_config.warmup_steps

    @property
    def precision(self) -> Precision:
        """Of training: ``"32"``, ``"bf16-mixed"`` or ``"auto"``; the second by name is of acting too."""
        return self.train_config.precision

    @property
    @abstractmethod
    def context_length(self) -> int:
        """K, the timesteps of a training window."""

    @property
    def seed(self) -> int:
        """Of the initial weights, the windows and the dropout masks."""
        return int(self._settings["seed"])


def constructor_arguments(namespace: dict[str, Any]) -> dict[str, Any]:
    """Return a policy's constructor's arguments, but for the device.

    Args:
        namespace: Its ``locals()``, before it has any other variable.
    """
    return {name: value for name, value in namespace.items() if name not in ("self", "device", "__class__")}


def _of_training(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are ``TrainConfig``'s."""
    return {field.name: settings[field.name] for field in fields(TrainConfig)}
