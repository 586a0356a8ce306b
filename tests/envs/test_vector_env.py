"""The batch against Gymnasium's own loop over scalar environments, bit for bit."""

import tracemalloc

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from qdt_envs import EnvArgumentError

ENV_ID = "QDTSynthetic-v0"
MODES = ("NextStep", "SameStep", "Disabled")


def make_both(n_rows, mode, **arguments):
    """Return the batch, and Gymnasium's loop over scalar environments."""
    batch = gymnasium.make_vec(ENV_ID, num_envs=n_rows, autoreset_mode=mode, **arguments)
    makers = [lambda: gymnasium.make(ENV_ID, **arguments)] * n_rows
    return batch, SyncVectorEnv(makers, autoreset_mode=mode)


def assert_same(actual, expected):
    """Compare two results of step or reset: arrays, dtypes, and infos with their object arrays."""
    for left, right in zip(actual[:-1], expected[:-1], strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    left, right = actual[-1], expected[-1]
    assert left.keys() == right.keys()
    for key, value in left.items():
        if key == "final_obs":
            for one, other in zip(value, right[key], strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(value, right[key])


def run_both(batch, loop, seed, n_steps, mask_rng):
    """Step both alike, resetting by masks where the mode asks for it, and compare everything."""
    assert_same(batch.reset(seed=seed), loop.reset(seed=seed))
    actions_rng = np.random.default_rng(0)
    for _ in range(n_steps):
        actions = actions_rng.uniform(-1.5, 1.5, (batch.num_envs, 3)).astype(np.float32)
        actual, expected = batch.step(actions), loop.step(actions)
        assert_same(actual, expected)
        np.testing.assert_array_equal(batch.polarity, np.array(loop.get_attr("polarity")))
        if batch.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            mask = expected[3] | (mask_rng.random(batch.num_envs) < 0.05)
            if mask.any():
                masked = [env.reset(options={"reset_mask": mask.copy()}) for env in (batch, loop)]
                assert_same(*masked)


arguments_strategy = st.fixed_dictionaries(
    {"max_episode_steps": st.integers(1, 12)},
    optional={
        "stiffness": st.floats(0, 2),
        "coupling": st.floats(0, 1),
        "damping": st.floats(0, 1),
        "force": st.floats(0, 3),
        "dt": st.floats(0.01, 0.1),
        "noise_std": st.floats(0, 0.5),
        "command_period": st.integers(1, 9),
        "reward_delay": st.integers(1, 5),
        "hidden_polarity": st.booleans(),
    },
)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(
    arguments=arguments_strategy,
    n_rows=st.integers(1, 5),
    seed=st.integers(0, 2**31) | st.lists(st.integers(0, 99), min_size=5, max_size=5),
)
def test_the_batch_equals_the_loop_over_scalar_environments(mode, arguments, n_rows, seed):
    seed = seed if isinstance(seed, int) else seed[:n_rows]
    run_both(*make_both(n_rows, mode, **arguments), seed, 30, np.random.default_rng(1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [137, 100])  # within a block of noise, and at its end
def test_the_batch_equals_the_loop_across_noise_blocks(mode, length):
    arguments = {
        "max_episode_steps": length,
        "reward_delay": 11,
        "hidden_polarity": True,
        "command_period": 53,
    }
    run_both(*make_both(3, mode, **arguments), 17, 460, np.random.default_rng(2))


@pytest.mark.parametrize("env_id", [ENV_ID, "QDTSyntheticDelayed-v0", "QDTSyntheticHidden-v0"])
def test_row_i_is_the_scalar_environment_of_seed_plus_i(env_id):
    envs, env = gymnasium.make_vec(env_id, num_envs=7), gymnasium.make(env_id)
    actions = np.random.default_rng(0).uniform(-1, 1, (220, 7, 3)).astype(np.float32)
    observations = [envs.reset(seed=100)[0]]
    rewards = []
    for action in actions:
        observation, reward, *_ = envs.step(action)
        observations.append(observation)
        rewards.append(reward)
    for row in (0, 3, 6):
        assert env.reset(seed=100 + row)[0].tobytes() == observations[0][row].tobytes()
        for index, action in enumerate(actions[:, row]):
            observation, reward, *_ = env.step(action)
            assert observation.tobytes() == observations[index + 1][row].tobytes()
            assert reward == rewards[index][row]


def test_seeds_none_go_on_with_the_rows_own_generators():
    batch, loop = make_both(3, "NextStep")
    for seed in (5, [8, None, 2], None, np.array([4, 4, 1])):
        expected_seed = seed.tolist() if isinstance(seed, np.ndarray) else seed
        assert_same(batch.reset(seed=seed), loop.reset(seed=expected_seed))
    assert batch.np_random_seed == loop.np_random_seed
    states = [[rng.bit_generator.state for rng in env.np_random] for env in (batch, loop)]
    assert states[0] == states[1]


def test_rows_without_a_seed_differ():
    envs = gymnasium.make_vec(ENV_ID, num_envs=5)
    assert len(np.unique(envs.reset()[0][:, 0])) == 5
    assert len(set(envs.np_random_seed)) == 5


@pytest.mark.parametrize("seed", [[1, 2], "abc", [1.5, 2, 3], 2.0, np.array(3)])
def test_seeds_that_do_not_fit_the_rows_are_refused(seed):
    envs = gymnasium.make_vec(ENV_ID, num_envs=3)
    with pytest.raises(EnvArgumentError, match="or a list with one of these for each of the 3 rows, but"):
        envs.reset(seed=seed)


@pytest.mark.parametrize("mask", [[True, False, True], np.ones(2, bool), np.ones(3, int), np.zeros(3, bool)])
def test_masks_that_do_not_fit_the_rows_are_refused(mask):
    envs = gymnasium.make_vec(ENV_ID, num_envs=3)
    envs.reset(seed=0)
    with pytest.raises(
        EnvArgumentError, match=r"must be a boolean array of shape \(3,\) with at least one True"
    ):
        envs.reset(options={"reset_mask": mask})


def test_a_masked_reset_leaves_the_other_rows_and_the_callers_options_alone():
    envs = gymnasium.make_vec(ENV_ID, num_envs=3)
    envs.reset(seed=0)
    before = envs.step(np.ones((3, 3), np.float32))[0]
    options = {"reset_mask": np.array([False, True, False])}
    after = envs.reset(seed=50, options=options)[0]
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(after[1], gymnasium.make(ENV_ID).reset(seed=51)[0])
    assert "reset_mask" in options


def test_a_masked_reset_cannot_be_the_first():
    envs = gymnasium.make_vec(ENV_ID, num_envs=2)
    with pytest.raises(ResetNeeded, match="call reset\\(\\) for all rows first"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_rows_that_have_ended_must_be_reset_where_autoreset_is_disabled():
    envs = gymnasium.make_vec(ENV_ID, num_envs=3, max_episode_steps=2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step(np.zeros((3, 3)))
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.step(np.zeros((3, 3)))[3].tolist() == [True, False, True]
    with pytest.raises(ResetNeeded, match=r"Rows \[0, 2\] have ended: reset them"):
        envs.step(np.zeros((3, 3)))


def test_the_step_of_an_autoreset_pays_nothing_and_ignores_its_action():
    envs = gymnasium.make_vec(ENV_ID, num_envs=2, max_episode_steps=3)
    results = []
    for value in (-1.0, 1.0, np.nan):
        envs.reset(seed=0)
        for _ in range(3):
            envs.step(np.zeros((2, 3)))
        results.append(envs.step(np.full((2, 3), value)))
    for observations, rewards, _, truncations, _ in results:
        np.testing.assert_array_equal(observations, results[0][0])
        assert rewards.tolist() == [0.0, 0.0]
        assert truncations.tolist() == [False, False]


@pytest.mark.parametrize("mode", MODES[:2])
def test_gymnasiums_episode_statistics_see_every_step_once(mode):
    if mode == "SameStep" and Version(gymnasium.__version__) < Version("1.4"):
        pytest.skip("Gymnasium's own wrapper counts a step too few before 1.4")
    envs = RecordEpisodeStatistics(
        gymnasium.make_vec(ENV_ID, num_envs=2, max_episode_steps=7, autoreset_mode=mode)
    )
    envs.reset(seed=0)
    for _ in range(32):
        envs.step(np.zeros((2, 3), np.float32))
    assert set(envs.length_queue) == {7}
    assert len(envs.length_queue) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a whole number from 1 to 1,000,000,000, but 0 was given"),
        (
            {"max_episode_steps": -1},
            "max_episode_steps must be a whole number from 1 to 1,000,000,000, but -1 was given",
        ),
        (
            {"autoreset_mode": "never"},
            "must be one of 'NextStep', 'SameStep', 'Disabled', but 'never' was given",
        ),
        ({"render_mode": "rgb_array"}, "The batch does not render: use gymnasium.make"),
    ],
)
def test_bad_arguments_of_the_batch_are_refused(arguments, message):
    with pytest.raises(EnvArgumentError, match=message):
        gymnasium.make_vec(ENV_ID, **arguments)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 2)), r"shape \(2, 3\) was expected, but shape \(3, 2\) was given"),
        (np.zeros(3), r"shape \(2, 3\) was expected, but shape \(3,\) was given"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "must be finite"),
    ],
)
def test_bad_actions_are_refused(actions, message):
    envs = gymnasium.make_vec(ENV_ID, num_envs=2)
    envs.reset(seed=0)
    with pytest.raises(EnvArgumentError, match=message):
        envs.step(actions)


