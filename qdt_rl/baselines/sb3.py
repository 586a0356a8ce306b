"""Agents of Stable-Baselines3, trained online, with the face that the other policies have."""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from qdt_rl.config import is_whole, require, require_whole
from qdt_rl.errors import ConfigError
from qdt_rl.policy.protocol import plain_observation
from qdt_rl.progress import track

_ALGORITHMS: dict[str, type[PPO] | type[SAC]] = {"PPO": PPO, "SAC": SAC}


class SB3Policy:
    """An SB3 model that stands beside return-conditioned policies, and ignores the return it is asked for.

    Observations are those of the environment. A model that was trained inside a ``VecNormalize`` is shown
    them by that one's statistics, as long as it holds it (``PPO.load(path, env=venv)``; without, they are
    lost), so do not let the policy act inside a ``VecNormalize`` again.

    Save the model with ``policy.model.save(path)`` and wrap it again with ``SB3Policy(PPO.load(path))``. That
    ``load`` is SB3's own and runs pickled code: only for files whose origin you trust.

    Args:
        model: Any SB3 algorithm, trained; recurrent ones too.

    Raises:
        ConfigError: If ``model`` is none.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        is_algorithm = isinstance(model, BaseAlgorithm)
        require(is_algorithm, "model", "an SB3 algorithm (not its policy alone)", type(model).__name__)
        self.model = model

    @classmethod
    def learn(
        cls,
        algorithm: str,
        env_id: str,
        total_timesteps: int,
        *,
        seed: int = 0,
        progress_bar: bool = False,
    ) -> Self:
        """Train online on one environment, on the CPU, with SB3's default settings.

        Args:
            algorithm: ``"PPO"`` or ``"SAC"``.
            env_id: A registered Gymnasium id.
            total_timesteps: Environment steps; PPO rounds them up to whole rollouts of 2,048.
            seed: Of the environment, the initial weights and the exploration. SB3 draws from the global
                generators of Python, NumPy and torch, so no other thread should meanwhile. They are put back
                as they were, but for those of accelerators, which stay seeded.
            progress_bar: Show one, if standard error is a terminal.

        Raises:
            ConfigError: If the algorithm is unknown or cannot act in the environment, the id is unknown,
                ``total_timesteps`` is no whole number of at least 1, or the seed none below 2³².
        """
        if algorithm not in _ALGORITHMS:
            raise ConfigError(f"algorithm must be one of {sorted(_ALGORITHMS)}, but {algorithm!r} was given.")
        total_timesteps = require_whole("total_timesteps", total_timesteps, 1)
        require(is_whole(seed, 0, 2**32 - 1), "seed", "a whole number from 0 to 2³² − 1", seed)
        ticks = track(range(total_timesteps), total_timesteps, f"Training {algorithm}", progress_bar)

        def tick(*_: Any) -> bool:
            next(ticks, None)
            return True

        with closing(ticks), _global_generators_kept(), closing(_make_env(env_id)) as env:
            model = _make_model(algorithm, env, int(seed))
            model.learn(total_timesteps, callback=tick)
        return cls(model)

    def predict(
        self,
        observation: Any,
        target_return: Any = None,
        state: Any = None,
        episode_start: Bool[np.ndarray, " batch"] | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Choose actions as ``Policy.predict``; ``target_return`` is ignored.

        ``deterministic=False`` samples from torch's global generator, as SB3 does.
        """
        shown = plain_observation(observation)
        normalizer = self.model.get_vec_normalize_env()
        if normalizer is not None:
            shown = normalizer.normalize_obs(shown)
        return self.model.predict(shown, state, episode_start, deterministic)


def _make_env(env_id: str) -> VecEnv:
    try:
        return make_vec_env(partial(gym.make, env_id))
    except (gym.error.Error, ImportError, ValueError) as error:  # the latter two from its constructor too
        raise ConfigError(
            f"env_id must be the id of an environment that can be made, but {env_id!r} was given: {error}"
        ) from error


def _make_model(algorithm: str, env: VecEnv, seed: int) -> BaseAlgorithm:
    try:
        return _ALGORITHMS[algorithm]("MlpPolicy", env, seed=seed, device="cpu")
    except (AssertionError, NotImplementedError, ValueError) as error:  # how SB3 refuses spaces
        raise ConfigError(f"{algorithm} cannot act in this environment: {error}") from error


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - SB3 seeds the legacy generator
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
