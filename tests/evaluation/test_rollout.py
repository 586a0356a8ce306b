from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RescaleAction, TransformObservation
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import PPO

from qdt_rl.baselines.reference import RandomPolicy
from qdt_rl.env_ids import is_safe_env_id, may_name_same_env
from qdt_rl.errors import ConfigError, InputError, MissingExtraError, TargetReturnWarning
from qdt_rl.evaluation.environments import may_be_env_of, vector_env
from qdt_rl.evaluation.rollout import evaluate

MODES = list(AutoresetMode)


def vectorized(env_id, n_envs, mode=AutoresetMode.NEXT_STEP):
    return gym.make_vec(env_id, n_envs, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})


@settings(max_examples=60, deadline=None)
@given(
    n_envs=st.integers(1, 7),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 2**31),
    targets=st.lists(st.integers(-80, 80).map(lambda eighths: eighths / 8), min_size=1, max_size=17),
)
def test_every_episode_is_that_of_its_seed_and_target(
    lottery, tally_policy, slowly, n_envs, mode, seed, targets
):
    expected = [slowly(gym.make(lottery), target, seed + j) for j, target in enumerate(targets)]
    result = evaluate(tally_policy(), vectorized(lottery, n_envs, mode), targets, len(targets), seed=seed)
    assert list(zip(result.returns, result.lengths, strict=True)) == expected
    np.testing.assert_array_equal(result.target_returns, targets)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_policy_is_told(lottery, tally_policy, slowly, mode):
    n_envs, targets = 3, 2.0**30 + np.arange(7)  # float32 would lose the rewards
    policy = tally_policy()
    result = evaluate(policy, vectorized(lottery, n_envs, mode), targets, 7, seed=11)
    calls = iter(policy.calls)
    previous_state = None
    for first in range(0, 7, n_envs):
        in_round = result.lengths[first : first + n_envs]
        left_over = (targets - result.returns)[first : first + n_envs]
        for step in range(max(in_round)):
            observations, wanted, state, episode_start, next_state = next(calls)
            assert state is previous_state
            previous_state = next_state
            assert wanted.dtype == np.float64
            playing = np.array([j < len(in_round) and step < in_round[j] for j in range(n_envs)])
            np.testing.assert_array_equal(episode_start, np.full(n_envs, True) if step == 0 else ~playing)
            np.testing.assert_array_equal(observations[playing, 4], step)
            still_wanted = np.resize(targets[first : first + n_envs], n_envs) - observations[:, 3]
            np.testing.assert_array_equal(wanted[playing], still_wanted[playing])
            has_ended = ~playing[: len(in_round)]
            np.testing.assert_array_equal(wanted[: len(in_round)][has_ended], left_over[has_ended])
    assert next(calls, None) is None


def test_short_episodes_count_once_each(tally_policy):
    result = evaluate(tally_policy(), "qdt_rl_tests/Bimodal-v0", 0.0, 10, n_envs=5)
    assert result.lengths.tolist() == [1, 50] * 5
    assert result.mean == 25.5  # taking the first ten to end would give fewer than 6


@pytest.mark.parametrize("n_envs", [None, 2, 13])
def test_id_env_and_vector_env_agree(lottery, tally_policy, n_envs):
    by_id = evaluate(tally_policy(), lottery, 5.0, 11, seed=3, n_envs=n_envs)
    by_env = evaluate(tally_policy(), gym.make(lottery), 5.0, 11, seed=3)
    by_vector_env = evaluate(tally_policy(), vectorized(lottery, 5), 5.0, 11, seed=3)
    for other in (by_env, by_vector_env):
        np.testing.assert_array_equal(by_id.returns, other.returns)
        np.testing.assert_array_equal(by_id.lengths, other.lengths)


def test_more_episodes_leave_the_earlier_ones_as_they_were(lottery, tally_policy):
    few, many = (evaluate(tally_policy(), vectorized(lottery, 5), 5.0, n) for n in (6, 13))
    np.testing.assert_array_equal(few.returns, many.returns[:6])


def test_an_id_is_played_in_equal_rounds_of_at_most_64(lottery):
    for n_episodes, n_envs in [(1, 1), (64, 64), (65, 33), (130, 44)]:
        with vector_env(lottery, n_episodes) as env:
            assert env.num_envs == n_envs


class BalancePolicy:
    def predict(self, observation, target_return=None, state=None, episode_start=None, deterministic=True):
        return (observation[:, 2] > 0).astype(np.int64), None


