"""Training: one update at a time, on windows from wherever they come."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from qdt_rl.config import Precision, TrainConfig, require
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.windows import Windows
from qdt_rl.errors import CheckpointError, ConfigError, DivergenceError
from qdt_rl.memory import keep_freed_memory
from qdt_rl.model.base import ActionModel
from qdt_rl.model.dropout import Dropout
from qdt_rl.model.transformer import is_matrix

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Update(NamedTuple):
    """What one update measured: the loss, the gradient's norm before clipping, the learning rate."""

    loss: float
    gradient_norm: float
    learning_rate: float


def masked_mse(
    predicted: Float[Tensor, "batch context action"],
    actions: Float[Tensor, "batch context action"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return the mean squared error over real actions.

    Args:
        predicted: (B, K, A).
        actions: (B, K, A), anything where the window is padded.
        lengths: (B,), the real timesteps of each window; padding stands on the right.

    Returns:
        The mean over all entries of all real actions.
    """
    real = torch.arange(actions.shape[1], device=actions.device) < lengths.unsqueeze(1)
    return (predicted - actions)[real].square().mean()


def resolve_precision(precision: Precision, device_type: str) -> Precision:
    """Return the precision that ``"auto"`` means: bfloat16 where the processor computes in it natively."""
    if precision != "auto":
        return precision
    if device_type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device_type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    else:
        native = False
    return "bf16-mixed" if native else "32"


def require_device(device: str | torch.device) -> str:
    """Return the name of ``device``; raise a ConfigError unless this machine has it."""
    device = str(device) if isinstance(device, torch.device) else device
    if device == "cuda":
        is_here = torch.cuda.is_available()
    else:
        is_here = device in ("auto", "cpu") or (device == "mps" and torch.backends.mps.is_available())
    expected = "'auto', 'cpu', or a 'cuda' or 'mps' that this machine has, without an index"
    require(is_here, "device", expected, device)
    return device


def resolve_device(device: str) -> str:
    """Return the device that ``"auto"`` means: the first of CUDA, MPS and the CPU that this machine has."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Trainer:
    """A training run: the model, its optimiser, its schedule and its random numbers.

    Args:
        model: What to train.
        config: How to train.
        seed: Of the dropout masks.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    def __init__(self, model: ActionModel, config: TrainConfig, seed: int = 0, device: str = "auto") -> None:
        self.model = model
        self.config = config
        self.n_updates = 0
        self._parameters = dict(model.named_parameters())
        self._dropouts = dropouts(model)
        for dropout in self._dropouts:
            dropout.generator.manual_seed(seed)
        self.fabric = _launch_fabric(config.precision, device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay), config.learning_rate, fused=True
        )
        self._model, self._optimizer = self.fabric.setup(model, self.optimizer)

    def update(self, windows: Windows) -> Update:
        """Take one step of AdamW on a batch of windows.

        Args:
            windows: (B, K) timesteps in the units of the data, padded on the right.

        Raises:
            DivergenceError: If the loss or the gradient is not finite; the weights stay as they were.
        """
        self._optimizer.zero_grad()  # a backward of the user's own may have left some
        try:
            return self._take_step(windows)
        finally:
            self._optimizer.zero_grad()

    def _take_step(self, windows: Windows) -> Update:
        if not self.model.training:
            self.model.train()
        learning_rate = self._warm_up()
        returns_to_go, observations, actions, timesteps, lengths = self._tensors(windows)
        predicted = self._model(returns_to_go, observations, actions, timesteps)
        loss = masked_mse(predicted, self.model.scaling.actions(actions), lengths)
        self.fabric.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), self.config.max_grad_norm)
        update = Update(loss.item(), norm.item(), learning_rate)
        if not (np.isfinite(update.loss) and np.isfinite(update.gradient_norm)):
            raise DivergenceError(self._diagnose(update))
        self._optimizer.step()
        self.n_updates += 1
        return update

    def tensors(self) -> dict[str, Tensor]:
        """Return the run's state by name: weights, AdamW's moments and steps, generators.

        A parameter that has been frozen has taken fewer steps than the run.
        """
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self._parameters.items() if self.n_updates else ():
            moments = self.optimizer.state.get(parameter, {})  # none of one that has always been frozen
            for moment in _MOMENTS:
                value = moments[moment] if moments else torch.zeros_like(parameter)
                state[f"optimizer.{moment}.{name}"] = value
            step = moments["step"] if moments else torch.zeros((), dtype=torch.float32)
            if step != self.n_updates:
                state[f"optimizer.step.{name}"] = step
        state |= {f"generator.{i}": dropout.generator.get_state() for i, dropout in enumerate(self._dropouts)}
        return state

    def load_tensors(self, state: dict[str, Tensor], n_updates: int) -> None:
        """Take up a run where ``tensors`` described it, but for the weights, which are the model's to load.

        Raises:
            CheckpointError: If a tensor is missing, or has another shape or dtype.
        """
        check_tensors(self.model, state, n_updates)
        for name, parameter in self.model.named_parameters():
            step = state.get(f"optimizer.step.{name}", torch.tensor(n_updates))
            if step > 0:  # else it has been frozen so far
                moments = {moment: state[f"optimizer.{moment}.{name}"].to(parameter) for moment in _MOMENTS}
                moments["step"] = step.to(parameter.device, torch.float32, copy=True)
                self.optimizer.state[parameter] = moments
        for i, dropout in enumerate(self._dropouts):
            dropout.generator.set_state(state[f"generator.{i}"])
        self.n_updates = n_updates

    def trains(self, model: ActionModel) -> bool:
        """Whether the model still has the parameters that this run trains, and none that took their place."""
        held = {name: id(parameter) for name, parameter in self._parameters.items()}
        return held == {name: id(parameter) for name, parameter in model.named_parameters()}

    def _warm_up(self) -> float:
        progress = (self.n_updates + 1) / max(1, self.config.warmup_steps)
        learning_rate = self.config.learning_rate * min(1.0, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def _tensors(self, windows: Windows) -> Iterator[Tensor]:
        return (torch.from_numpy(array).to(self.fabric.device) for array in windows)

    def _diagnose(self, update: Update) -> str:
        return (
            f"Divergence at update {self.n_updates + 1}: {self._first_not_finite(update)} (loss "
            f"{update.loss}, gradient norm {update.gradient_norm}, learning rate {update.learning_rate:g}). "
            "The weights are those before it. Lower the learning rate, or look for extreme values in the "
            "dataset."
        )

    def _first_not_finite(self, update: Update) -> str:
        """Return what was not finite first: a weight before the update, the loss, or a gradient."""
        for name, parameter in self.model.named_parameters():
            if not parameter.isfinite().all():
                return f"the weight {name} was not finite after update {self.n_updates}"
        if not np.isfinite(update.loss):
            return "the loss is not finite"
        return "the gradient is not finite"


def check_tensors(model: ActionModel, state: dict[str, Tensor], n_updates: int) -> None:
    """Refuse a training state, as ``Trainer.tensors`` names it, that does not fit a model; weights apart.

    Raises:
        CheckpointError: If a tensor is missing, has another shape or dtype, or cannot be what it is named.
    """
    for name, parameter in model.named_parameters():
        for moment in _MOMENTS if n_updates else ():
            found = state.get(f"optimizer.{moment}.{name}")
            fits = found is not None and (found.shape, found.dtype) == (parameter.shape, parameter.dtype)
            if not fits or (moment == "exp_avg_sq" and (cast(Tensor, found) < 0).any()):
                raise CheckpointError(f"The saved training state does not fit: {moment} of {name}.")
        step = state.get(f"optimizer.step.{name}")
        if step is not None and (step.shape != () or not 0 <= step <= n_updates):
            raise CheckpointError(f"The saved training state does not fit: step of {name}.")
    for i in range(len(dropouts(model))):
        try:
            torch.Generator().set_state(state[f"generator.{i}"])
        except (KeyError, RuntimeError, TypeError) as error:
            raise CheckpointError(f"The saved training state does not fit: generator {i}: {error}") from error


def dropouts(model: nn.Module) -> list[Dropout]:
    """Return a model's dropout layers in order, each with a generator of its own."""
    return [module for module in model.modules() if isinstance(module, Dropout)]


def train(trainer: Trainer, sampler: WindowSampler, n_steps: int) -> Iterator[Update]:
    """Take ``n_steps`` updates on windows from ``sampler``, and yield each as it is done.

    Raises:
        ConfigError: At once, if there are updates to take, and every parameter is frozen.
        DivergenceError: As ``Trainer.update``.
    """
    if n_steps and not any(parameter.requires_grad for parameter in trainer.model.parameters()):
        raise ConfigError(
            "Every parameter of the model is frozen; call requires_grad_() on what is to train."
        )
    return _updates(trainer, sampler, n_steps)


def _updates(trainer: Trainer, sampler: WindowSampler, n_steps: int) -> Iterator[Update]:
    with keep_freed_memory():
        for _ in range(n_steps):
            yield trainer.update(sampler.sample())


def _launch_fabric(precision: Precision, device: str) -> "Fabric":
    from lightning_fabric import Fabric  # a second to import, so only where training begins
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.plugins import Precision as FullPrecision
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    class Autocast(MixedPrecision):
        """Leaves inputs as they are: in bfloat16 they would lose digits before they are standardised."""

        def convert_input(self, data: Any) -> Any:
            return data

    n_processes = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if n_processes > 1:
        raise ConfigError(
            f"torchrun has started {n_processes} processes, each of which would train all of it, and write "
            "the same files; training on several devices is not supported, so start one."
        )
    accelerator = resolve_device(device)
    mixed = resolve_precision(precision, accelerator) == "bf16-mixed"
    arithmetic = Autocast("bf16-mixed", accelerator) if mixed else FullPrecision()
    # Named, or Lightning would take a SLURM job's tasks, one seed each, for the processes of one training.
    return Fabric(accelerator=accelerator, devices=1, plugins=[LightningEnvironment(), arithmetic])


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if is_matrix(name, parameter) else others).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
