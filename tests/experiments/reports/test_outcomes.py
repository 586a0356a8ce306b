"""Records by cell: what counts as run, and which numbers are read."""

from dataclasses import replace

import numpy as np
import pytest

from qdt_rl.errors import RecordError
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ABLATION, GRIDS, ablation_cell
from qdt_rl.experiments.reports.outcomes import Moment, Outcomes, describe, learning_curve, settings_of
from tests.experiments.reports.synthetic import BEST, EXPERT, record_of

CELL = Cell("test", "qdt", "some/data-v0", 0, 500, evaluate_at=(250,), expert_target=True)
GROUP = {seed: replace(CELL, seed=seed) for seed in range(4)}


@pytest.fixture
def four():
    """Seed 0 has run, 1 has diverged after 300 updates, 2 has failed, 3 is missing."""
    diverged = record_of(GROUP[1], 0.0, diverged="Divergence at update 301: the loss is not finite (…)")
    diverged["evaluations"] = [
        {"n_updates": n, "target_return": target, "sliding_window": False, "returns": [mean]}
        for n, target, mean in [(250, BEST, -10.0), (300, BEST, -20.0), (300, EXPERT, -30.0)]
    ]
    failed = {"key": GROUP[2].key(), "failed": "Traceback\nValueError: `x` | y"}
    return Outcomes([record_of(GROUP[0], 100.0), diverged, failed])


def test_a_diverged_run_is_judged_by_the_weights_before(four):
    assert [four.state(cell) for cell in GROUP.values()] == ["done", "diverged", "failed", "missing"]
    assert four.finished(GROUP) == [0, 1]
    assert four.returns(GROUP, [0, 1]).tolist() == [100, -20]
    assert four.returns(GROUP, [0, 1], Moment(250)).tolist() == [99.875, -10]
    assert four.returns(GROUP, [0, 1], Moment(500, "expert")).tolist() == [200, -30]
    assert learning_curve(GROUP, four)[500].tolist() == [100, -20]


def test_what_lacks_is_counted_and_named(four):
    assert four.shortfall([*GROUP.values(), GROUP[3]]) == (
        "**1 of 4 runs are missing.**\n\n"
        "- diverged: `qdt`, some/data-v0, seed 1: Divergence at update 301\n"
        "- failed: `qdt`, some/data-v0, seed 2: `ValueError: 'x' | y`\n"
    )
    assert four.shortfall([GROUP[0]]) == ""


def test_different_precision_within_a_seed_are_named():
    agents = [replace(CELL, variant=name) for name in ("dt", "qdt", "qdt+raw-returns", "bc")]
    cells = [replace(cell, seed=seed) for seed in (0, 1) for cell in agents]

    def precision(cell):
        return "bf16-mixed" if (cell.variant, cell.seed) == ("dt", 1) else "32"

    outcomes = Outcomes([record_of(cell, 0.0, precision=precision(cell)) for cell in cells])
    assert outcomes.shortfall(cells) == (
        "- **different precision**: some/data-v0, seed 1: bf16-mixed: `dt`; 32: `qdt`, `qdt+raw-returns`\n"
    )


def test_different_commits_within_a_seed_are_named():
    cells = [replace(CELL, variant=name) for name in ("dt", "qdt", "bc")]
    commits = ("0123456789abcdef" * 3, "fedcba9876543210" * 3, "none of the transformers")
    found = [record_of(cell, 0.0, commit=commit) for cell, commit in zip(cells, commits, strict=True)]
    assert Outcomes(found).shortfall(cells) == (
        "- **different commit**: some/data-v0, seed 0: 0123456789ab: `dt`; fedcba987654: `qdt`\n"
    )


def test_different_data_within_a_task_are_named():
    cells = [replace(CELL, variant=name, seed=seed) for seed in (0, 1) for name in ("qdt", "bc")]
    outcomes = Outcomes([record_of(cell, 0.0, data="ab" if cell.seed else "cd") for cell in cells[:3]])
    assert outcomes.shortfall(cells[:3]) == "- **different data**: some/data-v0: cd: `qdt`, `bc`; ab: `qdt`\n"
    assert outcomes.shortfall(cells[:2]) == ""


def test_seeds_are_those_of_which_every_group_has_a_run(four):
    assert four.finished(GROUP, {1: GROUP[1], 2: GROUP[2]}) == [1]
    assert four.finished(GROUP, {}) == []


def test_scores_are_on_the_references_scale(four):
    assert four.scores(GROUP, [0, 1]).tolist() == [75.0, 15.0]
    assert four.scores(GROUP, []).tolist() == []


