"""Records of experiments on disk: JSON lines, each a gzip member of its own, appended as cells end."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qdt_rl.errors import RecordError
from qdt_rl.experiments.cells import Cell

_GZIP = 31  # zlib's name for the format with a gzip header and checksum


def records_path(folder: Path, name: str) -> Path:
    """Return where an experiment's records are."""
    return folder / f"{name}.jsonl.gz"


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record, flushed to disk, or leave the file as it was. Gzip's members may follow one another.

    An interrupt takes back no record that is whole; one that it cuts off is dropped when the grid goes on.

    Raises:
        OSError: If there is no room for it.
        ValueError: If the record holds a number that is not finite.
    """
    line = json.dumps(record, allow_nan=False) + "\n"
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(gzip.compress(line.encode(), mtime=0))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(path, size)
        raise


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records in a file, none if there is no file; of a cell that was run twice, the last.

    What a kill has cut off at the end is left out.

    Raises:
        RecordError: If a line is no record.
    """
    if not path.exists():
        return []
    records = {}
    text = b"".join(member for member, _ in _members(path.read_bytes())).decode()
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(line)
            record["key"] = Cell.present_key(record["key"])
            records[record["key"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path}, line {number} is no record of an experiment: {error}") from error
    return list(records.values())


def drop_cut_record(path: Path) -> None:
    """Remove what a kill has left of a record at the end of a file."""
    end = 0
    for _, end in _members(path.read_bytes()):  # noqa: B007  # the last one counts
        pass
    os.truncate(path, end)


def _members(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each whole gzip member, decompressed, and where it ends."""
    start = 0
    while start < len(content):
        member = zlib.decompressobj(_GZIP)
        try:
            text = member.decompress(content[start:])
        except zlib.error as error:
            raise RecordError(f"The records are damaged at byte {start}: {error}") from error
        if not member.eof:
            return
        start = len(content) - len(member.unused_data)
        yield text, start
