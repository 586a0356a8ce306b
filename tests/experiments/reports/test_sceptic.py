"""The sceptic's tables: conclusions that flip, by hand."""

import numpy as np
import pytest

from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.reports.sceptic import conclude, conclude_by_t, leave_one_out, sceptic_table
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
    assert header[1:5] == ["conclusion", "without one seed", "IQM", "Student's t"]
    assert header[5:] == ["250 updates", "expert's target"]
    assert row == ["`qdt` − `dt`", "+", "3 of 3 the same", "+", "**open**", "+", "+"]