class SamplingPolicy:
    """Acts at random unless told not to, as SB3's own models do."""

    rng = np.random.default_rng(0)

    def predict(self, observation, target_return=None, state=None, episode_start=None, deterministic=False):
        actions = np.zeros((len(observation), 3), np.float32)
        return (actions if deterministic else self.rng.normal(size=actions.shape)), None


def test_policies_that_could_sample_are_asked_not_to(lottery):
    first, second = (evaluate(SamplingPolicy(), vectorized(lottery, 3), 5.0, 6) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)


def test_a_native_vector_env_that_cannot_seed_its_rows_gives_way():
    by_id = evaluate(BalancePolicy(), "CartPole-v1", 0.0, 7)
    by_env = evaluate(BalancePolicy(), gym.make("CartPole-v1"), 0.0, 7)
    np.testing.assert_array_equal(by_id.returns, by_env.returns)
    assert len(set(by_id.lengths)) > 1


def test_only_what_was_made_here_is_closed(lottery, tally_policy):
    closing_env = type(gym.make(lottery).unwrapped)
    before = closing_env.n_closed
    kept = gym.make(lottery), vectorized(lottery, 2)  # Gymnasium before 1.3 closes what it forgets
    for env in kept:
        evaluate(tally_policy(), env, 5.0, 2)
    assert closing_env.n_closed == before
    evaluate(tally_policy(), lottery, 5.0, 3)
    assert closing_env.n_closed == before + 3


def test_reference_scores_are_the_policys_unless_given(lottery, tally_policy):
    policy = tally_policy()
    assert evaluate(policy, lottery, 5.0, 1).reference_scores is None
    policy.reference_scores = (-1.0, 2.0)
    assert evaluate(policy, lottery, 5.0, 1).reference_scores == (-1.0, 2.0)
    assert evaluate(policy, lottery, 5.0, 1, reference_scores=(0.0, 1.0)).reference_scores == (0.0, 1.0)


