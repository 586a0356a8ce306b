"""The sceptic's tables: conclusions that flip, by hand."""

import numpy as np
import pytest

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.outcomes import Outcomes
from qdt_rl.experiments.reports.sceptic import (
    FALSE_POSITIVES,
    conclude,
    conclude_by_bootstrap,
    expected_by_chance,
    sceptic_table,
    without_each,
)
from qdt_rl.experiments.reports.tasks import tasks
from tests.experiments.reports.synthetic import outcomes_of, record_of, rows


def of_seeds(*values):
    """Return differences that are the same in both of two episodes."""
    return np.array([[value, value] for value in values], float)


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2, 3], "+"), ([-1, -2, -3], "−"), ([-1, 2, 1], "open")]
)
def test_a_bootstrap_concludes_the_sign_of_an_interval_that_excludes_zero(values, expected):
    assert conclude_by_bootstrap(np.array(values, float)) == expected


def test_one_seed_concludes_nothing():
    assert conclude(of_seeds(5)) == conclude_by_bootstrap(np.array([5.0])) == "open"
    assert without_each(of_seeds(5)) == []


def test_a_conclusion_needs_students_interval_by_hand():
    # Mean 2, standard error 1 / √3 = 0.577, t(2) = 4.303: 2 ± 2.484. Ten times as many exclude 0.
    assert conclude(of_seeds(1, 2, 3)) == "open"
    assert conclude(of_seeds(*[1, 2, 3] * 10)) == "+"


def test_each_seed_is_left_out_in_turn():
    assert [left[:, 0].tolist() for left in without_each(of_seeds(1, 2, 3))] == [[2, 3], [1, 3], [1, 2]]


CELLS = [
    Cell("test", agent, "some/data-v0", seed, 500, evaluate_at=(250,), expert_target=True)
    for seed in range(3)
    for agent in ("dt", "qdt")
]


def test_a_table_marks_what_flips():
    """Ahead by 1, 2 and 3 at the end, each with its own luck in what is asked for last."""
    (task,) = tasks(CELLS, outcomes_of(CELLS, lambda cell: (cell.variant == "qdt") * (1.0 + cell.seed)))
    header, _, row = rows(sceptic_table(task))
    assert header[1:4] == ["conclusion", "without one seed", "seeds that ran alike"]
    assert header[4:] == ["seeds drawn alone", "the same, IQM", "250 updates", "expert's target"]
    assert row == ["`qdt` − `dt`", "open", "3 of 3 the same", "open (3)", "**+**", "**+**", "open", "open"]


def test_seeds_that_ran_alike_are_judged_alone():
    """Without seed 2, where QDT is far behind on another machine, its lead of 10 stands."""
    records = [
        record_of(
            cell,
            (10.0 if cell.seed < 2 else -90.0) * (cell.variant == "qdt"),
            processor="another" if cell.seed == 2 and cell.variant == "qdt" else "some",
        )
        for cell in CELLS
    ]
    (task,) = tasks(CELLS, Outcomes(records))
    assert rows(sceptic_table(task))[2][1:4] == ["open", "2 of 3 the same, **1 +**", "**+** (2)"]


def test_conclusions_are_counted_apart_by_what_is_compared():
    agents = ("dt", "qdt", "bc-10%")
    cells = [Cell("test", agent, "some/data-v0", seed, 500) for seed in range(3) for agent in agents]
    means = {"dt": 0.0, "qdt": 10.0, "bc-10%": 10.0}
    text = expected_by_chance(tasks(cells, outcomes_of(cells, lambda cell: means[cell.variant])))
    assert "of 1 differences between transformers 1 and of 2 from cloning 1 exclude zero" in text


def test_what_the_episodes_have_in_common_is_luck_too():
    # Every seed gains on the first episode, and loses on the second.
    alike = np.array([[40.0, -30.0, 5.0]] * 4)
    assert conclude_by_bootstrap(alike.mean(axis=1)) == "+"
    assert conclude(alike) == "open"


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_how_often_few_seeds_mislead_is_as_stated(n_seeds):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(1000, n_seeds))
    draws = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), 1000) / n_seeds
    low, high = np.quantile(samples @ draws.T, [0.025, 0.975], axis=1)
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(FALSE_POSITIVES[n_seeds], abs=0.04)
