"""Tables of scores: pure functions of the records."""

import csv
import io
import json
from collections.abc import Sequence
from math import floor, log10
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qdt_rl.experiments.comparison import Score
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.files import write_whole

_HEADER = ("agent", "asked for", "return", "95 % interval, episodes", "normalised", "parameters")
_FIELDS = (
    "agent",
    "env_id",
    "target_return",
    "seed",
    "n_episodes",
    "mean",
    "std",
    "low",
    "high",
    "normalized_score",
    "n_parameters",
)


def score_table(scores: Sequence[Score]) -> str:
    """Return a Markdown table, a row a score: mean ± standard deviation over episodes, and its interval."""
    return markdown_table(_HEADER, _rows(scores))


def rich_table(scores: Sequence[Score], title: str) -> Table:
    """Return the same table for a terminal."""
    return _table(title, _HEADER, _rows(scores))


def requested_table(scores: Sequence[Score], title: str) -> Table:
    """Return a table for a terminal, a row a target and a column an agent: mean ± standard deviation."""
    agents = list(dict.fromkeys(score.agent for score in scores))
    targets = list(dict.fromkeys(score.target_return for score in scores))
    digits = decimals(scores)
    cells = {
        (s.target_return, s.agent): f"{s.result.mean:.{digits}f} ± {s.result.std:.{digits}f}" for s in scores
    }
    rows = [(f"{target:.{digits}f}", *(cells[target, agent] for agent in agents)) for target in targets]
    return _table(title, ("asked for", *agents), rows)


def csv_table(scores: Sequence[Score]) -> str:
    """Return the scores as CSV at full precision, without the single episodes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    described = [score.as_dict() for score in scores]
    writer.writerows([row[name] for name in _FIELDS] for row in described)
    return text.getvalue()


def save_scores(scores: Sequence[Score], folder: Path, name: str) -> list[Path]:
    """Write scores as JSON (every episode), CSV and Markdown, and return the paths."""
    contents = {
        ".json": json.dumps([score.as_dict() for score in scores], indent=1, allow_nan=False),
        ".csv": csv_table(scores),
        ".md": score_table(scores),
    }
    paths = [folder / f"{name}{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content.encode())
    return paths


def decimals(scores: Sequence[Score]) -> int:
    """Return how many decimals show three digits of the largest return, achieved or asked for."""
    largest = max(max(abs(score.result.mean), abs(score.target_return)) for score in scores)
    return min(max(2 - floor(log10(largest)), 0), 6) if largest > 0 else 0


def _rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    return [_row(score, decimals(scores)) for score in scores]


def _row(score: Score, digits: int) -> tuple[str, ...]:
    return (
        score.agent,
        f"{score.target_return:.{digits}f}",
        f"{score.result.mean:.{digits}f} ± {score.result.std:.{digits}f}",
        "–" if score.low is None else f"{score.low:.{digits}f} to {score.high:.{digits}f}",
        "–" if score.result.normalized_score is None else f"{score.result.normalized_score:z.1f}",
        "–" if score.n_parameters is None else f"{score.n_parameters:,}",
    )


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table for narrow terminals too: names are folded there, numbers are broken at spaces only."""
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(header[0], overflow="fold")
    for name, cells in zip(header[1:], list(zip(*rows, strict=True))[1:], strict=True):
        is_one_word = not any(" " in cell for cell in cells)
        table.add_column(Text(name), justify="right", overflow="fold", no_wrap=is_one_word)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: rich would read brackets in a name as markup
    return table
