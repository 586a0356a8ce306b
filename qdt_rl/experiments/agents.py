"""Agents by the names that the command line and the experiments use."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.errors import CheckpointError, ConfigError
from qdt_rl.model.variants import VARIANTS
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.checkpoint import read_agent

_CLASSES: Mapping[str, type[OfflinePolicy]] = MappingProxyType(
    {policy_class.__name__: policy_class for policy_class in (QDTPolicy, BehaviorCloning)}
)


def _variant(name: str) -> Callable[..., OfflinePolicy]:
    return lambda **settings: QDTPolicy(variant=name, **settings)


AGENTS: Mapping[str, Callable[..., OfflinePolicy]] = MappingProxyType(
    {name: _variant(name) for name in VARIANTS}
    | {
        "bc": BehaviorCloning,
        "bc-10%": lambda **settings: BehaviorCloning(best_fraction=0.1, **settings),
    }
)
"""How each offline agent is made: variants of the model; cloning of all episodes, and of the best tenth."""


def make_agent(name: str, **settings: Any) -> OfflinePolicy:
    """Return a new agent.

    Args:
        name: One of ``AGENTS``.
        **settings: Of its constructor.

    Raises:
        ConfigError: If the name or a value is not known.
    """
    if name not in AGENTS:
        raise ConfigError(f"Unknown agent {name!r}; the agents are {', '.join(AGENTS)}.")
    return AGENTS[name](**settings)


def load_agent(path: str | Path) -> OfflinePolicy:
    """Read an agent of any class of this library.

    Raises:
        CheckpointError: If the file is missing, damaged, or not an agent of this library.
    """
    content, _ = read_agent(Path(path))
    if content.get("class") not in _CLASSES:
        raise CheckpointError(f"{path} holds a {content.get('class')!r}, which this version does not know.")
    return _CLASSES[content["class"]].load(path)
