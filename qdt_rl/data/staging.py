"""Folders that appear whole or not at all, whatever kills the process that writes them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from qdt_rl.errors import DatasetError

_FOLDER = ".qdt_rl"  # Minari lists no folder whose name starts with a dot


@contextmanager
def staged_folder(root: Path, name: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes ``root / name`` if the block ends well, and vanishes otherwise.

    A folder that is there already stays until its successor is whole and on disk. Processes take turns: who
    holds the root's lock may take what it finds there for what a killed process has left, and tidies it up.

    Args:
        root: The folder of all datasets; the staging place is inside, so on the same file system.
        name: The dataset's path in it.
        overwrite: Whether ``root / name`` is replaced if it exists.

    Yields:
        The folder to write into.

    Raises:
        DatasetError: If ``root / name`` exists and is not to be replaced.
    """
    staging = root / _FOLDER
    staging.mkdir(parents=True, exist_ok=True)
    with FileLock(staging / "lock"):
        _tidy(root, staging)
        if (root / name).exists() and not overwrite:
            raise DatasetError(f"{name!r} exists already in {root}. Pass overwrite=True to replace it.")
        new = staging / "new"
        new.mkdir()
        try:
            yield new
            _sync_files(new)
            _publish(new, root / name, staging / "replaced" / name)
        finally:
            _tidy(root, staging)


def _publish(new: Path, target: Path, replaced: Path) -> None:
    if target.exists():
        replaced.parent.mkdir(parents=True)
        target.rename(replaced)
    target.parent.mkdir(parents=True, exist_ok=True)
    new.rename(target)


def _tidy(root: Path, staging: Path) -> None:
    """Remove what a failed or killed process has left, and put back what it was about to replace."""
    for data in list((staging / "replaced").rglob("data")):
        original = root / data.parent.relative_to(staging / "replaced")
        if not original.exists():
            data.parent.rename(original)
    for leftover in ("new", "replaced"):
        if (staging / leftover).exists():
            shutil.rmtree(staging / leftover)


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
