"""``QDTPolicy``: the Quantum Decision Transformer and its ablations as an agent."""

import threading
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32

from qdt_rl.config import ModelConfig, Precision, TrainConfig, require
from qdt_rl.errors import ConfigError, InputError
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config
from qdt_rl.policy.acting import ActingState, Actor
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.history import History
from qdt_rl.policy.inputs import ActingInput
from qdt_rl.policy.settings import constructor_arguments


class QDTPolicy(OfflinePolicy):
    """A return-conditioned agent: the Quantum Decision Transformer of arXiv 2512.14726, or an ablation of it.

    The constructor stores settings; ``fit`` builds the model for the dataset's spaces. Example::

        policy = QDTPolicy(variant="qdt", seed=0).fit("qdt/synthetic/medium-replay-v0", n_steps=2_000)
        action, state = policy.predict(observation, target_return=1500.0)

    ``predict`` acts with the weights that ``model`` has, whoever has set them. Only what is written in place
    by way of ``.data`` or by a fused optimiser of your own goes unseen, since torch does not count it: write
    under ``torch.no_grad()``, or train with ``fused=False``, instead. It computes with a folded copy, so that
    hooks on ``model`` see ``model(...)`` alone.

    Args:
        variant: ``"qdt"``, or ``"dt"``, ``"q-attention"``, ``"q-feedforward"``, ``"wide-dt"``.
        context_length: K, the timesteps that the model sees.
        sliding_window: Act from the last K timesteps at every step, as the original Decision Transformer; by
            default keys and values are kept, which is many times faster, and the context is renewed from its
            newest half whenever it is full. ``Actor`` says more.
        learning_rate: Reached after the warm-up, then constant.
        batch_size: Windows per update.
        weight_decay: On matrices only.
        max_grad_norm: The norm at which the gradient is clipped.
        warmup_steps: Updates over which the learning rate rises linearly.
        precision: Of training: ``"32"``, ``"bf16-mixed"``, or ``"auto"`` for the latter where the processor
            computes in bfloat16 natively. Acting is in float32 but with ``"bf16-mixed"``.
        policy_kwargs: Fields of ``ModelConfig`` in place of the variant's own, such as ``{"d_model": 64}``.
        tensorboard_log: A folder for TensorBoard's logs, or None.
        verbose: 1 prints the log to standard output.
        seed: Of the initial weights, the windows and the dropout masks.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``, or torch's object.

    Raises:
        ConfigError: If a name is unknown or a value out of its range.
    """

    is_return_conditioned = True
    config_type = ModelConfig

    def __init__(
        self,
        variant: str = "qdt",
        *,
        context_length: int = ModelConfig.context_length,
        sliding_window: bool = False,
        learning_rate: float = TrainConfig.learning_rate,
        batch_size: int = TrainConfig.batch_size,
        weight_decay: float = TrainConfig.weight_decay,
        max_grad_norm: float = TrainConfig.max_grad_norm,
        warmup_steps: int = TrainConfig.warmup_steps,
        precision: Precision = TrainConfig.precision,
        policy_kwargs: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        settings = constructor_arguments(locals())
        are_named = policy_kwargs is None or isinstance(policy_kwargs, dict)
        require(are_named, "policy_kwargs", "a dict of model settings or None", policy_kwargs)
        self._actor: tuple[tuple[int, bool], Actor] | None = None  # with what it was made for
        self._acting_lock = threading.Lock()
        if "context_length" in (policy_kwargs or {}):
            raise ConfigError("Give context_length as an argument of its own, not in policy_kwargs.")
        sizes = {"context_length": context_length, **(policy_kwargs or {})}
        model_config(variant, 1, 1, **sizes)  # unknown names are refused here, not after loading data
        super().__init__(settings, device)
        self.sliding_window = sliding_window

    @property
    def model(self) -> DecisionTransformer:
        """The torch module; in evaluation mode but while it trains. Only its values may be changed."""
        return cast(DecisionTransformer, super().model)

    @property
    def variant(self) -> str:
        """Which parts the model is made of; one of ``VARIANTS``."""
        return str(self._settings["variant"])

    @property
    def context_length(self) -> int:
        """K, the timesteps that the model sees."""
        return int(self._settings["context_length"])

    @property
    def policy_kwargs(self) -> dict[str, Any]:
        """The settings of the model that replace the variant's own."""
        return dict(self._settings["policy_kwargs"] or {})

    @property
    def sliding_window(self) -> bool:
        """Whether each action is computed from whole windows; may be switched at any time, and is saved."""
        return bool(self._settings["sliding_window"])

    @sliding_window.setter
    def sliding_window(self, value: bool) -> None:
        require(isinstance(value, bool | np.bool_), "sliding_window", "True or False", value)
        self._settings["sliding_window"] = bool(value)

    def _configure(self, observation_size: int, action_size: int, max_timestep: int) -> ModelConfig:
        sizes = {
            "max_timestep": max(ModelConfig.max_timestep, max_timestep),
            "context_length": self.context_length,
            **self.policy_kwargs,
        }
        return model_config(self.variant, observation_size, action_size, **sizes)

    def _build(self, config: ModelConfig, seed: int | None) -> DecisionTransformer:
        return DecisionTransformer(config, seed)

    def _act(
        self, given: ActingInput, state: ActingState | None
    ) -> tuple[Float32[np.ndarray, "batch action"], ActingState]:
        if given.target_returns is None:
            raise InputError(
                "A return-conditioned policy needs target_return, the return still wanted from this "
                "observation on (or a Dict observation; see ReturnConditionedVecEnv)."
            )
        history, memory = self._check_state(state, len(given.observations))
        history = history.observe(given.observations, given.target_returns, given.episode_start)
        actions, memory = self._current_actor().act(history, memory)
        return actions, ActingState(history.act(actions), memory)

    def _current_actor(self) -> Actor:
        made_for = self.num_timesteps, self.sliding_window
        with self._acting_lock:
            if self._actor is None or self._actor[0] != made_for or not self._actor[1].is_current(self.model):
                bfloat16 = self._settings["precision"] == "bf16-mixed"
                self._actor = made_for, Actor(self.model, self.sliding_window, bfloat16)
            return self._actor[1]

    def _check_state(self, state: ActingState | None, n_rows: int) -> ActingState:
        config = self.model.config
        if state is None:
            sizes = config.context_length, config.observation_size, config.action_size
            return ActingState(History.empty(self._identity, n_rows, *sizes), None)
        if not isinstance(state, ActingState):
            raise InputError(
                f"state must be what predict returned, or None, but is a {type(state).__name__}."
            )
        state.history.check(self._identity, n_rows)
        return state
