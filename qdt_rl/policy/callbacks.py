"""How SB3's callbacks see an offline agent."""

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from qdt_rl.policy.vec_env import ReturnConditionedVecEnv

if TYPE_CHECKING:
    from stable_baselines3.common.type_aliases import MaybeCallback


def as_callback(callback: "MaybeCallback") -> BaseCallback:
    """Return one callback object for whatever SB3 accepts as ``callback``."""
    if isinstance(callback, list):
        return CallbackList(callback)
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)


def offline_env(observation_space: spaces.Box, action_space: spaces.Box) -> ReturnConditionedVecEnv:
    """Return what ``get_env()`` gives to callbacks: the dataset's spaces, in an environment without steps.

    SB3's ``EvalCallback`` compares its type with that of the evaluation environment, hence the wrapper.
    """
    return ReturnConditionedVecEnv(_OfflineVecEnv(observation_space, action_space), target_return=0.0)


class _OfflineVecEnv(VecEnv):
    """One environment's spaces without the environment: an offline agent learns from a dataset."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Box) -> None:
        super().__init__(1, observation_space, action_space)

    def reset(self) -> VecEnvObs:
        raise NotImplementedError(
            "An offline agent has no training environment; evaluate on one of your own."
        )

    def step_async(self, actions: np.ndarray) -> None:
        self.reset()

    def step_wait(self) -> VecEnvStepReturn:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False]
