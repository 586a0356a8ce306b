"""The ends of the scale: random actions, and the controllers that behaved in the datasets."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool

from qdt_envs.controllers import Controller
from qdt_envs.dynamics import N_ACTUATORS
from qdt_rl.config import require_whole
from qdt_rl.errors import ConfigError
from qdt_rl.policy.protocol import plain_observation


class RandomPolicy:
    """Samples its action space, whatever it observes and is asked for.

    Its state counts the calls: the same seed and state give the same actions, and nothing is kept here.

    Args:
        action_space: Of one environment.
        seed: Of the actions.

    Raises:
        ConfigError: If the seed is none.
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int = 0) -> None:
        self.action_space = action_space
        self.seed = require_whole("seed", seed, 0)

    def predict(
        self,
        observation: Any,
        target_return: Any = None,
        state: int | None = None,
        episode_start: Bool[np.ndarray, " batch"] | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, int]:
        """Choose actions as ``Policy.predict``; only the shape of ``observation`` is read, (S,) or (B, S)."""
        observations = np.asarray(plain_observation(observation))
        n_calls = 0 if state is None else state
        batch = batch_space(self.action_space, len(np.atleast_2d(observations)))
        batch.seed(int(_generator(self.seed, n_calls).integers(2**63)))
        actions = np.asarray(batch.sample())
        return (actions if observations.ndim > 1 else actions[0]), n_calls + 1


class ControllerPolicy:
    """Acts as a behaviour policy of ``qdt_envs`` does.

    Its state counts the calls, from which a noisy controller's generator is made.

    Args:
        controller: Maps observations (B, 11) and polarities (B, 3) to actions (B, 3).
        env: The environment that will be acted in, an Env or a native VectorEnv of ``qdt_envs``, whose hidden
            polarity the controller then knows. None: all +1, the truth unless ``hidden_polarity`` is set.
        seed: Of the controller's noise.

    Raises:
        ConfigError: If ``env`` has no polarity, or the seed is none.
    """

    def __init__(
        self,
        controller: Controller,
        env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if env is not None and not hasattr(type(env.unwrapped), "polarity"):
            raise ConfigError(
                f"env must be an Env or a native VectorEnv of qdt_envs, which know their polarity, but {env} "
                "was given; leave it out unless hidden_polarity is set."
            )
        self.controller = controller
        self.env = env
        self.seed = require_whole("seed", seed, 0)

    def predict(
        self,
        observation: Any,
        target_return: Any = None,
        state: int | None = None,
        episode_start: Bool[np.ndarray, " batch"] | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, int]:
        """Choose actions as ``Policy.predict``; ``target_return`` is ignored."""
        given = np.asarray(plain_observation(observation))
        observations = np.atleast_2d(given)
        n_calls = 0 if state is None else state
        polarities = np.broadcast_to(self._polarity(), (len(observations), N_ACTUATORS))
        actions = self.controller(observations, polarities, _generator(self.seed, n_calls))
        return (actions if given.ndim > 1 else actions[0]), n_calls + 1

    def _polarity(self) -> Any:
        if self.env is None:
            return 1.0
        unwrapped: Any = self.env.unwrapped
        return unwrapped.polarity


def _generator(seed: int, n_calls: int) -> np.random.Generator:
    return np.random.default_rng([seed, n_calls])
