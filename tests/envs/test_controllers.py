"""The behaviour policies: their formula, their strength, and what they do with polarity."""

import numpy as np
import pytest

from qdt_envs.controllers import (
    EXPERT,
    MEDIUM,
    ProportionalDerivative,
    RandomController,
    sample_medium_replay,
)
from qdt_envs.reference_scores import REFERENCE_SCORES, measure_returns

PLUS = np.ones((2, 3))
OBSERVATIONS = np.array(
    [
        [0.5, -0.5, 1.0, 0.0, -1.0, 0.1, 0.2, -0.3, 0.4, 0.5, 1.0],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0],
    ],
    np.float32,
)


def normalised(returns):
    low, high = REFERENCE_SCORES["QDTSynthetic-v0"]
    return 100 * (returns - low) / (high - low)


def test_proportional_derivative_worked_by_hand():
    actions = ProportionalDerivative(0.2, 0.5)(OBSERVATIONS, PLUS, np.random.default_rng(0))
    # Row 0: 0.2 (1 − 0.5) − 0.5 · 0.1, 0.2 (1 − 1) + 0.5 · 0.3, 0.2 (1 + 1) − 0.5 · 0.5.
    expected = [[0.05, 0.15, 0.15], [-0.38, -0.34, -0.30]]
    np.testing.assert_allclose(actions, expected, atol=1e-6)
    assert actions.dtype == np.float32


def test_passive_neighbours_weigh_in_by_their_share():
    actions = ProportionalDerivative(0.1, 0.0, neighbour_share=0.5)(
        OBSERVATIONS, PLUS, np.random.default_rng(0)
    )
    # Row 0 pulls by mass: 0.05, 0.15, 0, 0.1, 0.2; the middle one has two passive neighbours.
    expected = [[0.05 + 0.075, 0.075 + 0.05, 0.2 + 0.05]]
    np.testing.assert_allclose(actions[:1], expected, atol=1e-6)


def test_gains_may_differ_by_row():
    gains = ProportionalDerivative(kp=np.array([0.2, 0.0]), kd=np.array([0.5, 0.1]), noise_std=[0.0, 0.0])
    together = gains(OBSERVATIONS, PLUS, np.random.default_rng(0))
    alone = [ProportionalDerivative(kp, kd) for kp, kd in ((0.2, 0.5), (0.0, 0.1))]
    for row, controller in enumerate(alone):
        expected = controller(OBSERVATIONS[[row]], PLUS[[row]], np.random.default_rng(0))
        np.testing.assert_array_equal(together[[row]], expected)


def test_noise_has_its_standard_deviation_and_comes_from_the_generator_given():
    observations = np.zeros((5000, 11))
    controller = ProportionalDerivative(0.0, 0.0, noise_std=0.2)
    first, again = (controller(observations, np.ones((5000, 3)), np.random.default_rng(1)) for _ in range(2))
    assert first.std() == pytest.approx(0.2, rel=0.03)
    np.testing.assert_array_equal(first, again)


def test_actions_are_clipped_and_turned_by_the_polarity():
    polarity = np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    controller = ProportionalDerivative(100.0, 0.0)
    plain = controller(OBSERVATIONS, PLUS, np.random.default_rng(0))
    turned = controller(OBSERVATIONS, polarity, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, [[1, 0, 1], [-1, -1, -1]])
    np.testing.assert_array_equal(turned, polarity * plain)


def test_random_actions_are_uniform_over_the_box():
    actions = RandomController()(np.zeros((4000, 11)), np.ones((4000, 3)), np.random.default_rng(0))
    assert actions.shape == (4000, 3)
    assert actions.dtype == np.float32
    assert abs(actions.mean()) < 0.03
    assert actions.std() == pytest.approx(1 / np.sqrt(3), rel=0.03)
    assert abs(actions).max() <= 1.0


def test_medium_is_about_half_way_to_the_expert():
    assert normalised(measure_returns(MEDIUM, "QDTSynthetic-v0", 256, seed=900).mean()) == pytest.approx(
        50, abs=5
    )


def test_medium_replay_spreads_from_near_random_to_medium():
    controller = sample_medium_replay(256, np.random.default_rng(3))
    scores = normalised(measure_returns(controller, "QDTSynthetic-v0", 256, seed=900))
    assert np.percentile(scores, 10) < 8
    assert np.percentile(scores, 90) > 35
    order = np.argsort(controller.kp)
    assert scores[order[:64]].mean() < 6
    assert scores[order[-64:]].mean() > 30
    assert controller.kp.max() <= MEDIUM.kp
    assert controller.kd.max() <= MEDIUM.kd
    assert controller.noise_std.min() >= MEDIUM.noise_std


def test_the_expert_beats_the_plain_proportional_derivative():
    expert, plain = (
        measure_returns(controller, "QDTSynthetic-v0", 128, seed=900).mean()
        for controller in (EXPERT, ProportionalDerivative(1.5, 0.8))
    )
    assert expert > plain + 100
