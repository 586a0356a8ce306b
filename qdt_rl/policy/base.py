"""What every offline agent does alike: fit a dataset, continue, predict, save and load."""

import uuid
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from qdt_rl.config import require_whole
from qdt_rl.data.minari_reader import (
    check_spaces,
    environment_id,
    load_dataset,
    read_trajectories,
    reference_scores,
)
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.env_ids import may_name_same_env
from qdt_rl.errors import CheckpointError, DatasetError, DatasetWarning, InputError
from qdt_rl.model.base import ActionModel
from qdt_rl.policy import agent_file
from qdt_rl.policy.inputs import ActingInput, read_input
from qdt_rl.policy.run import SavedRun, TrainingRun
from qdt_rl.policy.sb3_face import SB3Face
from qdt_rl.progress import track
from qdt_rl.training import Trainer, train

if TYPE_CHECKING:
    from minari import MinariDataset
    from stable_baselines3.common.type_aliases import MaybeCallback


class OfflinePolicy(SB3Face):
    """A policy that learns from a Minari dataset, with the face of an SB3 algorithm.

    A subclass says which model it trains and how it acts.

    Args:
        settings: As ``Configured`` has them; ``verbose`` and ``tensorboard_log`` are among them.
        device: Where to train and act: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``, or torch's object.

    Attributes:
        observation_space: The dataset's, once fitted.
        action_space: The dataset's, once fitted.
        reference_scores: The dataset's (minimum, maximum) for normalised scores; None without, or of several.
        best_return: The largest return of an episode in the data of every ``fit`` so far, or None before.
        env_id: The environment of the data; None where it names none, or several, of which ``fit`` warns.
    """

    config_type: ClassVar[type[Any]]
    is_return_conditioned: ClassVar[bool]
    """Whether it heeds the target return."""

    def __init__(self, settings: dict[str, Any], device: str | torch.device) -> None:
        super().__init__(settings, device)
        self.reference_scores: tuple[float, float] | None = None
        self.best_return: float | None = None
        self.env_id: str | None = None
        self._identity = uuid.uuid4().hex
        self._run: TrainingRun | None = None  # comes with the model

    @abstractmethod
    def _configure(self, observation_size: int, action_size: int, max_timestep: int) -> Any:
        """Return the model's configuration: an instance of ``config_type``.

        Args:
            observation_size: S.
            action_size: A.
            max_timestep: The length of the longest episode.
        """

    @abstractmethod
    def _build(self, config: Any, seed: int | None) -> ActionModel:
        """Return a new model; without a seed, on the meta device."""

    @abstractmethod
    def _act(self, given: ActingInput, state: Any) -> tuple[Float32[np.ndarray, "batch action"], Any]:
        """Return actions in environment units, and the state after them."""

    def _select(self, trajectories: Trajectories) -> Trajectories:
        """Return the part of the data to learn from."""
        return trajectories

    @property
    def is_fitted(self) -> bool:
        """Whether there is a model yet."""
        return self._run is not None

    @property
    def model(self) -> ActionModel:
        """The torch module; in evaluation mode but while it trains. Only its values may be changed."""
        self._require_fit("show its model")
        return cast(TrainingRun, self._run).model

    @property
    def num_timesteps(self) -> int:
        """Updates so far, under the name that SB3's callbacks read."""
        return 0 if self._run is None else self._run.n_updates

    def fit(
        self,
        dataset: "MinariDataset | str",
        n_steps: int = 10_000,
        callback: "MaybeCallback" = None,
        log_interval: int = 100,
        progress_bar: bool = False,
    ) -> Self:
        """Train on a dataset; called again, train on.

        Statistics, scales, optimiser and random numbers go on, so that ``fit(d, a)`` and then ``fit(d, b)``
        equals ``fit(d, a + b)``.

        Args:
            dataset: A Minari dataset or its id; the episodes that a filtered or split dataset names.
            n_steps: Updates to take.
            callback: SB3 callbacks, called after every update; one that returns False ends the training.
            log_interval: Updates between two log entries.
            progress_bar: Show one, if standard error is a terminal.

        Returns:
            The policy itself.

        Raises:
            DatasetError: If the dataset is missing, empty or damaged, or its spaces do not fit.
            ConfigError: If a number is out of its range, every parameter is frozen, a part of the model was
                replaced by another, or ``Checkpoints`` finds another run in its folder.
            DivergenceError: If training produces a value that is not finite; the weights are those before.
            MissingExtraError: If ``tensorboard_log`` is set and TensorBoard is not installed.
        """
        n_steps = require_whole("n_steps", n_steps, 0)
        log_interval = require_whole("log_interval", log_interval, 1)
        from qdt_rl.policy.callbacks import as_callback

        with ExitStack() as at_the_end:  # the last that is registered comes first
            with self._unchanged_if_refused():
                updates = train(*self._take_up(load_dataset(dataset)), n_steps)
                at_the_end.callback(cast(TrainingRun, self._run).put_down)
                hooks = as_callback(callback)
                _ = self.logger  # a run's log begins before its first update
                hooks.init_callback(self)  # type: ignore[arg-type]  # SB3 names its base; we have what it reads
                hooks.on_training_start({"self": self, "total_timesteps": self.num_timesteps + n_steps}, {})
            at_the_end.callback(hooks.on_training_end)
            at_the_end.callback(self.model.eval)
            tracked = track(updates, n_steps, "Training", progress_bar)
            for update in self._logged(at_the_end.enter_context(closing(tracked)), log_interval):
                hooks.update_locals({"update": update})
                if not hooks.on_step():
                    break
        return self

    def predict(
        self,
        observation: Any,
        target_return: Any = None,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Choose actions. Calls are pure: nothing is kept on the policy, and ``state`` is not changed.

        Args:
            observation: (S,) or (B, S), environment units, or a Dict ``{"observation", "return_to_go"}``.
            target_return: The return still wanted from this observation on, a number or one per row: the
                caller subtracts each reward. A Dict observation carries its own.
            state: What the previous call of the same episodes returned; None at their start.
            episode_start: (B,), rows that begin a new episode now.
            deterministic: Nothing changes: the model defines no distribution to draw from.

        Returns:
            Actions (A,) or (B, A) in the action space's dtype and bounds, and the state for the next call.

        Raises:
            NotFittedError: Before ``fit``.
            InputError: If an argument does not fit.
        """
        self._require_fit("act")
        box = self.action_space
        given = read_input(observation, target_return, episode_start, self.observation_space.shape[0])
        actions, state = self._act(given, state)
        if not np.isfinite(actions).all():
            raise InputError(
                "The actions are not finite: the observation or the target return is far too large, or the "
                "weights have diverged."
            )
        actions = np.clip(actions, box.low, box.high).astype(box.dtype)
        return (actions if given.is_batch else actions[0]), state

    @contextmanager
    def _unchanged_if_refused(self) -> Iterator[None]:
        """Let a training that cannot begin leave the policy as it was: unfitted, if this is the first."""
        known = {name: getattr(self, name) for name in ("_run", "env_id", "reference_scores", "best_return")}
        try:
            yield
        except BaseException:
            vars(self).update(known)
            raise

    def _take_up(self, dataset: "MinariDataset") -> tuple[Trainer, WindowSampler]:
        """Return the run that this dataset begins or goes on with."""
        spaces = dataset.observation_space, dataset.action_space
        check_spaces(*spaces)
        if self._run is not None and spaces != (self.observation_space, self.action_space):
            raise DatasetError(
                f"The dataset has observations {spaces[0]} and actions {spaces[1]}, but this "
                f"policy was fitted to {self.observation_space} and {self.action_space}; fit a new policy."
            )
        env_id, trajectories = environment_id(dataset), self._select(read_trajectories(dataset))
        run = self._run
        if run is None:
            self.observation_space, self.action_space = spaces
            self.reference_scores = reference_scores(dataset)
            self.env_id = env_id
            run = self._new_run(self._new_model(trajectories))
        elif not may_name_same_env(self.env_id, env_id):
            self._forget_environment(env_id)
        taken_up = run.take_up(trajectories)
        self._run = run
        best_here = float(trajectories.episode_returns.max())
        self.best_return = best_here if self.best_return is None else max(best_here, self.best_return)
        return taken_up

    def _forget_environment(self, another: str | None) -> None:
        warnings.warn(
            f"The dataset comes from {another}, but this policy was fitted to data of {self.env_id}; "
            "name the environment and the reference scores in every evaluation from now on.",
            DatasetWarning,
            stacklevel=4,
        )
        self.env_id = self.reference_scores = None

    def _new_model(self, trajectories: Trajectories) -> ActionModel:
        model = self._build(self._own_config(int(trajectories.episode_lengths.max())), self._seeds()[0])
        box = self.action_space
        model.scaling.fit(trajectories.observations, trajectories.returns_to_go, box.low, box.high)
        return model.eval()

    def _own_config(self, max_timestep: int) -> Any:
        """Return the configuration that this policy's settings and spaces ask for."""
        return self._configure(self.observation_space.shape[0], self.action_space.shape[0], max_timestep)

    def _new_run(self, model: ActionModel, saved: SavedRun | None = None) -> TrainingRun:
        _, *seeds = self._seeds()
        return TrainingRun(model, self.train_config, self.context_length, seeds, self._device, saved)

    def _seeds(self) -> list[int]:
        """Return independent seeds for the initial weights, the dropout masks and the windows."""
        return [int(seed) for seed in np.random.SeedSequence(self.seed).generate_state(3)]

    def _dump(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that makes this policy, as JSON content and tensors."""
        run = cast(TrainingRun, self._run).dump()
        content = {
            "class": type(self).__name__,
            "settings": self._settings,
            "model_config": asdict(self.model.config),
            "num_timesteps": run.n_updates,
            "sampler": run.sampler_state,
            "reference_scores": agent_file.read_scores(self.reference_scores),
            "best_return": self.best_return,
            "env_id": agent_file.read_env_id(self.env_id),
            "tensorboard_run": self._tensorboard_run,
        }
        boxes = agent_file.box_to_tensors("observation_space", self.observation_space)
        boxes |= agent_file.box_to_tensors("action_space", self.action_space)
        return content, run.tensors | boxes

    def _restore(self, content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become the policy that ``_dump`` described."""
        self.observation_space = agent_file.box_from_tensors("observation_space", tensors)
        self.action_space = agent_file.box_from_tensors("action_space", tensors)
        check_spaces(self.observation_space, self.action_space)
        self.reference_scores = agent_file.read_scores(content["reference_scores"])
        self.best_return = agent_file.read_number(content["best_return"])
        self.env_id = agent_file.read_env_id(content["env_id"])
        run_name = content.get("tensorboard_run")  # younger than the format
        self._tensorboard_run = agent_file.read_run_name(run_name)
        config = self.config_type(**content["model_config"])
        if config != self._own_config(getattr(config, "max_timestep", 1)):
            raise CheckpointError(f"The settings and the spaces ask for another model than {config}.")
        model = self._build(config, seed=None).eval()
        agent_file.fill(model, agent_file.below("model.", tensors))
        saved = SavedRun(content["num_timesteps"], content["sampler"], tensors)
        saved.check(model)
        self._run = self._new_run(model.to(self.device), saved)
