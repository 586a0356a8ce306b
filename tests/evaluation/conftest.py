"""Environments whose episodes are known by their seeds, and a policy that shows what it was told."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces


class LotteryEnv(gym.Env):
    """The seed draws the length, 1 to 13 steps, and each reward's luck; the action adds to the reward.

    Observations are three random numbers, the return so far and the steps so far. Rewards are multiples of
    1/8, so that sums are exact in float32 too.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space = spaces.Box(-1, 1, (3,), np.float32)
    n_closed = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(1, 14))
        self.elapsed, self.earned = 0, 0.0
        return self._observe(), {}

    def step(self, action):
        self.elapsed += 1
        reward = round(8 * float(self.np_random.normal() + action @ [1.0, 2.0, 3.0])) / 8
        self.earned += reward
        is_over = self.elapsed == self.length
        return self._observe(), reward, is_over and self.length % 2 == 0, is_over and self.length % 2 == 1, {}

    def close(self):
        LotteryEnv.n_closed += 1

    def _observe(self):
        return np.array([*self.np_random.normal(size=3), self.earned, self.elapsed], np.float32)


class UnfinishedEnv(LotteryEnv):
    """Observes NaN after the last step."""

    def _observe(self):
        observation = super()._observe()
        return observation if self.elapsed < self.length else np.full_like(observation, np.nan)


class BimodalEnv(gym.Env):
    """Even seeds last 1 step, odd ones 50; each step pays 1."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.remaining = 1 if seed is None or seed % 2 == 0 else 50
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.remaining -= 1
        return np.zeros(3, np.float32), 1.0, self.remaining == 0, False, {}


gym.register("qdt_rl_tests/Lottery-v0", LotteryEnv, disable_env_checker=True)
gym.register("qdt_rl_tests/Unfinished-v0", UnfinishedEnv, disable_env_checker=True)
gym.register("qdt_rl_tests/Bimodal-v0", BimodalEnv, disable_env_checker=True)


def choose(observation, wanted, steps):
    """The action of TallyPolicy, for one row or many, from elementwise arithmetic alone."""
    return np.clip(observation[..., :3] + 0.01 * wanted + 0.1 * steps, -1, 1).astype(np.float32)


class TallyPolicy:
    """Acts by the return that is wanted and its own count of the steps; keeps what it was told."""

    def __init__(self):
        self.calls = []

    def predict(self, observation, target_return=None, state=None, episode_start=None, deterministic=True):
        if isinstance(observation, dict):
            observation, target_return = observation["observation"], observation["return_to_go"][:, 0]
        steps = np.zeros(len(observation)) if state is None else np.where(episode_start, 0, state)
        self.calls.append((observation.copy(), target_return, state, episode_start.copy(), steps + 1))
        return choose(observation, target_return[:, None], steps[:, None]), self.calls[-1][-1]


def play_slowly(env, target, seed=None):
    """Play one episode of TallyPolicy's, without a policy and without a batch: (return, length)."""
    observation, _ = env.reset(seed=seed)
    earned, steps, is_over = 0.0, 0, False
    while not is_over:
        action = choose(observation, target - earned, steps)
        observation, reward, terminated, truncated, _ = env.step(action)
        earned, steps, is_over = earned + reward, steps + 1, terminated or truncated
    return earned, steps


@pytest.fixture(scope="session")
def lottery():
    return "qdt_rl_tests/Lottery-v0"


@pytest.fixture(scope="session")
def tally_policy():
    return TallyPolicy


@pytest.fixture(scope="session")
def slowly():
    return play_slowly
