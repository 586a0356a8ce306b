import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import qdt_envs  # noqa: F401 - registers the ids
from qdt_envs.controllers import EXPERT, RandomController
from qdt_rl.baselines.reference import ControllerPolicy, RandomPolicy
from qdt_rl.errors import ConfigError
from qdt_rl.evaluation.environments import vector_env
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.policy.vec_env import ReturnConditionedVecEnv

BOX = spaces.Box(np.array([-1, 0, 5], np.float32), np.array([1, 2, 7], np.float32))


def test_random_actions_cover_the_space_and_only_it():
    actions, _ = RandomPolicy(BOX).predict(np.zeros((4999, 2)))
    assert actions.dtype == np.float32
    assert all(BOX.contains(action) for action in actions)
    np.testing.assert_allclose(actions.mean(axis=0), [0, 1, 6], atol=0.05)
    np.testing.assert_allclose(actions.std(axis=0), 2 / 12**0.5, atol=0.02)


def test_random_actions_follow_from_seed_and_state_alone():
    policy, observations = RandomPolicy(BOX, seed=3), np.zeros((5, 2))
    first, state = policy.predict(observations)
    second, _ = policy.predict(observations, 7.0, state)
    np.testing.assert_array_equal(first, policy.predict(observations)[0])
    np.testing.assert_array_equal(second, RandomPolicy(BOX, seed=3).predict(observations, state=state)[0])
    other_seed, _ = RandomPolicy(BOX, seed=4).predict(observations)
    assert len(np.unique(np.concatenate([first, second, other_seed]), axis=0)) == 15


@pytest.mark.parametrize("policy", [RandomPolicy(BOX), ControllerPolicy(EXPERT)])
def test_one_observation_or_many_or_a_dict(policy):
    observation = np.linspace(-1, 1, 11, dtype=np.float32)
    one, _ = policy.predict(observation)
    many, _ = policy.predict(np.stack([observation] * 5))
    by_dict, _ = policy.predict({"observation": observation[None], "return_to_go": np.zeros((1, 1))})
    assert (one.shape, many.shape) == ((3,), (5, 3))
    np.testing.assert_array_equal(by_dict, one[None])


def test_discrete_random_actions():
    actions, _ = RandomPolicy(spaces.Discrete(3)).predict(np.zeros((97, 2)))
    assert sorted(set(actions)) == [0, 1, 2]
    action, _ = RandomPolicy(spaces.Discrete(3)).predict(np.zeros(2))
    assert action.shape == ()


def test_random_actions_are_drawn_anew_in_each_episode_and_the_same_again():
    """What they return is held in ``tests/envs/test_reference_scores.py``."""
    policy = RandomPolicy(spaces.Box(-1, 1, (3,)))
    first, again = (evaluate(policy, "QDTSynthetic-v0", 0.0, 5) for _ in range(2))
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, 1000)
    assert len(set(first.returns)) == 5


def test_the_synthetic_environment_is_evaluated_alike_by_all():
    policy = ControllerPolicy(EXPERT)
    by_id = evaluate(policy, "QDTSynthetic-v0", 0.0, 3, seed=29)
    by_env = evaluate(policy, gym.make("QDTSynthetic-v0"), 0.0, 3, seed=29)
    np.testing.assert_array_equal(by_id.returns, by_env.returns)
    venv = ReturnConditionedVecEnv(make_vec_env("QDTSynthetic-v0", 3), 1000.0)
    venv.seed(29)
    returns, lengths = evaluate_policy(policy, venv, 3, return_episode_rewards=True)
    np.testing.assert_allclose(returns, by_id.returns, rtol=1e-3)
    assert lengths == [1000] * 3
    with vector_env("QDTSynthetic-v0", 3) as env:
        assert type(env.unwrapped).__name__ == "SyntheticVectorEnv"


@pytest.mark.parametrize("make", [gym.make, lambda env_id: gym.make_vec(env_id, 2)])
def test_a_controller_may_know_the_hidden_polarity(make):
    env = make("QDTSyntheticHidden-v0")
    knowing = evaluate(ControllerPolicy(EXPERT, env), env, 0.0, 2, seed=3)
    np.testing.assert_allclose(
        knowing.returns, evaluate(ControllerPolicy(EXPERT), "QDTSynthetic-v0", 0.0, 2, seed=3).returns
    )
    assert evaluate(ControllerPolicy(EXPERT), env, 0.0, 2, seed=3).mean < knowing.mean


def test_a_noisy_controller_follows_from_seed_and_state_alone():
    policy, observations = ControllerPolicy(RandomController(), seed=3), np.zeros((5, 11), np.float32)
    first, state = policy.predict(observations)
    second, _ = policy.predict(observations, state=state)
    np.testing.assert_array_equal(first, policy.predict(observations)[0])
    assert not np.isin(first, second).any()
    assert not np.isin(first, ControllerPolicy(RandomController(), seed=4).predict(observations)[0]).any()


def test_an_environment_without_polarity_is_refused():
    with pytest.raises(
        ConfigError, match=r"which know their polarity, but .*CartPole.* was given; leave it out"
    ):
        ControllerPolicy(EXPERT, gym.make("CartPole-v1"))


def test_a_seed_that_is_none_is_refused_at_once():
    for policy in (lambda seed: RandomPolicy(BOX, seed), lambda seed: ControllerPolicy(EXPERT, seed=seed)):
        with pytest.raises(ConfigError, match="seed must be a whole number of at least 0, but -1 was given"):
            policy(-1)
