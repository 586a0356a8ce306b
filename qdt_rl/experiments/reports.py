"""What the records of an experiment say, as a page with figures: pure functions of the records."""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt

from qdt_rl.errors import CheckpointError
from qdt_rl.evaluation.statistics import bootstrap_interval
from qdt_rl.experiments.ablation import (
    Records,
    Task,
    ablation_report,
    draw_learning_curves,
    draw_profiles,
    tasks,
)
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.figures import plot_panels
from qdt_rl.experiments.grids import find_grid
from qdt_rl.experiments.records import read_records, records_path
from qdt_rl.files import write_whole

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ border-bottom: 1px solid #ddd; padding: .2rem .6rem }}
img {{ max-width: 100% }}
</style></head><body>{body}</body></html>
"""


def write_report(name: str, folder: Path) -> list[Path]:
    """Write an experiment's tables as Markdown, its figures as PNG and SVG, and both as one HTML page.

    Args:
        name: The experiment.
        folder: Where its records are, and where the report goes.

    Returns:
        The files written.

    Raises:
        CheckpointError: If there are no records, or too few to say anything.
        ConfigError: If the experiment is unknown.
    """
    cells, path = find_grid(name), records_path(folder, name)
    if not path.exists():
        raise CheckpointError(f"There are no records at {path}; run `qdt-rl experiment run {name}` first.")
    records = read_records(path)
    text = f"## {name}\n\n{_provenance(records)}\n\n"
    if name == "precision":
        require_complete(cells, records)
        text, figures = text + precision_report(records), {}
    else:
        text, figures = text + ablation_report(cells, records), _figures(tasks(cells, records))
    written, images = [folder / f"{name}.md"], []
    for kind, (draw, members) in figures.items():
        for suffix in ("svg", "png"):
            written.append(folder / f"{name}-{kind}.{suffix}")
            plot_panels(draw, members, written[-1])
        images.append((kind, written[-1]))
    links = "".join(f"![{kind}]({image.name})\n\n" for kind, image in images)
    write_whole(written[0], (text + "\n" + links).encode())
    written.append(folder / f"{name}.html")
    write_whole(written[-1], _page(name, text, images).encode())
    return written


def _figures(
    all_tasks: Sequence[Task],
) -> dict[str, tuple[Callable[[Any, Task], None], list[Task]]]:
    shown = [task for task in all_tasks if task.seeds]
    if not shown:
        return {}
    return {"curves": (draw_learning_curves, shown), "profiles": (draw_profiles, shown)}


def _provenance(records: Records) -> str:
    """Return a line that says what the records were made with."""
    commits = sorted({str(record["commit"]) for record in records})
    versions = records[0]["versions"]
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    failed = sum(bool(record["failed"]) for record in records)
    diverged = sum(bool(record.get("diverged")) for record in records)
    return (
        f"{len(records)} records ({failed} failed, {diverged} diverged), {records[0]['processor']}, "
        f"{made_with}; commits {', '.join(commits)}. Intervals: 95 %, percentile bootstrap over seeds."
    )


def _page(name: str, text: str, images: Sequence[tuple[str, Path]]) -> str:
    """Return one page that needs no other file."""
    body = MarkdownIt("commonmark").enable("table").render(text)
    for kind, path in images:
        data = base64.b64encode(path.read_bytes()).decode()
        body += f'<h3>{escape(kind)}</h3><img alt="{escape(kind)}" src="data:image/png;base64,{data}">'
    return _PAGE.format(title=escape(f"qdt_rl: {name}"), body=body)


def require_complete(cells: Sequence[Cell], records: Records) -> None:
    """Refuse to report on a grid of which a cell is missing or has failed.

    Raises:
        CheckpointError: With the first such cell.
    """
    by_key = {record["key"]: record for record in records}
    for cell in cells:
        record = by_key.get(cell.key())
        if record is None:
            raise CheckpointError(
                f"The record of this cell is missing; run the experiment to its end: {cell}"
            )
        if record["failed"]:
            raise CheckpointError(f"This cell failed; its traceback is in the records: {cell}")


def precision_report(records: Records) -> str:
    """Return, as Markdown, the return of each precision and context, and their differences paired by seed."""
    lines = [
        "| variant | updates | float32 | bfloat16 | difference, 95 % interval over seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    variants = sorted({record["variant"] for record in records})
    for variant in variants:
        exact, rounded = (_select(records, variant, precision) for precision in ("32", "bf16-mixed"))
        judged_at = sorted({evaluation["n_updates"] for r in exact.values() for evaluation in r})
        lines += [
            f"| `{variant}` | {n} | " + _paired(_means(exact, n, False), _means(rounded, n, False))
            for n in judged_at
        ]
    lines += [
        "",
        "| variant | updates | sliding window | cached context | difference, 95 % interval over seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for variant in variants:
        rounded = _select(records, variant, "bf16-mixed")
        last = max(evaluation["n_updates"] for r in rounded.values() for evaluation in r)
        pair = _paired(_means(rounded, last, True), _means(rounded, last, False))
        lines.append(f"| `{variant}` | {last} | {pair}")
    return "\n".join(lines) + "\n"


def _select(records: Records, variant: str, precision: str) -> dict[int, list[dict[str, Any]]]:
    return {
        record["seed"]: record["evaluations"]
        for record in records
        if record["variant"] == variant and dict(record["settings"])["precision"] == precision
    }


def _means(by_seed: Mapping[int, list[dict[str, Any]]], n_updates: int, sliding_window: bool) -> np.ndarray:
    """Return the mean return of each seed, in the order of the seeds."""
    return np.array(
        [
            np.mean(evaluation["returns"])
            for _, evaluations in sorted(by_seed.items())
            for evaluation in evaluations
            if (evaluation["n_updates"], evaluation["sliding_window"]) == (n_updates, sliding_window)
        ]
    )


def _paired(first: np.ndarray, second: np.ndarray) -> str:
    difference = second - first
    low, high = bootstrap_interval(difference)
    return (
        f"{first.mean():.0f} ± {first.std():.0f} | {second.mean():.0f} ± {second.std():.0f} | "
        f"{difference.mean():+.1f} ({low:+.1f} to {high:+.1f}) |"
    )
