"""The paper's two-by-two ablation by name, and the control that the paper lacks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from qdt_rl.config import ModelConfig, require_whole
from qdt_rl.errors import ConfigError

_CHANNELS = 3

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "dt": {"attention": "standard", "n_channels": 1},
        "q-attention": {"attention": "entangled", "n_channels": 1},
        "q-feedforward": {"attention": "standard", "n_channels": _CHANNELS},
        "qdt": {"attention": "entangled", "n_channels": _CHANNELS},
        "wide-dt": {"attention": "standard", "n_channels": 1, "hidden_multiple": 4 * _CHANNELS},
    }
)
"""The parts of each variant. Hidden widths are 4D a channel, but for ``wide-dt``, whose one channel has the
hidden units of all of ``qdt``'s."""

_OF_THE_SPACES = ("observation_size", "action_size")
_SETTINGS = [name for name in ModelConfig.__dataclass_fields__ if name not in _OF_THE_SPACES]


def model_config(variant: str, observation_size: int, action_size: int, /, **settings: Any) -> ModelConfig:
    """Return the configuration of a variant.

    Args:
        variant: A name among ``VARIANTS``.
        observation_size: S.
        action_size: A.
        **settings: Any other field of ``ModelConfig``, in place of the variant's own.

    Raises:
        ConfigError: If the variant or a setting is unknown, or a value is out of its range.
    """
    if variant not in tuple(VARIANTS):  # so that what cannot be hashed is refused too
        raise ConfigError(f"Unknown variant {variant!r}; the variants are {', '.join(VARIANTS)}.")
    unknown = sorted(set(settings) - set(_SETTINGS))
    if unknown:
        raise ConfigError(
            f"Unknown model setting {', '.join(unknown)}; the settings are {', '.join(_SETTINGS)}."
        )
    parts = dict(VARIANTS[variant])
    d_model = require_whole("d_model", settings.get("d_model", ModelConfig.d_model), 1)
    hidden_size = parts.pop("hidden_multiple", 4) * d_model
    return ModelConfig(observation_size, action_size, **{**parts, "hidden_size": hidden_size, **settings})
