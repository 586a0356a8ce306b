"""Tables of scores: pure functions of the records."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from qdt_rl.experiments.comparison import Score
from qdt_rl.files import write_whole

_HEADER = ("agent", "asked for", "return", "95 % interval", "normalised", "parameters")


def markdown_table(scores: Sequence[Score]) -> str:
    """Return a Markdown table, a row a score: mean ± standard deviation over episodes, and its interval."""
    lines = [" | ".join(_HEADER), " | ".join(["---"] + ["---:"] * (len(_HEADER) - 1))]
    lines += [" | ".join(_cells(score)) for score in scores]
    return "".join(f"| {line} |\n" for line in lines)


def rich_table(scores: Sequence[Score], title: str) -> Table:
    """Return the same table for a terminal."""
    table = Table(title=title)
    for i, name in enumerate(_HEADER):
        table.add_column(name, justify="left" if i == 0 else "right")
    for score in scores:
        table.add_row(*_cells(score))
    return table


def csv_table(scores: Sequence[Score]) -> str:
    """Return the scores as CSV at full precision, without the single episodes."""
    text = io.StringIO()
    rows = [{k: v for k, v in score.as_dict().items() if not isinstance(v, list)} for score in scores]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def save_scores(scores: Sequence[Score], folder: Path, name: str) -> list[Path]:
    """Write scores as JSON (every episode), CSV and Markdown, and return the paths."""
    contents = {
        ".json": json.dumps([score.as_dict() for score in scores], indent=1),
        ".csv": csv_table(scores),
        ".md": markdown_table(scores),
    }
    paths = []
    for suffix, content in contents.items():
        paths.append(folder / f"{name}{suffix}")
        write_whole(paths[-1], content.encode())
    return paths


def _cells(score: Score) -> tuple[str, ...]:
    known = not math.isnan(score.low)
    return (
        score.agent,
        f"{score.target_return:.0f}",
        f"{score.mean:.0f} ± {score.std:.0f}",
        f"{score.low:.0f} to {score.high:.0f}" if known else "–",
        "–" if score.normalized_score is None else f"{score.normalized_score:.1f}",
        "–" if score.n_parameters is None else f"{score.n_parameters:,}",
    )
