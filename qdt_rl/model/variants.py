"""The paper's two-by-two ablation by name, and the control that the paper lacks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from qdt_rl.config import ModelConfig
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


def model_config(variant: str, observation_size: int, action_size: int, **settings: Any) -> ModelConfig:
    """Return the configuration of a variant.

    Args:
        variant: A name among ``VARIANTS``.
        observation_size: S.
        action_size: A.
        **settings: Any field of ``ModelConfig``, in place of the variant's own.

    Raises:
        ConfigError: If the variant or a setting is unknown, or a value is out of its range.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"Unknown variant {variant!r}; the variants are {', '.join(VARIANTS)}.")
    unknown = sorted(set(settings) - set(ModelConfig.__dataclass_fields__))
    if unknown:
        known = ", ".join(name for name in ModelConfig.__dataclass_fields__ if not name.endswith("_size"))
        raise ConfigError(
            f"Unknown model setting {', '.join(unknown)}; the settings are {known}, hidden_size."
        )
    parts = dict(VARIANTS[variant])
    d_model = settings.get("d_model", ModelConfig.d_model)
    hidden_size = parts.pop("hidden_multiple", 4) * d_model
    return ModelConfig(observation_size, action_size, **{**parts, "hidden_size": hidden_size, **settings})
