"""Files that are written whole or not at all."""

import os
import uuid
from glob import escape
from pathlib import Path

_LEFTOVER = ".unfinished"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it.

    Whatever interrupts this, ``path`` holds what it held before, or all of ``content``.

    Args:
        path: Where; missing folders are made, an existing file is replaced.
        content: What.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}{_LEFTOVER}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Delete what processes that were killed while they wrote a file, or a file in a folder, have left.

    Args:
        path: A file's name, or a folder; nobody else may be writing it now.
    """
    folder, name = (path, "*") if path.is_dir() else (path.parent, escape(path.name))
    for leftover in folder.glob(f".{name}-{'?' * 32}{_LEFTOVER}"):  # 32: uuid4().hex
        leftover.unlink()


def _flush_folder(folder: Path) -> None:
    """Let the new name outlive a power cut; not every system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
