"""Environments and agents small enough that what comes out can be worked out by hand."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import registry

import qdt_rl  # noqa: F401 - registers the ids
from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.data.generation import generate_dataset
from qdt_rl.evaluation.result import EvaluationResult
from qdt_rl.experiments.comparison import Score

N_STEPS = 20


class LuckyEnv(gym.Env):
    """Three steps; each pays the action's first entry, and the last one also the luck: the seed modulo 7."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-100, 100, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.luck, self.n_steps = (seed or 0) % 7, 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.n_steps += 1
        is_over = self.n_steps == 3
        return np.zeros(2, np.float32), float(action[0]) + is_over * self.luck, is_over, False, {}


gym.register("qdt_rl_tests/Lucky-v0", LuckyEnv, disable_env_checker=True)


class SameSpacesEnv(LuckyEnv):
    """As many numbers in observations and actions as in the synthetic environments."""

    observation_space = spaces.Box(-1, 1, (11,), np.float32)
    action_space = spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(11, np.float32), {}

    def step(self, action):
        return np.zeros(11, np.float32), *super().step(action)[1:]


gym.register("qdt_rl_tests/SameSpaces-v0", SameSpacesEnv, disable_env_checker=True)


def needs_a_package(**_):
    raise gym.error.DependencyNotInstalled("install what is missing")


gym.register("qdt_rl_tests/NeedsPackage-v0", needs_a_package)


@pytest.fixture(scope="module")
def short_episodes() -> Iterator[None]:
    """The synthetic environments with 20 steps instead of 1,000."""
    with pytest.MonkeyPatch.context() as patch:
        for env_id in REFERENCE_SCORES:
            patch.setattr(registry[env_id], "max_episode_steps", N_STEPS)
        yield


@pytest.fixture(scope="module")
def minari_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        yield root


@pytest.fixture(scope="module")
def dataset(short_episodes, minari_root) -> str:
    """Eleven short episodes of the medium-expert mix."""
    return generate_dataset("qdt/synthetic/medium-expert-v0", n_episodes=11).id


@pytest.fixture(scope="module")
def make_score():
    def make(
        agent="qdt",
        target_return=100.0,
        returns=(90.0, 110.0, 130.0),
        low=95.0,
        high=125.0,
        reference_scores=None,
        **given,
    ):
        given = {"env_id": "Some-v0", "seed": 5, "n_parameters": None} | given
        lengths, targets = np.full(len(returns), 7), np.full(len(returns), float(target_return))
        result = EvaluationResult(np.array(returns, float), lengths, targets, reference_scores)
        return Score(agent, result=result, low=low, high=high, **given)

    return make
