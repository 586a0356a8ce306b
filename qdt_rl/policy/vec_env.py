"""Return-conditioned observations for Stable-Baselines3's own tools."""

from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float64
from numpy.typing import ArrayLike
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from qdt_rl.errors import ConfigError
from qdt_rl.policy.protocol import spread_target_return


class ReturnConditionedVecEnv(VecEnvWrapper):
    """Adds to each observation the return that is still wanted.

    Observations are Dicts ``{"observation": (n, S), "return_to_go": (n, 1)}``. A row's return-to-go starts at
    its target, is lowered by each of its rewards (the paper's return-to-go, arXiv 2512.14726) and restarts at
    the target when the row's episode ends. It is kept in float64 and shown in float32, SB3's dtype. At an
    episode's end ``infos[i]["terminal_observation"]`` is such a Dict too, with the return then still wanting.

    SB3's ``evaluate_policy(policy, wrapped)`` and ``EvalCallback(wrapped)`` work as they are. Wrap the
    environments in a ``Monitor`` inside, as SB3 advises, and normalise observations inside, not outside: an
    outer ``VecNormalize`` would normalise the return-to-go as well.

    Args:
        venv: The environments, with plain observations and rewards in the units of ``target_return``.
        target_return: The return to ask for, a finite number or one per environment, (n,), reward units.

    Raises:
        ConfigError: If ``venv`` is not a VecEnv, has Dict observations, or normalises rewards by a
            ``VecNormalize`` in it.
        InputError: If ``target_return`` is not finite or not of the right length.
    """

    def __init__(self, venv: VecEnv, target_return: ArrayLike) -> None:
        if not isinstance(venv, VecEnv):
            raise ConfigError(
                f"venv must be an SB3 VecEnv, but {type(venv).__name__} was given; "
                "make one with stable_baselines3.common.env_util.make_vec_env."
            )
        if isinstance(venv.observation_space, spaces.Dict):
            raise ConfigError(
                f"venv must have plain observations, but has {venv.observation_space}; is it wrapped already?"
            )
        _refuse_normalized_rewards(venv)
        return_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        super().__init__(
            venv, spaces.Dict({"observation": venv.observation_space, "return_to_go": return_space})
        )
        self.target_returns = target_return
        self._return_to_go = self.target_returns

    @property
    def target_returns(self) -> Float64[np.ndarray, " envs"]:
        """(n,), what is asked for. May be set, to a number too; counts from each row's next episode on."""
        return self._target_returns.copy()

    @target_returns.setter
    def target_returns(self, target_return: ArrayLike) -> None:
        self._target_returns = spread_target_return(target_return, self.num_envs, "environment")

    def reset(self) -> dict[str, np.ndarray]:
        """Reset every environment, and every return-to-go to its target."""
        observations = self.venv.reset()
        self._return_to_go = self.target_returns
        return _conditioned(observations, self._return_to_go)

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step, and lower each return-to-go by its reward."""
        observations, rewards, dones, infos = self.venv.step_wait()
        remaining = self._return_to_go - rewards
        for row in np.flatnonzero(dones):
            if "terminal_observation" in infos[row]:
                last = infos[row]["terminal_observation"]
                infos[row]["terminal_observation"] = _conditioned(last, remaining[row])
        self._return_to_go = np.where(dones, self._target_returns, remaining)
        return _conditioned(observations, self._return_to_go), rewards, dones, infos


def _conditioned(observation: Any, return_to_go: Any) -> dict[str, np.ndarray]:
    return {"observation": observation, "return_to_go": np.asarray(return_to_go, np.float32)[..., None]}


def _refuse_normalized_rewards(venv: VecEnv) -> None:
    inner: VecEnv = venv
    while isinstance(inner, VecEnvWrapper):
        if isinstance(inner, VecNormalize) and inner.norm_reward:
            raise ConfigError(
                "venv must pay rewards in the units of target_return, but a VecNormalize in it normalises "
                "them; make that one with norm_reward=False."
            )
        inner = inner.venv
