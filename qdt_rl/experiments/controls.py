"""Agents that only experiments need."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from qdt_rl.config import ModelConfig
from qdt_rl.experiments.agents import AGENTS, make_agent
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import VARIANTS, model_config
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.base import OfflinePolicy

_PARTS = ("observation_size", "action_size", "hidden_size", *VARIANTS["qdt"])


class FoldedStart(QDTPolicy):
    """A ``wide-dt`` that starts from the folded initial weights of the ``qdt`` of the same seed.

    It sees the same windows and draws the same dropout masks. Both compute the same function at update 0, so
    that whatever differs later is due to the parameterisation.
    """

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        if seed is None:
            return super()._build(config, seed)
        shared = {name: value for name, value in asdict(config).items() if name not in _PARTS}
        qdt = model_config("qdt", config.observation_size, config.action_size, **shared)
        return DecisionTransformer(qdt, seed).fold()


CONTROLS: Mapping[str, type[QDTPolicy]] = MappingProxyType({"wide-dt-folded": FoldedStart})
"""Controls by name; each is a ``wide-dt``."""


def make_agent_or_control(name: str, **settings: Any) -> OfflinePolicy:
    """Return a new agent: one of ``AGENTS`` or ``CONTROLS``.

    Raises:
        ConfigError: If a name or a value is not known.
    """
    if name in CONTROLS:
        return CONTROLS[name](**settings, **AGENTS["wide-dt"][1])
    return make_agent(name, **settings)