def test_no_bar_without_a_terminal(lottery, tally_policy, capsys):
    evaluate(tally_policy(), lottery, 5.0, 3, progress_bar=True)
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_shown_on_request_alone(lottery, tally_policy, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for a terminal
    evaluate(tally_policy(), lottery, 5.0, 3)
    assert capsys.readouterr() == ("", "")
    evaluate(tally_policy(), lottery, 5.0, 3, progress_bar=True)
    assert "Evaluating" in capsys.readouterr().err


def test_a_target_beyond_the_data_is_warned_of_in_the_callers_line(lottery, tally_policy):
    policy = tally_policy()
    policy.best_return = 4.0
    evaluate(policy, lottery, 5.0, 1)  # a policy that does not say that it heeds targets
    policy.is_return_conditioned = True
    evaluate(policy, lottery, 4.0, 1)
    with pytest.warns(TargetReturnWarning, match="A return of 5 is asked for, .* achieved 4:") as warned:
        evaluate(policy, lottery, [5.0, 1.0], 2)
    assert [warning.filename for warning in warned] == [__file__]


def test_the_best_return_itself_is_not_beyond_the_data(lottery, tally_policy):
    """Summed from the file's float64 it may exceed the policy's, which is of float32 rewards."""
    policy = tally_policy()
    policy.is_return_conditioned = True
    for best in (1928.12, -1928.12, 0.0):
        policy.best_return = best
        evaluate(policy, lottery, best + 1e-6 * max(1.0, abs(best)), 1)  # warnings are errors
        with pytest.warns(TargetReturnWarning):
            evaluate(policy, lottery, best + 1e-4 * max(1.0, abs(best)), 1)


def test_an_environment_of_other_spaces_than_the_policys_is_refused(lottery, tally_policy):
    env, policy = gym.make(lottery), tally_policy()
    policy.observation_space, policy.action_space = env.observation_space, env.action_space
    evaluate(policy, lottery, 0.0, 1)
    half = RescaleAction(env, np.float32(-0.5), np.float32(0.5))
    narrower = TransformObservation(env, lambda observation: observation[:4], Box(-np.inf, np.inf, (4,)))
    rows = AsyncVectorEnv([lambda: half] * 2, shared_memory=False)
    for other in (half, narrower, rows, "CartPole-v1"):
        with pytest.raises(ConfigError, match=r"The policy was trained with .*recover_environment\(\)"):
            evaluate(policy, other, 0.0, 1)
    rows.close()
    policy.observation_space = spaces.Dict({"observation": env.observation_space})
    evaluate(policy, lottery, 0.0, 1)  # one that takes its return-to-go from there
    policy.action_space = Box(-0.5, 0.5, (3,), np.float64)
    evaluate(policy, half, 0.0, 1)  # of another dtype


def test_a_model_of_sb3_is_told_from_a_policy(lottery):
    with pytest.raises(ConfigError, match=r"PPO.predict takes the state .* given as SB3Policy\(model\)"):
        evaluate(PPO("MlpPolicy", gym.make(lottery), device="cpu"), lottery, 0.0, 1)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_episodes": 0}, ConfigError, "n_episodes must be a whole number of at least 1, but 0 was given"),
        ({"n_episodes": 2.0}, ConfigError, r"n_episodes must be a whole number of at least 1, but 2\.0 was"),
        ({"n_episodes": True}, ConfigError, "n_episodes must be a whole number of at least 1, but True was"),
        ({"seed": -1}, ConfigError, "seed must be a whole number of at least 0, but -1 was given"),
        ({"n_envs": 0}, ConfigError, "n_envs must be a whole number of at least 1, but 0 was given"),
        (
            {"target_return": np.nan},
            InputError,
            r"a finite number, or one for each episode \(3\), but nan was",
        ),
        ({"target_return": [1, 2, np.inf]}, InputError, r"but \[1, 2, inf\] was given"),
        ({"target_return": [1.0, 2.0]}, InputError, r"\(3\), but an array of shape \(2,\) was given"),
        ({"target_return": "high"}, InputError, r"\(3\), but 'high' was given"),
        ({"target_return": "1500"}, InputError, r"\(3\), but '1500' was given"),
        ({"target_return": True}, InputError, r"\(3\), but True was given"),
        ({"target_return": [[1.0], [1.0, 2.0]]}, InputError, r"\(3\), but \[\[1\.0\], "),
        ({"target_return": None}, InputError, r"\(3\), but None was given"),
        (
            {"env": 5},
            ConfigError,
            "env must be a Gymnasium id, an Env or a VectorEnv, but int was given; an SB3",
        ),
        (
            {"env": "NoSuch-v0"},
            ConfigError,
            "a registered environment, but 'NoSuch-v0' was given: .*package:id",
        ),
        ({"env": "no_such_module:A-v0"}, ConfigError, "but 'no_such_module:A-v0' was given: No module named"),
        ({"reference_scores": (2.0, 1.0)}, ConfigError, r"the minimum first, but \(2\.0, 1\.0\) was given"),
        ({"reference_scores": (-np.inf, 0.0)}, ConfigError, r"two finite returns .* but \(-inf, 0\.0\) was"),
        (
            {"reference_scores": (1.0, 2.0, 3.0)},
            ConfigError,
            r"the minimum first, but \(1\.0, 2\.0, 3\.0\) was",
        ),
        ({"reference_scores": 5.0}, ConfigError, r"the minimum first, but 5\.0 was given"),
        ({"reference_scores": ("a", "b")}, ConfigError, r"the minimum first, but \('a', 'b'\) was given"),
        ({"reference_scores": (1.0, 1.0)}, ConfigError, r"the minimum first, but \(1\.0, 1\.0\) was given"),
        (
            {"reference_scores": (0.0, np.inf)},
            ConfigError,
            r"two finite returns .* but \(0\.0, inf\) was given",
        ),
    ],
)
def test_bad_arguments(lottery, tally_policy, arguments, error, message):
    good = {"policy": tally_policy(), "env": lottery, "target_return": 1.0, "n_episodes": 3}
    with pytest.raises(error, match=message):
        evaluate(**{**good, **arguments})


def test_an_environment_that_was_handed_in_has_its_own_size(lottery, tally_policy):
    with pytest.raises(ConfigError, match="n_envs must be left out or 4, the size of env, but 5 was given"):
        evaluate(tally_policy(), vectorized(lottery, 4), 1.0, 3, n_envs=5)


def test_a_vector_env_that_cannot_seed_its_rows_is_refused():
    env = gym.make_vec("CartPole-v1", 2)
    with pytest.raises(ConfigError, match=r"one seed for each row, .* but this one raised Error: .*'sync'"):
        evaluate(BalancePolicy(), env, 1.0, 3)


