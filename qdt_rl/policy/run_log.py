"""Where ``fit`` logs by itself: standard output, and a folder of TensorBoard's that belongs to one run."""

import sys
from itertools import count
from pathlib import Path

from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger, TensorBoardOutputFormat
from stable_baselines3.common.utils import get_latest_run_id


class TensorBoardRun(TensorBoardOutputFormat):
    """Goes on with a run's log in TensorBoard.

    What a process that was killed has logged beyond the updates that this one begins with is not shown.

    Args:
        folder: Of the run.
        n_updates: Updates so far.
    """

    def __init__(self, folder: Path, n_updates: int) -> None:  # SB3's own cannot pass purge_step on
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=n_updates + 1 if n_updates else None)
        self._is_closed = False


def claim_run(folder: Path, name: str) -> str:
    """Make the folder ``<name>_<n>`` whose number follows the largest that is there, and return its name."""
    for number in count(get_latest_run_id(str(folder), name) + 1):  # another process may take it first
        try:
            (folder / f"{name}_{number}").mkdir(parents=True)
        except FileExistsError:
            continue
        return f"{name}_{number}"
    raise AssertionError("numbers do not end")


def run_logger(verbose: int, outputs: list[KVWriter]) -> Logger:
    """Return a logger with ``outputs``, which prints if it is ``verbose``.

    SB3's ``configure`` would leave an empty folder among the system's temporary files.
    """
    printed: list[KVWriter] = [HumanOutputFormat(sys.stdout)] if verbose >= 1 else []
    return Logger(folder=None, output_formats=[*printed, *outputs])
