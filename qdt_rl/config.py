"""The settings of a model and of its training: frozen, checked once, handed down whole."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal

from qdt_rl.errors import ConfigError

Precision = Literal["auto", "bf16-mixed", "32"]
Backend = Literal["loky", "ray", "dask"]
"""Where the cells of an experiment run: joblib's names."""


def require(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise a ConfigError that names the setting, what was expected and what came, unless ``condition``."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, but {value!r} was given.")


def is_whole(value: Any, at_least: int, at_most: float = float("inf")) -> bool:
    """Whether ``value`` is an integer, Python's or NumPy's and no bool, within the two bounds."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)  # NumPy registers its own there
    return is_integer and bool(at_least <= value <= at_most)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite real number, Python's or NumPy's and no bool."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer beyond floats
        return False


def is_scale(low: Any, high: Any) -> bool:
    """Whether two values can be the 0 and the 100 of a score: finite numbers, in ascending order."""
    return is_number(low) and is_number(high) and bool(low < high)


def require_whole(name: str, value: Any, at_least: int) -> int:
    """Return ``value`` as an int; raise a ConfigError unless it ``is_whole``."""
    require(is_whole(value, at_least), name, f"a whole number of at least {at_least}", value)
    return int(value)


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
        _require_wholes(self, (field.name for field in fields(self) if field.name not in not_sizes), 1)
        for name, limit in (("n_layers", MAX_LAYERS), ("context_length", MAX_CONTEXT_LENGTH)):
            require(getattr(self, name) <= limit, name, f"at most {limit:,}", getattr(self, name))
        require(
            self.d_model % self.n_heads == 0, "d_model", f"divisible by n_heads={self.n_heads}", self.d_model
        )
        require(is_number(self.dropout) and 0 <= self.dropout < 1, "dropout", "in [0, 1)", self.dropout)
        require(
            self.attention in ("standard", "entangled"),
            "attention",
            "'standard' or 'entangled'",
            self.attention,
        )
        is_finite = is_number(self.entanglement_strength)
        require(is_finite, "entanglement_strength", "a finite number", self.entanglement_strength)
        _make_floats(self, ("dropout", "entanglement_strength"))


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained: AdamW on the mean squared error over real actions.

    The paper names AdamW, weight decay and gradient clipping without their numbers; these are the original
    Decision Transformer's, but for the learning rate (1e-4 there) and the warm-up (10,000 updates there),
    which suit runs of thousands instead of 100,000 updates.

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
        for name in ("learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            require(is_number(value) and value > 0, name, "a positive number", value)
        is_decay = is_number(self.weight_decay) and self.weight_decay >= 0
        require(is_decay, "weight_decay", "a number of at least 0", self.weight_decay)
        _make_floats(self, ("learning_rate", "weight_decay", "max_grad_norm"))
        _require_wholes(self, ("batch_size",), 1)
        _require_wholes(self, ("warmup_steps",), 0)
        require(
            self.precision in ("auto", "bf16-mixed", "32"),
            "precision",
            "'auto', 'bf16-mixed' or '32'",
            self.precision,
        )


def _require_wholes(config: ModelConfig | TrainConfig, names: Iterable[str], at_least: int) -> None:
    for name in names:
        object.__setattr__(config, name, require_whole(name, getattr(config, name), at_least))


def _make_floats(config: ModelConfig | TrainConfig, names: Iterable[str]) -> None:
    """Store Python's floats: with one of NumPy's, training would round otherwise than once it is loaded."""
    for name in names:
        object.__setattr__(config, name, float(getattr(config, name)))
