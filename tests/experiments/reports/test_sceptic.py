"""The sceptic's tables: conclusions that flip, by hand."""

import numpy as np
import pytest

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.sceptic import (
    FALSE_POSITIVES,
    conclude,
    conclude_by_t,
    conclude_crossed,
    leave_one_out,
    sceptic_table,
)
from qdt_rl.experiments.reports.tasks import tasks
from tests.experiments.reports.synthetic import outcomes_of, rows


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2, 3], "+"), ([-1, -2, -3], "−"), ([-1, 2, 1], "open")]
)
def test_a_conclusion_is_the_sign_of_an_interval_that_excludes_zero(values, expected):
    assert conclude(np.array(values, float)) == expected


def test_one_seed_concludes_nothing():
    assert conclude(np.array([5.0])) == conclude_by_t(np.array([5.0])) == "open"
    assert leave_one_out(np.array([5.0])) == []


def test_students_interval_by_hand():
    # Mean 2, standard error 1 / √3 = 0.577, t(2) = 4.303: 2 ± 2.484. Ten times as many exclude 0.
    few = np.array([1.0, 2.0, 3.0])
    assert (conclude(few), conclude_by_t(few), conclude_by_t(np.tile(few, 10))) == ("+", "open", "+")


def test_a_conclusion_that_hangs_on_one_seed_is_seen():
    assert leave_one_out(np.array([1.0, 1.0, -1.0])) == ["open", "open", "+"]


def test_a_table_marks_what_flips():
    cells = [
        Cell("test", agent, "some/data-v0", seed, 500, evaluate_at=(250,), expert_target=True)
        for seed in range(3)
        for agent in ("dt", "qdt")
    ]
    (task,) = tasks(cells, outcomes_of(cells, lambda cell: (cell.variant == "qdt") * (1.0 + cell.seed)))
    header, _, row = rows(sceptic_table(task))
    assert header[1:6] == ["conclusion", "without one seed", "IQM", "Student's t", "episodes drawn too"]
    assert header[6:] == ["250 updates", "expert's target"]
    assert row == ["`qdt` − `dt`", "+", "3 of 3 the same", "+", "**open**", "+", "+", "+"]


def test_what_the_episodes_have_in_common_is_luck_too():
    alike = np.array(
        [[40.0, -30.0, 5.0]] * 4
    )  # every seed gains on the first episode, and loses on the second
    assert conclude(alike.mean(axis=1)) == "+"
    assert conclude_crossed(alike) == "open"


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_how_often_few_seeds_mislead_is_as_stated(n_seeds):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(1000, n_seeds))
    draws = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), 1000) / n_seeds
    low, high = np.quantile(samples @ draws.T, [0.025, 0.975], axis=1)
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(FALSE_POSITIVES[n_seeds], abs=0.04)
