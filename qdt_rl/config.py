"""The settings of a model and of its training: frozen, checked once, handed down whole."""

import re
from dataclasses import dataclass, fields
from typing import Literal

from qdt_rl.errors import ConfigError

Precision = Literal["auto", "bf16-mixed", "32"]
Backend = Literal["loky", "ray", "dask"]
"""Where the cells of an experiment run: joblib's names."""

_ENV_ID = re.compile(r"(qdt_envs:)?[\w./-]{1,200}")


def is_env_id(value: object) -> bool:
    """Whether a file may name this environment: Gymnasium imports what stands before a colon in an id."""
    return isinstance(value, str) and _ENV_ID.fullmatch(value) is not None


def require(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise a ConfigError that names the setting, what was expected and what came, unless ``condition``."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, but {value!r} was given.")


def is_whole(value: object, at_least: int, at_most: float = float("inf")) -> bool:
    """Whether ``value`` is an int, no bool, and within the two bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most


MAX_LAYERS = 1000
MAX_CONTEXT_LENGTH = 2**16
"""Far beyond any use, and enough that a hostile file cannot ask for endless work or memory."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Decision Transformer, and which parts stand in its blocks.

    The defaults are the paper's (arXiv 2512.14726) where it states them, and the original Decision
    Transformer's where it does not.

    Attributes:
        observation_size: S, the length of an observation vector.
        action_size: A, the length of an action vector.
        context_length: K, the number of timesteps that the model sees; 3K tokens. At most 65,536.
        max_timestep: Rows of the episode-timestep embedding; later timesteps use the last row.
        d_model: D, the width of a token.
        n_layers: L, the number of blocks; at most 1,000.
        n_heads: H, the number of attention heads; divides ``d_model``.
        dropout: The rate on each block's two outputs, in [0, 1), rounded to a multiple of 1/256.
        attention: ``"standard"`` or ``"entangled"``.
        entanglement_strength: α_e of the entanglement layer; used by entangled attention only.
        n_channels: n, the channels of the interference feedforward; one channel is the plain feedforward.
        hidden_size: The hidden width of each channel.

    Raises:
        ConfigError: If a value is out of its range.
    """

    observation_size: int
    action_size: int
    context_length: int = 20
    max_timestep: int = 1000
    d_model: int = 128
    n_layers: int = 3
    n_heads: int = 4
    dropout: float = 0.1
    attention: Literal["standard", "entangled"] = "standard"
    entanglement_strength: float = 0.3
    n_channels: int = 1
    hidden_size: int = 512

    def __post_init__(self) -> None:
        not_sizes = ("dropout", "attention", "entanglement_strength")
        for name in (field.name for field in fields(self) if field.name not in not_sizes):
            value = getattr(self, name)
            require(is_whole(value, 1), name, "a whole number of at least 1", value)
        for name, limit in (("n_layers", MAX_LAYERS), ("context_length", MAX_CONTEXT_LENGTH)):
            require(getattr(self, name) <= limit, name, f"at most {limit:,}", getattr(self, name))
        require(
            self.d_model % self.n_heads == 0, "d_model", f"divisible by n_heads={self.n_heads}", self.d_model
        )
        require(0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)
        require(
            self.attention in ("standard", "entangled"),
            "attention",
            "'standard' or 'entangled'",
            self.attention,
        )
        finite = abs(self.entanglement_strength) < float("inf")
        require(finite, "entanglement_strength", "a finite number", self.entanglement_strength)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained: AdamW on the mean squared error over real actions.

    The paper names AdamW, weight decay and gradient clipping without their numbers; these are the original
    Decision Transformer's, but for a learning rate that suits runs of thousands instead of 100,000 updates.

    Attributes:
        learning_rate: Reached after the warm-up, then constant.
        batch_size: Windows per update.
        weight_decay: On matrices only; biases, norms and interference logits are left alone.
        max_grad_norm: The norm at which the gradient is clipped.
        warmup_steps: Updates over which the learning rate rises linearly.
        precision: ``"32"`` float32 throughout, ``"bf16-mixed"`` matrix products in bfloat16, ``"auto"`` the
            latter where the processor computes in bfloat16 natively.

    Raises:
        ConfigError: If a value is out of its range.
    """

    learning_rate: float = 3e-4
    batch_size: int = 64
    weight_decay: float = 1e-4
    max_grad_norm: float = 0.25
    warmup_steps: int = 200
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        inf = float("inf")
        require(0 < self.learning_rate < inf, "learning_rate", "a positive number", self.learning_rate)
        require(is_whole(self.batch_size, 1), "batch_size", "a whole number of at least 1", self.batch_size)
        require(0 <= self.weight_decay < inf, "weight_decay", "a number of at least 0", self.weight_decay)
        require(0 < self.max_grad_norm < inf, "max_grad_norm", "a positive number", self.max_grad_norm)
        require(
            is_whole(self.warmup_steps, 0), "warmup_steps", "a whole number of at least 0", self.warmup_steps
        )
        require(
            self.precision in ("auto", "bf16-mixed", "32"),
            "precision",
            "'auto', 'bf16-mixed' or '32'",
            self.precision,
        )
