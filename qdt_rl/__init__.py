"""Return-conditioned offline RL: the Quantum Decision Transformer (arXiv 2512.14726) on Minari datasets.

Importing this package registers its Gymnasium environments. Names are loaded when they are first used, so
that the import itself stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import qdt_envs as _registers_environments  # noqa: F401

if TYPE_CHECKING:
    from qdt_rl.baselines.behavior_cloning import BehaviorCloning
    from qdt_rl.baselines.reference import ControllerPolicy, RandomPolicy
    from qdt_rl.baselines.sb3 import SB3Policy
    from qdt_rl.data.generation import DATASET_IDS, generate_dataset
    from qdt_rl.data.minari_reader import read_trajectories
    from qdt_rl.data.trajectories import Trajectories
    from qdt_rl.evaluation.result import EvaluationResult
    from qdt_rl.evaluation.rollout import evaluate
    from qdt_rl.evaluation.statistics import bootstrap_interval, interquartile_mean
    from qdt_rl.model.transformer import DecisionTransformer
    from qdt_rl.model.variants import VARIANTS
    from qdt_rl.policy.agent import QDTPolicy
    from qdt_rl.policy.checkpoints import Checkpoints
    from qdt_rl.policy.vec_env import ReturnConditionedVecEnv

_HOMES = {
    "BehaviorCloning": "baselines.behavior_cloning",
    "ControllerPolicy": "baselines.reference",
    "RandomPolicy": "baselines.reference",
    "SB3Policy": "baselines.sb3",
    "DATASET_IDS": "data.generation",
    "generate_dataset": "data.generation",
    "read_trajectories": "data.minari_reader",
    "Trajectories": "data.trajectories",
    "EvaluationResult": "evaluation.result",
    "evaluate": "evaluation.rollout",
    "bootstrap_interval": "evaluation.statistics",
    "interquartile_mean": "evaluation.statistics",
    "DecisionTransformer": "model.transformer",
    "VARIANTS": "model.variants",
    "QDTPolicy": "policy.agent",
    "Checkpoints": "policy.checkpoints",
    "ReturnConditionedVecEnv": "policy.vec_env",
}

__all__ = [
    "BehaviorCloning",
    "ControllerPolicy",
    "RandomPolicy",
    "SB3Policy",
    "DATASET_IDS",
    "generate_dataset",
    "read_trajectories",
    "Trajectories",
    "EvaluationResult",
    "evaluate",
    "bootstrap_interval",
    "interquartile_mean",
    "DecisionTransformer",
    "VARIANTS",
    "QDTPolicy",
    "Checkpoints",
    "ReturnConditionedVecEnv",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
