"""What records say: against values worked by hand."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qdt_rl.errors import ConfigError, RecordError
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ABLATION, GRIDS
from qdt_rl.experiments.records import append_record, read_records, records_path
from qdt_rl.experiments.reports.ablation import ablation_page
from qdt_rl.experiments.reports.outcomes import Outcomes
from qdt_rl.experiments.reports.tasks import SYNERGY, tasks
from qdt_rl.experiments.reports.writing import REPORTS, read_report, with_links, write_report
from tests.experiments.reports.synthetic import record_of

RESULTS = Path(__file__).parents[3] / "docs" / "results"
AGENTS = ("dt", "q-attention", "q-feedforward", "qdt", "wide-dt")
LEVELS = {"dt": 0.0, "q-attention": 10.0, "q-feedforward": 20.0, "qdt": 35.0, "wide-dt": 36.0}
CELLS = [
    Cell("test", agent, "some/data-v0", seed, 500, evaluate_at=(250,), expert_target=True)
    for seed in range(3)
    for agent in AGENTS
]


RECORDS = [
    record_of(cell, LEVELS[cell.variant] + cell.seed, train_seconds=120.0 if cell.variant == "qdt" else 60.0)
    for cell in CELLS
]


def report(records):
    return ablation_page(CELLS, Outcomes(records)).text


def test_the_report_by_hand():
    lines = report(RECORDS).partition("### some/data-v0")[2].splitlines()
    head, rule, dt, *_ = [line for line in lines if line.startswith("| ")]
    assert head == (
        "| agent | seeds | 250 updates | 500 updates | 500 updates, expert's target | score | score, IQM "
        "| standard deviation over seeds, units of return |"
    )
    assert rule.count("---") == 8
    assert "| bound | – | – | 4000 | – | 2025.0 | – | – |" in lines
    # Losses are 10 / 1, 10 / 2, … 10 / 20, on average 10 · H(20) / 20, and the gradients' norms the same.
    assert "| `qdt` | 3 | 1798.87 (1798.87 to 1798.87) | 100 % | 2.00 × (3) |" in lines
    iqm = "25.5 (25.0 to 26.0)"  # of three runs no quarter is a run
    assert dt == f"| `dt` | 3 of 3 | 1 (-0 to 2) | 1 (0 to 2) | 101 (100 to 102) | 25.5 | {iqm} | 1 |"
    iqm = "43.0 (42.5 to 43.5)"
    returns = "36 (35 to 37) | 36 (35 to 37) | 136 (135 to 137)"
    assert f"| `qdt` | 3 of 3 | {returns} | 43.0 | {iqm} | 1 |" in lines
    assert "| `qdt` − `dt` | 3 of 3 | +35 (+35 to +35) | 1.00 | +17.5, +17.5, +17.5 |" in lines
    # One of 9 pairs wins, and 2 tie; ends: of the 27 × 27 ways to draw both sides anew, counted once.
    assert "| `qdt` − `wide-dt` | 3 of 3 | -1 (-1 to -1) | 0.22 (0.00 to 0.67) | -0.5, -0.5, -0.5 |" in lines
    assert "| synergy | 3 of 3 | +5 (+5 to +5) | – | +2.5, +2.5, +2.5 |" in lines  # (35 − 10) − (20 − 0)
    same = "+17.5 (+17.5 to +17.5)"
    assert f"| `qdt` − `dt` | {same} | {same} | {same} |" in lines
    # 2 more were asked for, and 100 more came.
    assert "| `dt` | -6 (-7 to -5) | +92 (+91 to +93) | +50.00 (+50.00 to +50.00) |" in lines


def test_all_tasks_are_seen_in_one_table():
    """The last seed of ``wide-dt`` is missing; 2 of the return are a point."""
    (row,) = (line for line in report(RECORDS[:-1]).splitlines() if line.startswith("| some/data-v0 |"))
    qdt, attention, feedforward, wide, synergy, *cloning = row.strip("| ").split(" | ")[2:]
    assert row.startswith("| some/data-v0 | 7 |")
    assert (qdt, attention) == ("+17.5 (+17.5 to +17.5); 3", "+5.0 (+5.0 to +5.0); 3")
    assert (feedforward, synergy) == ("+10.0 (+10.0 to +10.0); 3", "+2.5 (+2.5 to +2.5); 3")
    assert (wide, cloning) == ("-0.5 (-0.5 to -0.5); 2", ["–", "–"])


def test_a_comparison_takes_the_seeds_that_its_agents_share():
    assert CELLS[-1].variant == "wide-dt"
    for records in (RECORDS[:-1], [*RECORDS[:-1], RECORDS[-1] | {"failed": "Traceback"}]):
        (task,) = tasks(CELLS, Outcomes(records))
        assert task.seeds("qdt", "wide-dt") == [0, 1]
        assert task.n_planned("qdt", "wide-dt") == 3
        assert task.seeds("qdt", "dt") == [0, 1, 2]
        lines = report(records)
        assert "| `qdt` − `wide-dt` | 2 of 3 |" in lines
        assert "| `qdt` − `dt` | 3 of 3 |" in lines
        assert "| `wide-dt` | 2 of 3 |" in lines
    assert "**15 of 15 runs are missing.**" in report([])


def test_agents_that_have_not_been_run_are_named_and_hold_back_no_other():
    runs = zip(CELLS, RECORDS, strict=True)
    text = report([record for cell, record in runs if cell.variant in ("dt", "qdt")])
    assert "**9 of 15 runs are missing.**" in text
    assert "Not run on this task yet: `q-attention`, `q-feedforward`, `wide-dt`." in text
    assert "| `qdt` − `dt` | 3 of 3 | +35 (+35 to +35) | 1.00 |" in text
    assert "| synergy | 3 of 3 |" not in text
    assert "Not run on this task yet" not in report(RECORDS)


def test_losses_are_compared_within_one_precision():
    unlike = [record | {"precision": "32"} for record in RECORDS]
    unlike[0]["precision"] = "bf16-mixed"  # dt of seed 0
    text = report(unlike).partition("training loss")[2]
    assert "| `qdt` − `dt` | 2 |" in text
    assert "| `qdt` − `wide-dt` | 3 |" in text


def test_the_reports_of_the_repository_are_those_of_its_records():
    for name, cells in GRIDS.items():
        records = read_records(records_path(RESULTS, name))
        assert records
        assert {record["key"] for record in records} <= {cell.key() for cell in cells}
        committed = (RESULTS / f"{name}.md").read_text()
        assert with_links(name, *read_report(name, RESULTS)) == committed


def test_tasks_are_told_apart_by_the_data_used():
    cut = [replace(cell, n_data_episodes=20) for cell in CELLS]
    names = [task.name for task in tasks([*CELLS, *cut], Outcomes(RECORDS))]
    assert names == ["some/data-v0", "some/data-v0, 20 episodes"]


def test_synergy_is_zero_when_the_gains_add_up():
    returns = {"dt": 1.0, "q-attention": 4.0, "q-feedforward": 6.0, "qdt": 9.0, "wide-dt": 0.0}
    records = [record_of(cell, returns[cell.variant]) for cell in CELLS]
    (task,) = tasks(CELLS, Outcomes(records))
    np.testing.assert_allclose(task.contrast(SYNERGY), np.zeros((3, 2)))


@pytest.fixture
def grid(monkeypatch, tmp_path):
    monkeypatch.setattr("qdt_rl.experiments.grids.GRIDS", {"test": tuple(CELLS)})
    monkeypatch.setattr("qdt_rl.experiments.reports.writing.REPORTS", {"test": REPORTS["ablation"]})
    return tmp_path


def test_a_report_is_written_whole_and_the_same_records_give_the_same_bytes(grid):
    for entry in RECORDS:
        append_record(records_path(grid, "test"), entry)
    written = write_report("test", grid)
    names = {path.name for path in written}
    figures = {
        f"test-{kind}.{suffix}"
        for kind in ("curves", "profiles", "requested", "traces")
        for suffix in ("png", "svg")
    }
    assert names == {"test.md", "test.html"} | figures
    first = {path: path.read_bytes() for path in written}
    page = first[grid / "test.html"].decode()
    assert "<table>" in page
    assert page.count('src="data:image/png;base64,') == 4
    assert not re.search(r"https?://", page)
    write_report("test", grid)
    assert {path: path.read_bytes() for path in written} == first


def test_a_report_of_nothing_and_an_unknown_experiment_are_refused(grid):
    with pytest.raises(RecordError, match="There are no records at"):
        write_report("test", grid)
    with pytest.raises(ConfigError, match=r"Unknown experiment 'other'; the experiments are test\."):
        write_report("other", grid)


def test_every_experiment_has_a_report():
    assert set(REPORTS) == set(GRIDS)


def test_the_grids_are_what_the_rule_says():
    for cells in GRIDS.values():
        assert len({cell.key() for cell in cells}) == len(cells)
    assert {cell.n_steps for cell in ABLATION} == {2000}
    assert {cell.n_episodes for cell in ABLATION} == {64}
    assert {cell.evaluate_at for cell in ABLATION} == {(250, 500)}
    assert all(cell.settings == () and cell.expert_target for cell in ABLATION)
    replay = [c for c in ABLATION if c.dataset == "qdt/synthetic/medium-replay-v0" and not c.n_data_episodes]
    assert {(c.variant, c.seed) for c in replay} == {
        (variant, seed) for variant in (*AGENTS, "bc", "bc-10%") for seed in range(10)
    }