class FailingEnv(gym.Env):
    """Fails as a simulator does, at any reset."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (3,), np.float32)

    n_closed = 0

    def reset(self, *, seed=None, options=None):
        raise OSError("The simulator does not answer.")

    def close(self):
        FailingEnv.n_closed += 1


@pytest.mark.parametrize(
    "make",
    [
        FailingEnv,
        lambda: SyncVectorEnv([FailingEnv] * 2),
        lambda: gym.wrappers.vector.RecordEpisodeStatistics(SyncVectorEnv([FailingEnv] * 2)),
        lambda: "qdt_rl_tests/Failing-v0",
    ],
)
def test_what_an_environment_raises_is_not_blamed_on_its_seeds(tally_policy, make):
    gym.register("qdt_rl_tests/Failing-v0", FailingEnv)
    before = FailingEnv.n_closed
    try:
        with pytest.raises(OSError, match="The simulator does not answer"):
            evaluate(tally_policy(), made := make(), 1.0, 3)
    finally:
        gym.registry.pop("qdt_rl_tests/Failing-v0")
    assert FailingEnv.n_closed == before + 3 * isinstance(made, str)  # what was made here is closed here


class PayingEnv(FailingEnv):
    """Pays what it is told to in its second step, 1 in others."""

    def __init__(self, reward):
        self.reward, self.n_steps = reward, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.n_steps += 1
        return (
            np.zeros(3, np.float32),
            self.reward if self.n_steps == 2 else 1.0,
            self.n_steps == 3,
            False,
            {},
        )


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_not_finite_is_not_called_a_bad_target(tally_policy, reward):
    env = SyncVectorEnv([lambda: PayingEnv(1.0), lambda: PayingEnv(reward)])
    with pytest.raises(
        ConfigError, match=f"Rewards must be finite, but step 1 of .* seed 8 was paid {reward}"
    ):
        evaluate(tally_policy(), env, 1.0, 2, seed=7)


def test_an_environment_that_takes_no_options_is_shown_its_own_error(tally_policy):
    class NoOptions(FailingEnv):
        def reset(self, seed=None):
            return np.zeros(3, np.float32), {}

    with pytest.raises(TypeError, match="unexpected keyword argument 'options'"):
        evaluate(tally_policy(), NoOptions(), 1.0, 3)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_finished_row_observes_disturbs_no_other(lottery, tally_policy, mode):
    """In this lottery the observation after the last step is NaN."""

    class Strict(tally_policy):
        def predict(self, observation, *args, **kwargs):
            assert np.isfinite(observation).all()
            return super().predict(observation, *args, **kwargs)

    unlike = evaluate(Strict(), vectorized("qdt_rl_tests/Unfinished-v0", 3, mode), 5.0, 7)
    np.testing.assert_array_equal(unlike.returns, evaluate(tally_policy(), lottery, 5.0, 7).returns)


def test_a_vector_env_must_declare_its_autoreset_mode(lottery, tally_policy):
    env = vectorized(lottery, 2)
    del env.metadata["autoreset_mode"]
    with pytest.raises(ConfigError, match=r"metadata\['autoreset_mode'\] must be a gymnasium.*but is None"):
        evaluate(tally_policy(), env, 1.0, 3)


def test_an_async_env_whose_due_autoresets_outlive_a_reset_is_refused():
    env = AsyncVectorEnv([lambda: gym.make("CartPole-v1")], shared_memory=False, context="spawn")
    try:
        with pytest.raises(
            ConfigError, match=r"keeps a due autoreset across .*make it with shared_memory=True"
        ):
            evaluate(BalancePolicy(), env, 1.0, 3)
    finally:
        env.close()


def test_an_environment_that_lacks_a_package(tally_policy):
    def lacking():
        raise gym.error.DependencyNotInstalled("Run `pip install simulator`.")

    gym.register("qdt_rl_tests/Lacking-v0", lacking)
    with pytest.raises(
        MissingExtraError, match=r"needs a package that is not installed.*pip install simulator"
    ):
        evaluate(tally_policy(), "qdt_rl_tests/Lacking-v0", 1.0, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hopper-v5", True),
        ("mujoco/hopper.x-v0", True),
        ("qdt_envs:QDTSynthetic-v0", True),
        ("A" * 200, True),
        ("A" * 201, False),
        ("os:A-v0", False),
        ("qdt_envs:os:A-v0", False),
        ("A-v0\n", False),
        ("", False),
        (3, False),
        (None, False),
    ],
)
def test_which_ids_a_file_may_name(value, expected):
    assert is_safe_env_id(value) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("module:A-v0", "A-v0", True),
        ("module:A-v0", "other:A-v0", True),
        ("A-v0", "B-v0", False),
        ("module:A-v0", "module:B-v0", False),
        (None, "A-v0", True),
        ("A", "A-v0", False),  # Gymnasium makes the latest version, which may be another
        ("A-v1", "A-v0", False),
    ],
)
def test_a_module_before_a_colon_is_not_part_of_an_id(first, second, expected):
    assert may_name_same_env(first, second) is may_name_same_env(second, first) is expected


@pytest.mark.parametrize(
    ("trained_in", "played_in", "is_scored"),
    [
        ("QDTSynthetic-v0", "QDTSynthetic-v0", True),
        ("QDTSynthetic-v0", "qdt_envs:QDTSynthetic-v0", True),
        (None, "QDTSynthetic-v0", True),
        ("Hopper-v5", "QDTSynthetic-v0", False),
    ],
)
def test_reference_scores_of_another_environment_are_not_used(trained_in, played_in, is_scored):
    """Observations and actions of Hopper have the same shapes; its scale does not fit."""
    policy = RandomPolicy(gym.make("QDTSynthetic-v0").action_space)
    policy.reference_scores, policy.env_id = (0.0, 100.0), trained_in
    env = gym.make(played_in)
    for played in (env, played_in):
        assert (evaluate(policy, played, 0.0, 1).normalized_scores is not None) == is_scored
    given = evaluate(policy, env, 0.0, 1, reference_scores=(0.0, 1.0))
    assert given.reference_scores == (0.0, 1.0)


SYNTHETIC = "QDTSynthetic-v0"


@pytest.mark.parametrize(
    ("env", "is_shorter"),
    [
        (lambda: gym.make(SYNTHETIC), False),
        (lambda: gym.make(SYNTHETIC, render_mode="rgb_array"), False),
        (lambda: gym.make_vec(SYNTHETIC, 3, autoreset_mode="SameStep"), False),
        (lambda: gym.make_vec(SYNTHETIC, 3, vectorization_mode="sync"), False),
        (lambda: gym.make("QDTSyntheticDelayed-v0"), False),
        (lambda: gym.make(SYNTHETIC, max_episode_steps=1000), False),
        (lambda: gym.make(SYNTHETIC, max_episode_steps=100), True),
        (lambda: gym.make(SYNTHETIC, max_episode_steps=2000), False),
        (lambda: gym.make(SYNTHETIC, damping=0.0), False),
        (lambda: gym.make_vec(SYNTHETIC, 3, max_episode_steps=100), True),
        (lambda: gym.make_vec(SYNTHETIC, 3, max_episode_steps=100, vectorization_mode="sync"), True),
        (lambda: gym.make_vec(SYNTHETIC, 3, noise_std=0.0), False),
        (lambda: SyncVectorEnv([lambda: gym.make(SYNTHETIC, max_episode_steps=100)] * 2), True),
        (lambda: SyncVectorEnv([lambda: gym.make(SYNTHETIC)] * 2), False),
    ],
)
def test_an_id_stands_for_episodes_as_long_as_are_registered(env, is_shorter):
    """100 steps of an environment are not to be measured by the returns of 1000."""
    with closing(env()) as made:
        env_id = (made.spec or made.envs[0].spec).id
        assert may_be_env_of(made, env_id) is not is_shorter
        assert not may_be_env_of(made, "Hopper-v5")
        assert may_be_env_of(made, None)


def test_a_shorter_horizon_is_neither_scored_nor_warned_of():
    policy = RandomPolicy(gym.make(SYNTHETIC).action_space)
    policy.reference_scores, policy.env_id = (0.0, 100.0), SYNTHETIC
    policy.best_return, policy.is_return_conditioned = 1.0, True
    result = evaluate(policy, gym.make(SYNTHETIC, max_episode_steps=3), 2.0, 1)
    assert result.normalized_scores is None


def test_the_workers_of_a_vector_env_are_not_asked_what_they_cannot_pickle():
    """A worker whose answer cannot be pickled ends, and the environment with it."""
    policy = RandomPolicy(gym.make(SYNTHETIC).action_space)
    policy.reference_scores, policy.env_id = (0.0, 100.0), SYNTHETIC

    def make():
        return gym.wrappers.TransformReward(gym.make(SYNTHETIC, max_episode_steps=2), lambda reward: 0.0)

    with closing(AsyncVectorEnv([make] * 2)) as env:
        result = evaluate(policy, env, 0.0, 2)
    assert result.returns.tolist() == [0.0, 0.0]
    assert result.normalized_scores is None, "it may be any environment"


def test_an_environment_without_a_spec_or_a_registration_may_be_any(lottery):
    env = gym.make(lottery)
    assert may_be_env_of(env.unwrapped.__class__(), SYNTHETIC)
    env.unwrapped.spec.id = "qdt_rl_tests/Unregistered-v0"
    assert may_be_env_of(env, "qdt_rl_tests/Unregistered-v0")