def test_acting_before_the_first_reset_is_refused():
    with pytest.raises(ResetNeeded, match="call reset"):
        gymnasium.make_vec(ENV_ID).step(np.zeros((1, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_results_share_no_memory_with_later_ones(mode):
    envs = gymnasium.make_vec(ENV_ID, num_envs=3, max_episode_steps=50, autoreset_mode=mode)
    twin = gymnasium.make_vec(ENV_ID, num_envs=3, max_episode_steps=50, autoreset_mode=mode)
    envs.reset(seed=1)[0][:] = 99.0
    twin.reset(seed=1)
    for _ in range(20):
        expected = twin.step(np.full((3, 3), 0.5))
        actual = envs.step(np.full((3, 3), 0.5))
        assert_same(actual, expected)
        for part in actual[:-1]:
            part[:] = 1  # a caller may do as it likes with what it got
        envs.polarity[:] = 0.0


def test_spaces_and_metadata():
    envs = gymnasium.make_vec(ENV_ID, num_envs=5, autoreset_mode=AutoresetMode.SAME_STEP)
    assert envs.observation_space.shape == (5, 11)
    assert envs.action_space.shape == (5, 3)
    assert envs.single_observation_space == gymnasium.make(ENV_ID).observation_space
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert gymnasium.make_vec(ENV_ID).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.reset(seed=0)[0] in envs.observation_space


def test_ten_thousand_rows_fit_in_little_memory():
    tracemalloc.start()
    envs = gymnasium.make_vec(ENV_ID, num_envs=10_000)
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.zeros((10_000, 3), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
