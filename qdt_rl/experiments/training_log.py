"""What a training run tells while it runs: a line for the reader and a row for the file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import KVWriter, Logger

from qdt_rl.files import write_whole


class TrainingLog(KVWriter):
    """Prints each log entry on one line, and keeps all of them in a CSV file that is whole at any time.

    SB3's own CSV format opens its file before there is anything to write, orders its columns by chance, and
    leaves a cut line where it is killed.

    Args:
        path: Of the CSV file; written at the first entry.
        n_updates: Entries up to this number of updates that are in the file already are kept.
    """

    def __init__(self, path: Path, n_updates: int = 0) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        if n_updates and path.is_file():
            with path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["train/n_updates"]) <= n_updates]

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Take one entry; ``step`` is the number of updates so far."""
        self._rows.append(dict(sorted(key_values.items())))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, text.getvalue().encode())
        loss, speed = (key_values[name] for name in ("train/loss", "time/updates_per_second"))
        print(f"update {step:,}: loss {loss:.4f}, {speed:.3g} updates per second")

    def close(self) -> None:
        """Do nothing: nothing is left open."""


def training_logger(path: Path, n_updates: int = 0, more: Sequence[KVWriter] = ()) -> Logger:
    """Return the logger to give to an agent's ``set_logger``, which goes on from ``n_updates``.

    Args:
        path: Of the CSV file.
        n_updates: Entries up to this number of updates are kept.
        more: Where else entries go.
    """
    return Logger(folder=None, output_formats=[TrainingLog(path, n_updates), *more])
