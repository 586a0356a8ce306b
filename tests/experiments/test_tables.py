import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from qdt_rl.experiments.tables import (
    csv_table,
    decimals,
    requested_table,
    rich_table,
    save_scores,
    score_table,
)


def printed(table, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def cells(table):
    """What stands in each line."""
    lines = printed(table).rstrip().splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines]


@pytest.fixture
def scores(make_score):
    """Returns 90, 110, 130: mean 110, standard deviation sqrt(800 / 3) = 16.33."""
    return [
        make_score(reference_scores=(0.0, 200.0), n_parameters=1_581_964),
        make_score("a|b", -250.0, [-40.0], None, None, reference_scores=(0.0, 100_000.0)),
    ]


def test_markdown(scores):
    assert score_table(scores) == (
        "| agent | asked for | return | 95 % interval, episodes | normalised | parameters |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| qdt | 100 | 110 ± 16 | 95 to 125 | 55.0 | 1,581,964 |\n"
        "| a\\|b | -250 | -40 ± 0 | – | 0.0 | – |\n"
    )


def test_csv_at_full_precision(scores):
    std = np.sqrt(800 / 3)
    assert csv_table(scores) == (
        "agent,env_id,target_return,seed,n_episodes,mean,std,low,high,normalized_score,n_parameters\n"
        f"qdt,Some-v0,100.0,5,3,110.0,{std},95.0,125.0,55.0,1581964\n"
        "a|b,Some-v0,-250.0,5,1,-40.0,0.0,,,-0.04,\n"
    )


def test_a_terminal_gets_the_same_cells(scores):
    title, header, _, *rows = cells(rich_table(scores, "Title"))
    assert title == ["Title"]
    assert header == ["agent", "asked for", "return", "95 % interval, episodes", "normalised", "parameters"]
    assert rows == [
        ["qdt", "100", "110 ± 16", "95 to 125", "55.0", "1,581,964"],
        ["a|b", "-250", "-40 ± 0", "–", "0.0", "–"],
    ]


def test_a_narrow_terminal_loses_no_digit(scores):
    lines = printed(rich_table(scores, "Title"), width=60).splitlines()
    assert max(map(len, lines)) <= 60
    text = " ".join(lines)
    assert "…" not in text
    assert all(number in text.split() for number in ("100", "110", "16", "95", "125", "55.0", "1,581,964"))


def test_a_name_in_brackets_is_a_name(make_score):
    assert "[red]x" in printed(rich_table([make_score("[red]x")], "Title"))
    assert "[red]x" in printed(requested_table([make_score("[red]x")], "Title"))


def test_a_row_for_each_target_and_a_column_for_each_agent(make_score):
    scores = [
        make_score(agent, target, [target + shift, target + shift + 4])
        for agent, shift in (("qdt", 1.0), ("bc", -200.0))
        for target in (-100.0, 300.0)
    ]
    _, header, _, *rows = cells(requested_table(scores, "Title"))
    assert header == ["asked for", "qdt", "bc"]
    assert rows == [["-100", "-97 ± 2", "-298 ± 2"], ["300", "303 ± 2", "102 ± 2"]]


@pytest.mark.parametrize(
    ("mean", "target", "digits"),
    [
        (2403.9, 0, 0),
        (-100, 1, 0),
        (99.9, 1, 1),
        (1, -12, 1),
        (1, 1, 2),
        (0.5, 0, 3),
        (1e-12, 0, 6),
        (0, 0, 0),
    ],
)
def test_three_digits_of_the_largest_number_are_shown(make_score, mean, target, digits):
    assert decimals([make_score(target_return=target, returns=[mean]), make_score("x", 0, [0.0])]) == digits


def test_files_hold_what_was_measured(scores, tmp_path):
    paths = save_scores(scores, tmp_path / "new", "scores")
    assert [path.name for path in paths] == ["scores.json", "scores.csv", "scores.md"]
    first, second = json.loads(paths[0].read_text(), parse_constant=pytest.fail)  # strict: no NaN
    assert first == {
        "agent": "qdt",
        "env_id": "Some-v0",
        "target_return": 100.0,
        "seed": 5,
        "returns": [90.0, 110.0, 130.0],
        "lengths": [7, 7, 7],
        "mean": 110.0,
        "std": np.sqrt(800 / 3),
        "low": 95.0,
        "high": 125.0,
        "normalized_score": 55.0,
        "n_parameters": 1_581_964,
        "n_episodes": 3,
        "cvar": 90.0,
        "mean_target_error": 10.0,
        "mean_absolute_target_error": 50 / 3,
        "reference_scores": [0.0, 200.0],
        "target_returns": [100.0, 100.0, 100.0],
    }
    assert (second["low"], second["high"], second["n_parameters"]) == (None, None, None)
    assert paths[1].read_text() == csv_table(scores)
    assert paths[2].read_text() == score_table(scores)


def test_what_is_not_a_number_is_not_written(make_score, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_scores([make_score(low=float("nan"))], tmp_path, "scores")
    assert list(tmp_path.iterdir()) == []
