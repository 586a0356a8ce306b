"""Progress bars for long work: on a terminal, and nowhere else."""

import sys
from collections.abc import Generator, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def track(items: Iterable[T], total: int, description: str, enabled: bool = True) -> Generator[T, None, None]:
    """Yield ``items``, and show how many of ``total`` are done and how long the rest will take.

    Args:
        items: The work.
        total: How many items there are.
        description: Stands before the bar.
        enabled: Whether to show a bar if standard error is a terminal.
    """
    console = Console(stderr=True)
    if not (enabled and console.is_terminal):
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    redirect = sys.stdout.isatty()  # what goes to a file goes there, and not to the terminal
    with Progress(*columns, console=console, redirect_stdout=redirect) as progress:
        yield from progress.track(items, total=total, description=description)
