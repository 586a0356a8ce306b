from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from qdt_rl.errors import ConfigError, InputError
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.policy.vec_env import ReturnConditionedVecEnv

TARGETS = [5.0, -3.0, 11.0]


def monitored(env_id, n_envs):
    return make_vec_env(partial(gym.make, env_id), n_envs, seed=0)


@pytest.fixture
def wrapped(lottery):
    env = ReturnConditionedVecEnv(monitored(lottery, 3), TARGETS)
    env.seed(17)
    return env


def sb3_slowly(slowly, lottery, n_episodes):
    """What SB3's evaluate_policy must find: episodes dealt out in advance, each row's first one seeded."""
    episodes = []
    for row, target in enumerate(TARGETS):
        env = gym.make(lottery)
        seeds = [17 + row] + [None] * ((n_episodes + row) // 3 - 1)
        episodes += [slowly(env, target, seed) for seed in seeds[: (n_episodes + row) // 3]]
    return sorted(episodes)


def test_each_row_counts_down_from_its_target_and_restarts(wrapped):
    rng = np.random.default_rng(0)
    shown = wrapped.reset()
    n_ended = 0
    for _ in range(40):
        assert wrapped.observation_space.contains({key: value[0] for key, value in shown.items()})
        assert shown["return_to_go"].shape == (3, 1)
        earned = shown["observation"][:, 3]
        np.testing.assert_array_equal(shown["return_to_go"][:, 0], TARGETS - earned)
        shown, _, dones, infos = wrapped.step(rng.uniform(-1, 1, (3, 3)).astype(np.float32))
        for row in np.flatnonzero(dones):
            n_ended += 1
            last = infos[row]["terminal_observation"]
            assert wrapped.observation_space.contains(last)
            assert last["return_to_go"] == TARGETS[row] - last["observation"][3]
            assert shown["return_to_go"][row] == TARGETS[row]
    assert n_ended > 5


def test_a_reset_restarts_every_row(wrapped):
    wrapped.reset()
    wrapped.step(np.zeros((3, 3), np.float32))
    np.testing.assert_array_equal(wrapped.reset()["return_to_go"][:, 0], TARGETS)


def test_small_rewards_are_not_lost_on_a_large_target(lottery):
    wrapped = ReturnConditionedVecEnv(monitored(lottery, 2), 2.0**24)
    shown = wrapped.reset()
    for _ in range(30):
        expected = (2.0**24 - shown["observation"][:, 3].astype(np.float64)).astype(np.float32)
        np.testing.assert_array_equal(shown["return_to_go"][:, 0], expected)
        shown, _, _, _ = wrapped.step(np.full((2, 3), 0.01, np.float32))


@pytest.mark.parametrize("n_episodes", [1, 3, 5, 13])
def test_evaluate_policy_with_a_target_for_each_environment(
    wrapped, tally_policy, slowly, lottery, n_episodes
):
    returns, lengths = evaluate_policy(tally_policy(), wrapped, n_episodes, return_episode_rewards=True)
    found = sorted(zip(returns, lengths, strict=True))
    assert found == sb3_slowly(slowly, lottery, n_episodes)


def test_evaluate_agrees_where_each_environment_runs_one_episode(wrapped, tally_policy, lottery):
    mean, std = evaluate_policy(tally_policy(), wrapped, 3)
    ours = evaluate(tally_policy(), lottery, TARGETS, 3, seed=17)
    assert (mean, std) == pytest.approx((ours.mean, ours.std), rel=1e-3)


def test_eval_callback(wrapped, tally_policy, slowly, lottery, tmp_path):
    model = tally_policy()
    model.num_timesteps, model.logger = 29, Logger(None, [])
    model.get_env, model.get_vec_normalize_env = lambda: wrapped, lambda: None
    callback = EvalCallback(wrapped, n_eval_episodes=5, eval_freq=1, log_path=str(tmp_path), verbose=0)
    callback.init_callback(model)
    assert callback.on_step()
    expected = sb3_slowly(slowly, lottery, 5)
    assert callback.last_mean_reward == pytest.approx(np.mean([earned for earned, _ in expected]))
    with np.load(tmp_path / "evaluations.npz") as kept:
        assert sorted(kept["ep_lengths"][0]) == sorted(length for _, length in expected)


def test_what_is_inside_stays_within_reach(wrapped, lottery):
    assert wrapped.env_is_wrapped(Monitor) == [True] * 3
    assert [spec.id for spec in wrapped.get_attr("spec")] == [lottery] * 3


def test_normalised_rewards_are_refused_however_deep_they_are(lottery):
    def plain():
        return DummyVecEnv([lambda: gym.make(lottery)])

    message = "a VecNormalize in it normalises them; make that one with norm_reward=False"
    buried = VecNormalize(VecMonitor(VecNormalize(plain(), norm_obs=False)), norm_reward=False)
    for venv in (VecNormalize(plain()), VecMonitor(VecNormalize(plain())), buried):
        with pytest.raises(ConfigError, match=message):
            ReturnConditionedVecEnv(venv, 1.0)
    ReturnConditionedVecEnv(VecNormalize(plain(), norm_reward=False), 1.0)


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_not_a_plain_vec_env_is_refused(wrapped, lottery):
    with pytest.raises(ConfigError, match=r"venv must be an SB3 VecEnv, but .* was given; make one with"):
        ReturnConditionedVecEnv(gym.make(lottery), 1.0)
    with pytest.raises(
        ConfigError, match=r"venv must have plain observations, but has Dict.*wrapped already"
    ):
        ReturnConditionedVecEnv(wrapped, 1.0)


def test_other_targets_count_from_the_next_episode_on(wrapped, tally_policy):
    wrapped.reset()
    wrapped.target_returns = 2.0
    seen, wanted = set(), np.array(TARGETS)
    while len(seen) < 3:
        observations, rewards, dones, _ = wrapped.step(np.zeros((3, 3), np.float32))
        wanted = np.where(dones, 2.0, wanted - rewards)
        np.testing.assert_array_equal(observations["return_to_go"][:, 0], wanted)
        seen |= set(np.flatnonzero(dones).tolist())
    assert wrapped.reset()["return_to_go"].tolist() == [[2.0]] * 3
    for bad in (np.nan, [1.0, 2.0]):
        with pytest.raises(InputError, match=r"one for each environment \(3\), but"):
            wrapped.target_returns = bad
    assert wrapped.target_returns.tolist() == [2.0] * 3


@pytest.mark.parametrize("target_return", [np.nan, [1.0, 2.0], [1.0, 2.0, -np.inf]])
def test_targets_must_be_finite_and_one_per_environment(lottery, target_return):
    with pytest.raises(InputError, match=r"target_return must be .* one for each environment \(3\), but"):
        ReturnConditionedVecEnv(monitored(lottery, 3), target_return)
