"""What the command line prints, and how."""

from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

console = Console()
errors = Console(stderr=True)


def print_line(text: str) -> None:
    """Print a line as it is: neither wrapped, nor read as markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_written(paths: Iterable[Path]) -> None:
    """Name the files that were written."""
    for path in paths:
        print_line(f"Wrote {path}")


def print_error(error: Exception) -> None:
    """Print an error on one line."""
    text = " ".join(str(error).split()) or f"{type(error).__name__}."
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}."
    _print_headed("Error", "bold red", text)


def print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning on one line, without the line of code that it comes from: ``warnings.showwarning``."""
    _print_headed("Warning", "bold yellow", " ".join(str(message).split()))


def _print_headed(head: str, style: str, text: str) -> None:
    errors.print(Text.assemble((f"{head}: ", style), text), highlight=False, soft_wrap=True)
