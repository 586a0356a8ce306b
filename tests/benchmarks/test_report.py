"""The verdicts and the pairing: a benchmark that miscounts is worse than none."""

import pytest

from tests.benchmarks.comparisons import Comparison, Side, measure
from tests.benchmarks.protocol import Answer
from tests.benchmarks.report import Row, facts_table, table


class SlowingWorker:
    """Takes a time of its own for the repetitions of each round."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = [seconds[0]] * 3 + seconds  # three calls calibrate

    def measure(self, job, repetitions, options):
        return Answer(repetitions * self._seconds.pop(0), 1e9, {"job": job}, 0.0)


def compare(better, targets=(2.0, 4.0), **workers):
    sides = {name: Side(name, "job", units=2 if name == "ours" else 1) for name in ("ours", "a", "b")}
    comparison = Comparison("x", sides["ours"], (sides["a"], sides["b"]), "steps", better, *targets)
    return measure(
        comparison, {name: SlowingWorker(seconds) for name, seconds in workers.items()}, 3, seconds=0.1
    )


def test_each_round_is_a_ratio_to_its_own_best_peer():
    result = compare("faster", ours=[2.0, 2.0, 4.0], a=[3.0, 9.0, 8.0], b=[6.0, 5.0, 16.0])
    assert result.ratios == [3.0, 5.0, 4.0]  # ours takes 1, 1 and 2 seconds a unit
    assert (result.row().ratio, result.row().verdict) == (4.0, "aim met")


def test_time_is_a_ratio_the_other_way_round():
    result = compare("time", (3.5, 1.5), ours=[6.0, 6.0, 6.0], a=[1.0, 1.0, 3.0], b=[2.0, 2.0, 2.0])
    assert result.ratios == [3.0, 3.0, 1.5]
    assert result.row().verdict == "met"


def test_without_peers_our_side_is_measured_alone():
    row = compare("faster", ours=[2.0, 2.0, 4.0]).row()
    assert (row.ours, row.other, row.ratio, row.verdict) == ("1 steps/s", "", None, "no peer")


@pytest.mark.parametrize(
    ("ratio", "larger_is_better", "verdict"),
    [
        (1.9, True, "missed"),
        (2.0, True, "met"),
        (4.1, True, "aim met"),
        (4.1, False, "missed"),
        (3.9, False, "met"),
        (2.0, False, "aim met"),
    ],
)
def test_verdicts(ratio, larger_is_better, verdict):
    low, high = 2.0, 4.0
    at_least, aim = (low, high) if larger_is_better else (high, low)
    assert Row("x", "1", "2", ratio, larger_is_better, at_least, aim).verdict == verdict


def test_tables_are_markdown():
    row = Row("x", "5 µs", "", 5.0, larger_is_better=False, at_least=25.0, aim=None, unit="µs")
    assert table([row]).splitlines()[-1] == "| x | 5 µs | – | 5 µs | ≤ 25 µs |  | met |"
    facts = {"ours": {"parameters": 742531, "dropout": 0.1}, "theirs": {"dropout": [0.1, 0.1]}}
    assert facts_table(facts).splitlines()[2:] == [
        "| parameters | 742,531 |  |",
        "| dropout | 0.1 | 0.1, 0.1 |",
    ]
