from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC

from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.errors import InputError
from qdt_rl.evaluation.statistics import bootstrap_interval
from qdt_rl.experiments.comparison import compare, spread_targets
from qdt_rl.policy.agent import QDTPolicy

LUCKY = "qdt_rl_tests/Lucky-v0"


class Constant:
    """Takes one action always."""

    def __init__(self, action):
        self.action = action

    def predict(self, observation, target_return=None, state=None, episode_start=None, deterministic=True):
        return np.full((len(observation), 1), self.action, np.float32), state


class Obedient:
    """Earns at once all that is still wanted."""

    reference_scores = (-10.0, 30.0)

    def predict(self, observation, target_return=None, state=None, episode_start=None, deterministic=True):
        return np.asarray(target_return, np.float32)[:, None], state


def test_episodes_of_all_policies_and_targets_are_paired():
    """Seeds 11 to 15, modulo 7: luck 4, 5, 6, 0, 1. Three steps pay the action each."""
    scores = list(compare({"two": Constant(2), "five": Constant(5)}, LUCKY, [0.0, 9.0], 5, seed=11))
    assert [(score.agent, score.target_return) for score in scores] == [
        ("two", 0.0),
        ("two", 9.0),
        ("five", 0.0),
        ("five", 9.0),
    ]
    luck = np.array([4, 5, 6, 0, 1])
    assert [score.result.returns.tolist() for score in scores] == [[*(6 + luck)]] * 2 + [[*(15 + luck)]] * 2
    assert {(*score.result.lengths, score.seed, score.env_id) for score in scores} == {
        (3, 3, 3, 3, 3, 11, LUCKY)
    }


def test_each_policy_is_asked_for_each_return():
    """The target comes at the first step, and then nothing is wanted: what is achieved is target + luck."""
    scores = list(compare({"obedient": Obedient()}, LUCKY, [-30.0, 12.5], 3, seed=7))
    assert [score.result.returns.tolist() for score in scores] == [[-30.0, -29.0, -28.0], [12.5, 13.5, 14.5]]


def test_what_a_record_says_of_its_returns():
    """Luck 0 to 4 and nothing else: mean 2, variance (4 + 1 + 0 + 1 + 4) / 5 = 2."""
    (score,) = compare({"zero": Constant(0)}, LUCKY, [3], 5, reference_scores=(-2.0, 6.0))
    assert (score.result.mean, len(score.result.returns), score.target_return) == (2.0, 5, 3.0)
    assert score.result.std == pytest.approx(2**0.5)
    assert (score.low, score.high) == bootstrap_interval([0, 1, 2, 3, 4])
    assert score.result.normalized_score == pytest.approx(100 * (2 + 2) / (6 + 2))
    assert score.n_parameters is None


def test_without_references_the_policys_own_count():
    (score,) = compare({"obedient": Obedient()}, LUCKY, [10.0], 1)
    assert score.result.normalized_score == pytest.approx(100 * (10 + 10) / (30 + 10))
    (score,) = compare({"zero": Constant(0)}, LUCKY, [10.0], 1)
    assert score.result.normalized_score is None


def test_a_single_episode_has_no_interval():
    (score,) = compare({"zero": Constant(0)}, LUCKY, [0.0], 1, seed=3)
    assert (score.result.returns.tolist(), score.low, score.high) == ([3.0], None, None)


def test_an_environment_that_is_handed_in_gives_the_same_record():
    (by_id,) = compare({"two": Constant(2)}, LUCKY, [1.0], 5)
    with closing(gym.make_vec(LUCKY, 3, vectorization_mode="sync")) as env:
        (handed_in,) = compare({"two": Constant(2)}, env, [1.0], 5)
    assert handed_in.as_dict() == by_id.as_dict()


def test_a_target_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="target_return must be a finite number"):
        list(compare({"zero": Constant(0)}, LUCKY, [float("inf")], 1))


def test_targets_spread_from_the_tenth_percentile_to_the_best():
    assert spread_targets(np.arange(-10.0, 91.0), 4) == pytest.approx([0, 30, 60, 90])


def test_parameters_are_counted_that_are_trained(dataset):
    """Not SAC's target networks. Widths by hand, hidden layers of 256 (SAC) and 64 (PPO)."""
    qdt = QDTPolicy(batch_size=2, context_length=2).fit(dataset, 1)
    env = gym.make("QDTSynthetic-v0")
    policies = {
        "qdt": qdt,
        "sac": SB3Policy(SAC("MlpPolicy", env, buffer_size=1, device="cpu")),
        "ppo": SB3Policy(PPO("MlpPolicy", env, device="cpu")),
    }
    counts = {score.agent: score.n_parameters for score in compare(policies, "QDTSynthetic-v0", [0.0], 1)}
    actor = 11 * 256 + 256 + 256 * 256 + 256 + 2 * (256 * 3 + 3)
    critic = 14 * 256 + 256 + 256 * 256 + 256 + 256 + 1
    tower = 11 * 64 + 64 + 64 * 64 + 64
    assert counts == {
        "qdt": 1_581_964,
        "sac": actor + 2 * critic,
        "ppo": 2 * tower + 64 * 3 + 3 + 64 + 1 + 3,
    }
