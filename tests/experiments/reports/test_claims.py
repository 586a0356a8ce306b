"""The verdicts on the paper's claims: by hand."""

import numpy as np
import pytest

from qdt_rl.evaluation.statistics import crossed_interval, student_interval
from qdt_rl.experiments.grids import ABLATION, DELAYED, REPLAY
from qdt_rl.experiments.reports.claims import above, claims_text, widest_interval, within
from qdt_rl.experiments.reports.outcomes import Outcomes, task_name
from tests.experiments.reports.synthetic import outcomes_of, record_of, rows

# A score is (return + 50) / 2: 2 of the return are a point.
LEVELS = {"dt": 0.0, "q-attention": -60.0, "q-feedforward": 10.0, "qdt": 80.0, "wide-dt": 80.0}


def verdicts(mean, cells=ABLATION, **changes):
    text = claims_text(ABLATION, outcomes_of(cells, mean, **changes))
    lines = rows(text)
    assert {line.count("|") for line in text.splitlines() if line.startswith("| ")} == {7}
    return {line[0]: line[3:] for line in lines[2:]}


def level(cell):
    return LEVELS.get(cell.variant, 0.0) + 3 * cell.seed


def test_each_claim_by_hand():
    found = verdicts(level)
    assert found == {
        "QDT is better than DT": ["10 of 10", "+40.0 (+40.0 to +40.0)", "confirmed"],
        "and by far, 2,000 %": ["10 of 10", "+40.0 (+40.0 to +40.0)", "confirmed"],
        "Q-attention alone is a catastrophe": ["10 of 10", "+30.0 (+30.0 to +30.0)", "confirmed"],
        "Q-feedforward alone is marginal, up or down": ["10 of 10", "+5.0 (+5.0 to +5.0)", "confirmed"],
        "The two need each other: synergy": ["10 of 10", "+65.0 (+65.0 to +65.0)", "confirmed"],
        "(ours) not for its size alone": ["10 of 10", "+0.0 (+0.0 to +0.0)", "undecided"],
        "QDT needs fewer epochs": ["10 of 10", "+40.0 (+40.0 to +40.0)", "confirmed"],
        "QDT is 1.8 × slower": ["45 of 45 pairs of runs", "1.00 × (1.00 to 1.00)", "contradicted"],
        "QDT generalises better across data quality": [
            "5 of 5 qualities",
            "+40.0 (+40.0 to +40.0)",
            "confirmed",
        ],
        "QDT assigns credit better": ["5 of 5", "+0.0 (+0.0 to +0.0)", "undecided"],
    }


def test_a_smaller_gain_contradicts_the_size_that_is_claimed_and_not_the_sign():
    found = verdicts(lambda cell: level(cell) / 4)
    assert found["QDT is better than DT"][1:] == ["+10.0 (+10.0 to +10.0)", "confirmed"]
    assert found["and by far, 2,000 %"][-1] == "contradicted"
    assert found["Q-attention alone is a catastrophe"][1:] == ["+7.5 (+7.5 to +7.5)", "contradicted"]


def test_what_a_delay_costs_each_is_compared_by_the_seed():
    def mean(cell):
        return level(cell) - (cell.dataset == DELAYED[50]) * (30.0 if cell.variant == "qdt" else 50.0)

    assert verdicts(mean)["QDT assigns credit better"] == ["5 of 5", "+10.0 (+10.0 to +10.0)", "confirmed"]


def test_four_seeds_decide_nothing_and_missing_tasks_say_so():
    four = [cell for cell in ABLATION if task_name(cell) == REPLAY and cell.seed < 4]
    found = verdicts(level, four)
    assert found["QDT is better than DT"] == ["4 of 10", "+40.0 (+40.0 to +40.0)", "undecided"]
    assert found["QDT is 1.8 × slower"] == ["4 of 45 pairs of runs", "1.00 × (1.00 to 1.00)", "undecided"]
    assert found["QDT generalises better across data quality"] == ["0 of 5 qualities", "–", "undecided"]
    assert found["QDT assigns credit better"] == ["0 of 5", "–", "undecided"]
    nothing = rows(claims_text(ABLATION, Outcomes([])))[2:]
    assert {line[-1] for line in nothing} == {"undecided"}


def test_a_claim_counts_the_seeds_of_the_agents_that_it_names():
    cells = [cell for cell in ABLATION if cell.variant in ("dt", "qdt") and cell.seed < 5]
    cells += [cell for cell in ABLATION if task_name(cell) == REPLAY and cell.seed < 2 and cell not in cells]
    found = verdicts(level, cells)
    assert found["QDT is better than DT"] == ["5 of 10", "+40.0 (+40.0 to +40.0)", "confirmed"]
    assert found["(ours) not for its size alone"] == ["2 of 10", "+0.0 (+0.0 to +0.0)", "undecided"]
    assert found["The two need each other: synergy"][::2] == ["2 of 10", "undecided"]
    assert found["QDT generalises better across data quality"][::2] == ["5 of 5 qualities", "confirmed"]
    assert found["QDT assigns credit better"] == ["5 of 5", "+0.0 (+0.0 to +0.0)", "undecided"]


def test_the_time_is_confirmed_if_it_is_about_that_of_the_paper():
    records = [
        record_of(cell, 0.0, train_seconds=180.0 if cell.variant == "qdt" else 100.0) for cell in ABLATION
    ]
    lines = rows(claims_text(ABLATION, Outcomes(records)))
    assert [line[-2:] for line in lines if line[0] == "QDT is 1.8 × slower"] == [
        ["1.80 × (1.80 to 1.80)", "confirmed"]
    ]


def test_the_widest_interval_reaches_as_far_as_the_wider_at_either_end():
    values = np.random.default_rng(0).normal(size=(5, 8))
    t, crossed = student_interval(values.mean(axis=1)), crossed_interval(values)
    assert widest_interval(values) == (min(t[0], crossed[0]), max(t[1], crossed[1]))
    assert np.isnan(widest_interval(values[:1])).all()


@pytest.mark.parametrize(
    ("interval", "is_above", "is_within"),
    [
        ((6.0, 9.0), "confirmed", "contradicted"),
        ((4.0, 9.0), "undecided", "undecided"),
        ((-4.0, 4.0), "contradicted", "confirmed"),
        ((-9.0, -6.0), "contradicted", "contradicted"),
        ((float("nan"), float("nan")), "undecided", "undecided"),
    ],
)
def test_verdicts_of_intervals(interval, is_above, is_within):
    assert above(interval, 5.0) == is_above
    assert within(interval, 5.0) == is_within
