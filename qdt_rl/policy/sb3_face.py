"""The attributes through which SB3's callbacks and tools meet an algorithm."""

from abc import abstractmethod
from collections.abc import Iterator
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from qdt_rl.config import require
from qdt_rl.errors import InputError, MissingExtraError
from qdt_rl.model.base import ActionModel
from qdt_rl.policy.agent_file import Place, below, read_agent
from qdt_rl.policy.persistence import Persistent
from qdt_rl.training import Update

if TYPE_CHECKING:
    from stable_baselines3.common.logger import KVWriter, Logger

    from qdt_rl.policy.vec_env import ReturnConditionedVecEnv


class SB3Face(Persistent):
    """Logging, environments and parameters under SB3's names, for an offline agent."""

    @property
    @abstractmethod
    def model(self) -> ActionModel:
        """The torch module."""

    observation_space: spaces.Box
    action_space: spaces.Box

    def __init__(self, settings: dict[str, Any], device: str | torch.device) -> None:
        super().__init__({**settings, "tensorboard_log": None}, device)
        self._given_logger: Logger | None = None
        self._own_logger: Logger | None = None
        self._tensorboard_run: str | None = None
        self.tensorboard_log = settings["tensorboard_log"]
        self.verbose = settings["verbose"]

    @property
    def tensorboard_log(self) -> str | None:
        """The folder of TensorBoard's logs, or None; ``save`` keeps it, and the next log heeds a change."""
        folder: str | None = self._settings["tensorboard_log"]
        return folder

    @tensorboard_log.setter
    def tensorboard_log(self, folder: str | PathLike[str] | None) -> None:
        is_place = folder is None or isinstance(folder, str | PathLike)
        require(is_place, "tensorboard_log", "a folder or None", folder)
        path = None if folder is None else fspath(folder)
        if path != self.tensorboard_log:
            self._settings["tensorboard_log"], self._tensorboard_run = path, None
            self._own_logger = None

    @property
    def verbose(self) -> int:
        """1 prints the log to standard output; ``save`` keeps it, and the next log heeds a change."""
        verbose: int = self._settings["verbose"]
        return verbose

    @verbose.setter
    def verbose(self, verbose: int) -> None:
        require(isinstance(verbose, int | np.integer), "verbose", "a whole number", verbose)
        if verbose != self.verbose:
            self._own_logger = None
        self._settings["verbose"] = int(verbose)

    @property
    @abstractmethod
    def num_timesteps(self) -> int:
        """Updates so far, under the name that SB3's callbacks read."""

    @property
    def logger(self) -> "Logger":
        """Where ``fit`` logs: what ``set_logger`` gave, or one after ``verbose`` and ``tensorboard_log``."""
        if self._given_logger is not None:
            return self._given_logger
        if self._own_logger is None:
            from qdt_rl.policy.run_log import run_logger

            self._own_logger = run_logger(self.verbose, self.tensorboard_outputs())
        return self._own_logger

    def set_logger(self, logger: "Logger") -> None:
        """Log to ``logger`` from now on; ``stable_baselines3.common.logger.configure`` makes one."""
        self._given_logger = logger

    def tensorboard_outputs(self) -> "list[KVWriter]":
        """Return what goes on with this run's log in ``tensorboard_log``, for a logger; nothing without one.

        The run has a folder of its own in there, whose name an agent's file keeps.

        Raises:
            MissingExtraError: If TensorBoard is not installed.
        """
        if self.tensorboard_log is None:
            return []
        if find_spec("tensorboard") is None:
            raise MissingExtraError("tensorboard_log needs TensorBoard: pip install tensorboard.")
        from qdt_rl.policy.run_log import TensorBoardRun, claim_run

        folder = Path(self.tensorboard_log)
        if self._tensorboard_run is None:
            self._tensorboard_run = claim_run(folder, type(self).__name__)
        return [TensorBoardRun(folder / self._tensorboard_run, self.num_timesteps)]

    def dump_logs(self) -> None:
        """Write what was recorded to the log's outputs."""
        self.logger.dump(self.num_timesteps)

    def _logged(self, updates: Iterator[Update], log_interval: int) -> Iterator[Update]:
        """Yield updates, and log their means every ``log_interval``."""
        recent: list[Update] = []
        start = perf_counter()
        for update in updates:
            recent.append(update)
            if self.num_timesteps % log_interval == 0:
                for name, values in zip(Update._fields, zip(*recent, strict=True), strict=True):
                    self.logger.record(f"train/{name}", float(np.mean(values)))
                self.logger.record("train/n_updates", self.num_timesteps)
                self.logger.record("time/updates_per_second", len(recent) / (perf_counter() - start))
                self.dump_logs()
                recent, start = [], perf_counter()
            yield update

    def get_env(self) -> "ReturnConditionedVecEnv":
        """Return the dataset's spaces in an environment without steps: there is none to train in."""
        from qdt_rl.policy.callbacks import offline_env

        self._require_fit("name its spaces")
        return offline_env(self.observation_space, self.action_space)

    def get_vec_normalize_env(self) -> None:
        """Return None: statistics are the model's own."""
        return

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return ``{"policy": state_dict}``, weights and scales by name."""
        self._require_fit("give parameters")
        return {"policy": self.model.state_dict()}

    def set_parameters(self, parameters: dict[str, dict[str, Any]] | Place, exact_match: bool = True) -> None:
        """Load weights and scales.

        Args:
            parameters: As ``get_parameters`` returns them, or the file of an agent whose they are.
            exact_match: Whether every weight must be given.

        Raises:
            CheckpointError: If the file is missing, damaged, or no agent of this library.
            InputError: If a name is missing or unknown, a shape does not fit or a value is not finite;
                nothing is loaded then.
        """
        self._require_fit("take parameters")
        given: Any = parameters
        if isinstance(given, str | PathLike) or hasattr(given, "read"):
            given = {"policy": below("model.", read_agent(given)[1])}
        names = list(given) if isinstance(given, dict) else type(given).__name__
        if names != ["policy"]:
            raise InputError(f"Expected a dict with 'policy' alone, but got {names}.")
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            _, unknown = self.model.load_state_dict(given["policy"], strict=exact_match)
            wild = [name for name, tensor in self.model.state_dict().items() if not tensor.isfinite().all()]
            problems = [f"it has no {name}" for name in unknown]
            problems += [f"{name} holds values that are not finite" for name in wild]
        except (RuntimeError, TypeError) as error:
            problems = [str(error)]
        if problems:
            self.model.load_state_dict(before)
            raise InputError(f"These parameters do not fit the model: {'; '.join(problems)}.")
