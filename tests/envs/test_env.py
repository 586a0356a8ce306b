"""The scalar environment: its interface, its schedule, and what it refuses."""

import doctest

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import qdt_envs.env
from qdt_envs import EnvArgumentError
from qdt_envs.env import SyntheticEnv


def rollout(env, seed, n_steps, action_seed=5):
    """Return observations (n+1, 11) and rewards (n,) under seeded random actions."""
    rng = np.random.default_rng(action_seed)
    observations, rewards = [env.reset(seed=seed)[0]], []
    for _ in range(n_steps):
        observation, reward, *_ = env.step(rng.uniform(-1, 1, 3).astype(np.float32))
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def test_a_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (rollout(SyntheticEnv(), seed, 130) for seed in (3, 3, 4))
    assert [part.tobytes() for part in first] == [part.tobytes() for part in again]
    assert first[0].tobytes() != other[0].tobytes()


def test_version_0_stays_what_it_is():
    """Results are published of it: whatever changes these numbers needs a new version of the id."""
    env = gymnasium.make("QDTSynthetic-v0")
    start = [1.2608, 1.1894162, 0.8592529, 0.7469157, 0.8753451]
    start += [0.0041326, -0.23250307, -0.02187917, -0.1245911, -0.07322673, -1]
    np.testing.assert_allclose(env.reset(seed=0)[0], start, rtol=1e-4)
    after = [1.2625383, 1.1763033, 0.8553755, 0.74233735, 0.8739388]
    after += [0.03476608, -0.26225927, -0.07754816, -0.09156682, -0.02812646, -1]
    observation, reward, *_ = env.step(np.array([1, -1, 0.5], np.float32))
    np.testing.assert_allclose(observation, after, rtol=1e-4)
    assert reward == pytest.approx(-12.326144, rel=1e-5)


def test_reset_without_a_seed_goes_on_with_the_generator():
    env, twin = SyntheticEnv(), SyntheticEnv()
    starts = []
    for one in (env, twin):
        one.reset(seed=7)
        starts.append(one.reset()[0])
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], env.reset(seed=7)[0])


def test_noise_differs_between_the_steps_of_several_blocks():
    env = SyntheticEnv(stiffness=0.0, coupling=0.0, damping=0.0)
    velocities = rollout(env, 0, 250)[0][:, 6]  # passive mass 2: its velocity is a random walk
    steps = np.diff(velocities.astype(np.float64))
    assert len(np.unique(steps.round(9))) > 240
    assert steps.std() == pytest.approx(0.05 * np.sqrt(0.05), rel=0.15)


def test_the_reward_belongs_to_the_new_positions_and_the_observed_command():
    env = SyntheticEnv(command_period=7)
    observations, rewards = rollout(env, 11, 60)
    actions = np.random.default_rng(5).uniform(-1, 1, (60, 3)).astype(np.float32)
    errors = ((observations[1:, :5] - observations[:-1, 10:]) ** 2).mean(axis=1)
    np.testing.assert_allclose(rewards, 4 * (1 - errors) - 0.2 * (actions**2).sum(axis=1), atol=1e-5)
    flips = np.flatnonzero(np.diff(observations[:, 10]))
    assert flips[0] < 7
    assert set(np.diff(flips)) == {7}


def test_starts_are_spread_as_documented():
    env = SyntheticEnv(hidden_polarity=True)
    starts, polarities = [], []
    for seed in range(600):
        starts.append(env.reset(seed=seed)[0])
        polarities.append(env.polarity)
    starts, polarities = np.array(starts), np.array(polarities)
    wells = np.sign(starts[:, :5].mean(axis=1))
    assert (wells > 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (starts[:, :5] - wells[:, np.newaxis]).std() == pytest.approx(0.2, rel=0.06)
    assert starts[:, 5:10].std() == pytest.approx(0.1, rel=0.06)
    assert starts[:, 10].mean() == pytest.approx(0.0, abs=0.16)
    assert wells @ starts[:, 10] / 600 == pytest.approx(0.0, abs=0.16)  # independent of one another
    assert set(polarities.ravel()) == {-1.0, 1.0}
    np.testing.assert_allclose(polarities.mean(axis=0), np.zeros(3), atol=0.16)


def test_hidden_polarity_changes_nothing_else_of_a_seeded_episode():
    plain, hidden = SyntheticEnv(), SyntheticEnv(hidden_polarity=True)
    np.testing.assert_array_equal(plain.reset(seed=2)[0], hidden.reset(seed=2)[0])
    assert plain.polarity.tolist() == [1.0, 1.0, 1.0]
    action = np.array([0.5, -0.25, 1.0])
    expected = plain.step(action)
    actual = hidden.step(hidden.polarity * action)
    np.testing.assert_array_equal(actual[0], expected[0])
    assert actual[1] == expected[1]


@pytest.mark.parametrize(("arguments", "length"), [({}, 1000), ({"max_episode_steps": 13}, 13)])
def test_gymnasium_truncates_and_nothing_terminates(arguments, length):
    env = gymnasium.make("QDTSynthetic-v0", **arguments)
    env.reset(seed=0)
    ends = [env.step(np.zeros(3, np.float32))[2:4] for _ in range(length)]
    assert ends == [(False, False)] * (length - 1) + [(False, True)]


def test_a_delay_that_divides_the_horizon_keeps_the_return():
    returns = []
    for env_id in ("QDTSynthetic-v0", "QDTSyntheticDelayed-v0"):
        observations, rewards = rollout(gymnasium.make(env_id), 9, 1000)
        returns.append(rewards.sum())
    assert returns[1] == pytest.approx(returns[0], rel=1e-12)
    np.testing.assert_array_equal(np.flatnonzero(rewards), np.arange(49, 1000, 50))
    assert observations.shape == (1001, 11)


def test_the_unpaid_rest_does_not_leak_into_the_next_episode():
    env = SyntheticEnv(reward_delay=5)
    fresh = rollout(env, 1, 5)[1]
    rollout(env, 2, 3)
    np.testing.assert_array_equal(rollout(env, 1, 5)[1], fresh)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), r"An action of shape \(3,\) was expected, but shape \(5,\) was given"),
        (np.zeros((1, 3)), r"An action of shape \(3,\) was expected, but shape \(1, 3\) was given"),
        ([0.0, np.nan, 0.0], "must be finite, but this one holds NaN or infinity"),
        ([0.0, 0.0, -np.inf], "must be finite, but this one holds NaN or infinity"),
        ("left", r"must be an array of numbers of shape \(3,\), but 'left' was given"),
    ],
)
def test_a_bad_action_is_refused_and_changes_nothing(action, message):
    env, twin = SyntheticEnv(), SyntheticEnv()
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(EnvArgumentError, match=message):
        env.step(action)
    np.testing.assert_array_equal(env.step(np.ones(3))[0], twin.step(np.ones(3))[0])


def test_acting_before_the_first_reset_is_refused():
    env = SyntheticEnv()
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(ResetNeeded, match="call reset"):
        _ = env.polarity


def test_observations_of_different_steps_share_no_memory():
    env = SyntheticEnv()
    first = env.reset(seed=0)[0]
    kept = first.copy()
    second = env.step(np.ones(3, np.float32))[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_the_docstring_examples_run():
    assert doctest.testmod(qdt_envs.env).failed == 0
