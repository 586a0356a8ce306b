"""A policy's training so far: what ``fit`` goes on with, and what ``save`` keeps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from qdt_rl.config import TrainConfig, is_whole
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.errors import CheckpointError, ConfigError
from qdt_rl.model.base import ActionModel
from qdt_rl.training import Trainer, check_tensors, dropouts


class SavedRun(NamedTuple):
    """A training run at rest: updates taken, the sampler's generator, and ``Trainer.tensors``."""

    n_updates: int
    sampler_state: dict[str, Any]
    tensors: dict[str, Tensor]

    def check(self, model: ActionModel) -> None:
        """Refuse what a run cannot go on from.

        Raises:
            CheckpointError: If something is missing, or is not what it must be.
        """
        if not is_whole(self.n_updates, 0, 2**53):
            raise CheckpointError(f"The updates taken must be a whole number, but are {self.n_updates!r}.")
        generator: Any = np.random.PCG64()
        try:
            generator.state = self.sampler_state
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"The sampler's state is none: {error}") from error
        check_tensors(model, self.tensors, self.n_updates)


class TrainingRun:
    """The trainer and the sampler of one model, made when they are first needed.

    Args:
        model: What is trained.
        config: How.
        context_length: K, the timesteps of a window.
        seeds: Of the dropout masks and of the windows.
        device: Where to train.
        saved: Where to go on from; None begins.
    """

    def __init__(
        self,
        model: ActionModel,
        config: TrainConfig,
        context_length: int,
        seeds: Sequence[int],
        device: str,
        saved: SavedRun | None = None,
    ) -> None:
        self.model = model
        self._parts = _parts(model)
        self._config = config
        self._context_length = context_length
        self._dropout_seed, self._window_seed = seeds
        self._device = device
        self._saved = saved
        self._trainer: Trainer | None = None
        self._sampler: WindowSampler | None = None
        self._sampler_state = None if saved is None else saved.sampler_state

    @property
    def n_updates(self) -> int:
        """Updates taken so far."""
        if self._trainer is not None:
            return self._trainer.n_updates
        return 0 if self._saved is None else self._saved.n_updates

    def take_up(self, trajectories: Trajectories) -> tuple[Trainer, WindowSampler]:
        """Return what trains on ``trajectories``, in the state in which the run stands.

        Raises:
            ConfigError: If the model has other parts than it was built with.
        """
        self.put_down()
        self._require_own_parts()
        if self._trainer is not None and not self._trainer.trains(self.model):  # others took their place
            self._saved, self._trainer = self.dump(), None
        if self._trainer is None:
            trainer = Trainer(self.model, self._config, self._dropout_seed, self._device)
            if self._saved is not None:
                trainer.load_tensors(self._saved.tensors, self._saved.n_updates)
            self._trainer, self._saved = trainer, None
        size = self._config.batch_size
        self._sampler = WindowSampler(trajectories, self._context_length, size, self._window_seed)
        if self._sampler_state is not None:
            self._sampler.state = self._sampler_state
        return self._trainer, self._sampler

    def put_down(self) -> None:
        """Let go of the data, and keep where its sampler stands."""
        if self._sampler is not None:
            self._sampler_state, self._sampler = self._sampler.state, None

    def dump(self) -> SavedRun:
        """Return the run at rest, with the model's present weights.

        Raises:
            ConfigError: If the model has other parts than it was built with.
        """
        self._require_own_parts()
        state = self._sampler_state if self._sampler is None else self._sampler.state
        if self._trainer is not None and state is not None:
            return SavedRun(self._trainer.n_updates, state, self._trainer.tensors())
        if self._saved is None:
            raise RuntimeError("a run that has not begun cannot be dumped")
        weights = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return self._saved._replace(tensors=self._saved.tensors | weights)

    def _require_own_parts(self) -> None:
        others = sorted({name for name, _ in self._parts.items() ^ _parts(self.model).items()})
        if others:
            raise ConfigError(
                f"The model has other parts than it was built with: {', '.join(others[:3])}"
                f"{' and more' if len(others) > 3 else ''}. The values of its parameters may change; their "
                "names, shapes and dtypes may not, since no file of it could be loaded."
            )


def _parts(model: ActionModel) -> dict[str, tuple[Any, ...]]:
    """Return what a file of the model must fit: its tensors by name, and how many generators it has."""
    parts: dict[str, tuple[Any, ...]] = {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in model.state_dict().items()
    }
    return parts | {"dropout": (len(dropouts(model)),)}
