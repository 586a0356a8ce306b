import dataclasses
import json

import numpy as np
import pytest

from qdt_rl.evaluation.result import EvaluationResult

RETURNS, LENGTHS, TARGETS = np.array([-2.0, 3.0, 8.0]), np.array([5, 7, 11]), np.array([1.0, 1.0, 2.0])


def test_figures_worked_by_hand():
    result = EvaluationResult(RETURNS, LENGTHS, TARGETS, (-2.0, 6.0))
    assert result.mean == 3.0
    assert result.std == pytest.approx((50 / 3) ** 0.5)
    np.testing.assert_array_equal(result.normalized_scores, [0.0, 62.5, 125.0])


def test_there_are_no_scores_without_references():
    assert EvaluationResult(RETURNS, LENGTHS, TARGETS).normalized_scores is None
    assert EvaluationResult(RETURNS, LENGTHS, TARGETS).as_dict()["normalized_score"] is None


def test_json_keeps_every_episode():
    result = EvaluationResult(RETURNS, LENGTHS, TARGETS, (-2.0, 6.0))
    assert json.loads(json.dumps(result.as_dict())) == {
        "n_episodes": 3,
        "mean": 3.0,
        "std": result.std,
        "cvar": -2.0,
        "mean_target_error": pytest.approx(5 / 3),
        "mean_absolute_target_error": pytest.approx(11 / 3),
        "normalized_score": 62.5,
        "reference_scores": [-2.0, 6.0],
        "returns": [-2.0, 3.0, 8.0],
        "lengths": [5, 7, 11],
        "target_returns": [1.0, 1.0, 2.0],
    }


def test_json_takes_numpys_reference_scores():
    for given in ((np.float32(-2.0), np.int64(6)), np.array([-2.0, 6.0], np.float32)):
        result = EvaluationResult(RETURNS, LENGTHS, TARGETS, given)
        assert json.loads(json.dumps(result.as_dict()))["reference_scores"] == [-2.0, 6.0]


def test_a_result_cannot_be_altered():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EvaluationResult(RETURNS, LENGTHS, TARGETS).returns = TARGETS


def test_equality_is_identity():
    result = EvaluationResult(RETURNS, LENGTHS, TARGETS)
    assert result != EvaluationResult(RETURNS.copy(), LENGTHS, TARGETS)
    assert {result: 1}[result] == 1


def test_the_worst_twentieth_and_the_errors_by_hand():
    """40 returns: the worst two count; 5 returns: the worst one."""
    returns = np.random.default_rng(0).permutation(np.arange(40.0))
    result = EvaluationResult(returns, np.ones(40, np.int64), np.full(40, 20.0))
    assert result.cvar == 0.5
    assert result.target_errors.mean() == -0.5
    described = result.as_dict()
    assert (described["cvar"], described["mean_target_error"]) == (0.5, -0.5)
    assert described["mean_absolute_target_error"] == 10.0
    few = EvaluationResult(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), np.ones(5, np.int64), np.zeros(5))
    assert few.cvar == 1.0
