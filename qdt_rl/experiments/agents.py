"""Agents by the names that the command line and the experiments use."""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.errors import CheckpointError, ConfigError
from qdt_rl.model.variants import VARIANTS
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.agent_file import agent_path, read_agent
from qdt_rl.policy.base import OfflinePolicy

_CLASSES: Mapping[str, type[OfflinePolicy]] = MappingProxyType(
    {policy_class.__name__: policy_class for policy_class in (QDTPolicy, BehaviorCloning)}
)

AGENTS: Mapping[str, tuple[type[OfflinePolicy], Mapping[str, Any]]] = MappingProxyType(
    {name: (QDTPolicy, {"variant": name}) for name in VARIANTS}
    | {"bc": (BehaviorCloning, {}), "bc-10%": (BehaviorCloning, {"best_fraction": 0.1})}
)
"""Each offline agent's class, and the settings that its name stands for."""


def make_agent(name: str, **settings: Any) -> OfflinePolicy:
    """Return a new agent.

    Args:
        name: One of ``AGENTS``.
        **settings: Of its constructor, but for those that the name stands for.

    Raises:
        ConfigError: If a name or a value is not known.
    """
    if name not in AGENTS:
        raise ConfigError(f"Unknown agent {name!r}; the agents are {', '.join(AGENTS)}.")
    policy_class, preset = AGENTS[name]
    possible = [setting for setting in signature(policy_class).parameters if setting not in preset]
    unknown = [setting for setting in settings if setting not in possible]
    if unknown:
        raise ConfigError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(possible)}.")
    return policy_class(**settings, **preset)


def load_agent(path: Path, device: str = "auto") -> OfflinePolicy:
    """Read an agent of any class of this library.

    Args:
        path: Its file.
        device: Where it trains and acts.

    Raises:
        CheckpointError: If the file is missing, damaged, or not an agent of this library.
        ConfigError: If this machine does not have the device.
    """
    content, _ = read_agent(path)
    policy_class = _CLASSES.get(str(content.get("class")))
    if policy_class is None:
        raise CheckpointError(f"{path} holds a {content.get('class')!r}, which this version does not know.")
    return policy_class.load(path, device)


def agent_name(path: Path) -> str:
    """Return what an agent's file is called without ``.zip``: what belongs to it bears the name too."""
    return agent_path(path).name.removesuffix(".zip")


def load_agents(paths: Sequence[Path], device: str = "auto") -> dict[str, OfflinePolicy]:
    """Read agents, each named by its file.

    Args:
        paths: Their files.
        device: Where they act.

    Raises:
        CheckpointError: If a file is missing, damaged, or not an agent of this library.
        ConfigError: If two have one name, or this machine does not have the device.
    """
    names = [agent_name(path) for path in paths]
    require_unique(names)
    return {name: load_agent(path, device) for name, path in zip(names, paths, strict=True)}


def require_unique(names: Sequence[str]) -> None:
    """Raise a ConfigError that says which name stands for two agents, unless each stands for one."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)} would stand for two agents, which are named by their files; rename one."
        )
