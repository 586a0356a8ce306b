"""The stored scores against new measurements, and the physics against the prototype's figures."""

import gymnasium
import numpy as np
import pytest

from qdt_envs.controllers import EXPERT, ProportionalDerivative, RandomController
from qdt_envs.reference_scores import REFERENCE_SCORES, measure_reference_scores, measure_returns

N_EPISODES = 256
PROTOTYPE_EPISODES = 64
PROTOTYPE = [  # controller, mean and standard deviation of the return over 64 episodes of the prototype
    (RandomController(), -3916, 238),
    (ProportionalDerivative(0.0, 0.0), -3957, 43),
    (ProportionalDerivative(0.2, 0.2), -1648, 351),
    (ProportionalDerivative(0.3, 0.2), 772, 366),
    (ProportionalDerivative(0.5, 0.3), 1320, 289),
    (ProportionalDerivative(1.5, 0.8), 1521, 273),
]


@pytest.mark.parametrize(("controller", "mean", "deviation"), PROTOTYPE)
def test_controllers_reach_what_they_reached_in_the_prototype(controller, mean, deviation):
    returns = measure_returns(controller, "QDTSynthetic-v0", N_EPISODES, seed=5000)
    standard_error = deviation * np.sqrt(1 / PROTOTYPE_EPISODES + 1 / N_EPISODES)
    assert returns.mean() == pytest.approx(mean, abs=3.5 * standard_error)
    assert returns.std() == pytest.approx(deviation, rel=0.3)


def test_a_delay_changes_no_score_and_hidden_polarity_not_the_experts():
    base, delayed, longer, hidden = REFERENCE_SCORES.values()
    assert base == delayed == longer
    assert base[1] == hidden[1]


@pytest.mark.parametrize("env_id", ["QDTSynthetic-v0", "QDTSyntheticHidden-v0"])
def test_the_stored_scores_are_measured_again(env_id):
    random, expert = measure_reference_scores(env_id, n_episodes=N_EPISODES, seed=70_000)
    standard_errors = np.array([238, 280]) / np.sqrt(N_EPISODES)
    assert abs(random - REFERENCE_SCORES[env_id][0]) < 3.5 * standard_errors[0]
    assert abs(expert - REFERENCE_SCORES[env_id][1]) < 3.5 * standard_errors[1]


def test_every_registered_id_has_scores():
    registered = {env_id for env_id in gymnasium.registry if env_id.startswith("QDTSynthetic")}
    assert set(REFERENCE_SCORES) == registered


def test_the_measure_is_reproducible():
    first, again = (measure_returns(RandomController(), "QDTSynthetic-v0", 5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_expert_is_the_same_on_all():
    base, delayed, longer, hidden = (
        measure_returns(EXPERT, env_id, 7, seed=3) for env_id in REFERENCE_SCORES
    )
    np.testing.assert_allclose(delayed, base, rtol=1e-12)
    np.testing.assert_allclose(longer, base, rtol=1e-12)
    np.testing.assert_array_equal(hidden, base)  # it undoes the polarity exactly
