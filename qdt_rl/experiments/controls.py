"""Agents that only experiments need: controls, and other readings of the paper's description.

A name is that of an agent, ``+`` and that of a change: ``q-attention+no-residual``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import torch

from qdt_rl.config import ModelConfig
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.errors import ConfigError
from qdt_rl.experiments.agents import AGENTS, make_agent
from qdt_rl.experiments.readings import NoCausalMask, NoResidual, TokenEntanglement
from qdt_rl.model.attention import EntangledLinear
from qdt_rl.model.base import ActionModel
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


class WideEntanglement(QDTPolicy):
    """Draws the initial ``W_E`` ten times as wide: N(0, 0.2²)."""

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        model = super()._build(config, seed)
        with torch.no_grad():
            for layer in _entangled_layers(model):
                layer.entanglement_weight.mul_(10)
        return model


class WithoutEntanglementResidual(QDTPolicy):
    """Passes on what is entangled alone, not added to what was attended: ``W_O (α W_E Y) + b``."""

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        model = super()._build(config, seed)
        for block in model.layers:
            block.attention.output = NoResidual(block.attention.output)
        return model


class AcrossTokens(QDTPolicy):
    """Entangles tokens instead of features, each with those before it: ``W_O (Y + α tril(E) Y) + b``.

    What a token becomes depends on its place in the window, so that acting takes ``sliding_window``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"sliding_window": True})

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        model = super()._build(config, seed)
        for block in model.layers:
            block.attention = TokenEntanglement(block.attention, 3 * config.context_length, self.seed)
        return model


class WithoutCausalMask(QDTPolicy):
    """Lets every token see the whole window: in training, the very action that it is to predict.

    Acting takes ``sliding_window``: what is computed of a token changes with each that follows.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"sliding_window": True})

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        model = super()._build(config, seed)
        for block in model.layers:
            block.attention = NoCausalMask(block.attention)
        return model


class RawObservations(QDTPolicy):
    """Reads observations as they are, not standardised."""

    def _new_model(self, trajectories: Trajectories) -> ActionModel:
        model = super()._new_model(trajectories)
        model.scaling.observation_mean.zero_()
        model.scaling.observation_std.fill_(1.0)
        return model


class RawReturns(QDTPolicy):
    """Reads returns-to-go in the units of the reward, thousands, not divided."""

    def _new_model(self, trajectories: Trajectories) -> ActionModel:
        model = super()._new_model(trajectories)
        model.scaling.return_scale.fill_(1.0)
        return model


CONTROLS: Mapping[str, type[QDTPolicy]] = MappingProxyType(
    {
        "folded-start": FoldedStart,
        "wide-entanglement": WideEntanglement,
        "no-residual": WithoutEntanglementResidual,
        "across-tokens": AcrossTokens,
        "no-causal-mask": WithoutCausalMask,
        "raw-observations": RawObservations,
        "raw-returns": RawReturns,
    }
)
"""Changes by name."""


def make_agent_or_control(name: str, **settings: Any) -> OfflinePolicy:
    """Return a new agent: one of ``AGENTS``, or one of them changed as ``CONTROLS`` says.

    Raises:
        ConfigError: If a name or a value is not known.
    """
    agent, plus, control = name.partition("+")
    if not plus:
        return make_agent(name, **settings)
    policy_class, preset = AGENTS.get(agent, (None, {}))
    if policy_class is not QDTPolicy or control not in CONTROLS:
        raise ConfigError(f"Unknown control {name!r}; write agent+change with one of {', '.join(CONTROLS)}.")
    return CONTROLS[control](**settings, **preset)


def _entangled_layers(model: DecisionTransformer) -> list[EntangledLinear]:
    layers = [block.attention.output for block in model.layers]
    return [layer for layer in layers if isinstance(layer, EntangledLinear)]
