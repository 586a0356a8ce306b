"""Checkpoints while a policy trains, so that a run that is killed goes on where it was."""

import re
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from qdt_rl.config import require_whole
from qdt_rl.errors import ConfigError
from qdt_rl.files import remove_leftovers

_STEP = re.compile(r"step-(\d{12})\.zip")
_BEST = re.compile(r"best-(\d{12})-(\d+\.\d+(?:e[-+]\d+)?|\d+e[-+]\d+)\.zip")


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named as ``Checkpoints`` names its own."""
    return any(pattern.fullmatch(path.name) for pattern in (_STEP, _BEST))


class Checkpoints(BaseCallback):
    """Saves the policy every so many updates; keeps the newest ones, and the best by mean training loss.

    Each file is an agent like any other: ``step-<updates>.zip`` and ``best-<updates>-<loss>.zip``. They are
    written whole or not at all, and an old one goes only when the new one is on disk. From the second
    update on, Ctrl-C ends the training after the update under way, with a checkpoint of it; of several of
    these in one training, the first writes it.

    Args:
        folder: Where; made if it is not there.
        save_freq: Updates between two checkpoints, counted from the policy's first update.
        n_kept: How many of the newest to keep.

    Raises:
        ConfigError: If a number is out of its range; when a training begins, if the folder holds a checkpoint
            after more updates than the policy has taken, or this is inside another callback.
    """

    def __init__(self, folder: str | Path, save_freq: int = 1000, n_kept: int = 3) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.save_freq = require_whole("save_freq", save_freq, 1)
        self.n_kept = require_whole("n_kept", n_kept, 1)
        self._losses: list[float] = []
        self._is_interrupted = False
        self._is_watching = False
        self._previous_handler: Any = signal.default_int_handler

    def newest(self) -> Path | None:
        """Return the checkpoint to go on from, or None if there is none."""
        return max(self._files(_STEP), default=None)

    def best(self) -> Path | None:
        """Return the checkpoint with the lowest mean loss since the one before it, or None.

        Where training was interrupted between two, the mean is of the updates since it went on.
        """
        return max(self._files(_BEST), default=None)

    def remove(self) -> None:
        """Delete the checkpoints, and the folder unless something else is in it."""
        for path in [*self._files(_STEP), *self._files(_BEST)]:
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _init_callback(self) -> None:
        if self.parent is not None:
            raise ConfigError(
                "Checkpoints needs every update: give it to fit itself, alone or in a list of callbacks, and "
                f"not to a {type(self.parent).__name__}."
            )

    def _on_training_start(self) -> None:
        self._refuse_later_updates()
        remove_leftovers(self.folder)
        self._losses, self._is_interrupted = [], False
        if self.model.num_timesteps == 0:  # of a run that was killed before its first step file
            for path in self._files(_BEST):
                path.unlink()

    def _refuse_later_updates(self) -> None:
        """Raise a ConfigError rather than let this run's own files be the oldest, and go at once."""
        newest, n_updates = self.newest(), self.model.num_timesteps
        if newest is not None and _updates(newest) > n_updates:
            raise ConfigError(
                f"{newest} is a checkpoint after {_updates(newest):,} updates, but this policy has taken "
                f"{n_updates:,}. Load it to go on with its run, name another folder, or delete the "
                "checkpoints there with Checkpoints(folder).remove()."
            )

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        signal.signal(signal.SIGINT, self._previous_handler)  # a second Ctrl-C ends at once

    def _on_step(self) -> bool:
        self._losses.append(self.locals["update"].loss)
        n_updates, is_interrupted = self.model.num_timesteps, self._is_interrupted  # read once: it may change
        if n_updates % self.save_freq == 0:
            self._save_best(n_updates, float(np.mean(self._losses)))
            self._losses = []
        if n_updates % self.save_freq == 0 or is_interrupted:
            self._save_newest(n_updates)
        if is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt
        if not self._is_watching:  # not from the start: where another callback's fails, no end is called
            self._watch()
        return True

    def _watch(self) -> None:
        """Let Ctrl-C wait for the update under way, where Python hears it and no other instance does so."""
        handler = signal.getsignal(signal.SIGINT)
        is_heard = handler not in (None, signal.SIG_IGN)  # a script's & lets it be ignored
        is_free = is_heard and not isinstance(getattr(handler, "__self__", None), Checkpoints)
        if is_free and threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._interrupt)
            self._is_watching = True

    def _on_training_end(self) -> None:
        if self._is_watching and signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, self._previous_handler)
        self._is_watching = False
        if self._is_interrupted:  # after this one's last step: a later callback was at work
            self._is_interrupted = False
            self._save_newest(self.model.num_timesteps)
            raise KeyboardInterrupt

    def _save_newest(self, n_updates: int) -> None:
        self.model.save(self.folder / f"step-{n_updates:012d}.zip")
        for path in sorted(self._files(_STEP))[: -self.n_kept]:
            path.unlink()

    def _save_best(self, n_updates: int, loss: float) -> None:
        previous = self._files(_BEST)
        if any(_loss(path) <= loss for path in previous if _updates(path) < n_updates):
            return
        kept = self.folder / f"best-{n_updates:012d}-{loss!r}.zip"
        self.model.save(kept)
        for path in previous:
            if path != kept:
                path.unlink()

    def _files(self, pattern: re.Pattern[str]) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if pattern.fullmatch(path.name)]


def _updates(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _loss(path: Path) -> float:
    return float(path.stem.split("-", 2)[2])