def test_times_are_compared_on_one_processor_with_one_commit_alone():
    seconds = {"qdt": (30.0, 20.0, 50.0, 70.0), "dt": (10.0, 10.0, 10.0, 10.0)}
    groups = {
        agent: {seed: replace(CELL, variant=agent, seed=seed) for seed in GROUP} for agent in ("qdt", "dt")
    }
    made_with = {("qdt", 2): {"processor": "another"}, ("dt", 3): {"commit": "another"}}
    records = [
        record_of(cell, 0.0, train_seconds=seconds[agent][seed], **made_with.get((agent, seed), {}))
        for agent, group in groups.items()
        for seed, cell in group.items()
    ]
    assert Outcomes(records).time_ratios(groups["qdt"], groups["dt"]) == {0: 3.0, 1: 2.0}
    assert Outcomes(records[2:]).time_ratios(groups["qdt"], groups["dt"]) == {}


def test_losses_need_one_precision_and_times_runs_that_did_not_diverge():
    groups = {
        agent: {seed: replace(CELL, variant=agent, seed=seed) for seed in GROUP} for agent in ("qdt", "dt")
    }
    changes = {
        ("qdt", 0): {"diverged": "Divergence at update 7: no"},
        ("qdt", 1): {"precision": "bf16-mixed"},
    }
    records = [
        record_of(cell, 0.0, **{"precision": "32"} | changes.get((agent, seed), {}))
        for agent, group in groups.items()
        for seed, cell in group.items()
    ]
    assert Outcomes(records).whole(groups["qdt"], groups["dt"]) == [2, 3]
    assert Outcomes(records).time_ratios(groups["qdt"], groups["dt"]) == {1: 1.0, 2: 1.0, 3: 1.0}
    assert Outcomes(records).alike(groups["qdt"], groups["dt"]) == [0, 2, 3]
    assert Outcomes(records[1:]).shared(groups["qdt"], groups["dt"], {7: replace(CELL, seed=7)}) == [1, 2, 3]
    assert Outcomes(records).shared({7: replace(CELL, seed=7)}) == []


def test_a_moment_that_was_not_judged_is_refused(four):
    with pytest.raises(RecordError, match="no evaluation at Moment"):
        four.returns(GROUP, [0], Moment(100))


def test_of_two_evaluations_at_once_the_first_counts():
    judged = record_of(CELL, 100.0)
    again = {"n_updates": 500, "target_return": BEST, "sliding_window": True, "returns": [1.0]}
    judged["evaluations"].append(again)
    assert Outcomes([judged]).returns({0: CELL}, [0]).tolist() == [100]


def test_the_sliding_window_is_a_moment_of_its_own():
    judged = record_of(CELL, 100.0)
    window = {"n_updates": 500, "target_return": BEST, "sliding_window": True, "returns": [1.0]}
    judged["evaluations"].append(window)
    assert Outcomes([judged]).returns({0: CELL}, [0], Moment(500, sliding_window=True)).tolist() == [1]
    for evaluation in judged["evaluations"]:  # an agent that knows no other way
        evaluation["sliding_window"] = True
    assert Outcomes([judged]).returns({0: CELL}, [0]).tolist() == [100]


def test_a_trace_is_means_of_a_hundred_updates():
    long, short = np.arange(30.0), np.arange(100.0, 119.0)  # the second diverged in its second hundred
    runs = zip((GROUP[0], GROUP[1]), (long, short), strict=True)
    outcomes = Outcomes([record_of(cell, 0.0, loss=loss.tolist()) for cell, loss in runs])
    trace = {n: values.tolist() for n, values in outcomes.trace(GROUP, [0, 1], "loss").items()}
    assert trace == {100: [4.5, 104.5], 200: [14.5], 300: [24.5]}


def test_late_is_the_mean_of_the_last_five_hundred_updates():
    runs = zip((GROUP[0], GROUP[1]), (np.arange(60.0), np.arange(4.0)), strict=True)  # every tenth update
    outcomes = Outcomes([record_of(cell, 0.0, loss=loss.tolist()) for cell, loss in runs])
    assert outcomes.late(GROUP, [0, 1], "loss").tolist() == [34.5, 1.5]


def test_settings_of_the_model_are_settings_too():
    cell = replace(CELL, settings=(("policy_kwargs", {"n_channels": 2}), ("learning_rate", 0.1)))
    assert settings_of(cell) == {"learning_rate": 0.1, "n_channels": 2}
    assert settings_of(cell) == {"learning_rate": 0.1, "n_channels": 2}, "the cell stays as it is"
    assert describe(cell) == "`qdt` with learning_rate = 0.1, n_channels = 2, some/data-v0, seed 0"


def test_the_ablation_has_every_run_that_others_are_compared_with():
    known = {cell.key() for cell in ABLATION}
    compared = [
        cell for name in ("folded", "sensitivity", "catastrophe", "mechanism") for cell in GRIDS[name]
    ]
    assert {ablation_cell(cell).key() for cell in compared} <= known
    assert {ablation_cell(cell, "dt").key() for cell in compared} <= known
