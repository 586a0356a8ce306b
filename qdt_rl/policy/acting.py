"""The model as it acts: folded, without dropout, in inference mode, frozen at the weights of one moment."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from qdt_rl.data.windows import Windows
from qdt_rl.model.cache import KeyValueCache, extend, keys_and_values
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.policy.history import History


@dataclass(frozen=True, eq=False)
class Memory:
    """What an actor has computed of the episodes under way; the history alone says the same, more slowly.

    Attributes:
        actor: Whose weights computed it.
        cache: Keys and values.
        n_steps: (B,), the timesteps of each row in the cache.
    """

    actor: "Actor"
    cache: KeyValueCache
    n_steps: Int64[np.ndarray, " batch"]


class ActingState(NamedTuple):
    """What ``predict`` returns for its next call; opaque to callers."""

    history: History
    memory: Memory | None

    def __reduce__(self) -> tuple[type["ActingState"], tuple[History, None]]:
        """Copy and pickle without the memory, which is large and belongs to one policy in one process."""
        return ActingState, (self.history, None)


class Actor:
    """A folded copy of a model's present weights that chooses actions.

    With ``sliding_window``, each action is computed from the last K timesteps anew, as in the original
    Decision Transformer. Without, keys and values are kept, and a step costs three tokens instead of 3K. What
    is kept depends on all that its tokens saw, so that the oldest timestep cannot simply be dropped: a
    context that has reached K timesteps is computed anew from the newest ⌊K/2⌋. So the context holds between
    ⌊K/2⌋ + 1 and K timesteps once the episode is that long.

    Args:
        model: The model to act with; it may train on meanwhile.
        sliding_window: See above.
        bfloat16: Compute matrix products in bfloat16: faster, and actions move by about 1 % of their range.
    """

    def __init__(self, model: DecisionTransformer, sliding_window: bool, bfloat16: bool = False) -> None:
        self._source = [(tensor, tensor._version) for tensor in model.state_dict(keep_vars=True).values()]
        self._model = model.fold().eval().requires_grad_(False)
        self._device = model.norm.weight.device
        self._sliding_window = sliding_window
        self._bfloat16 = bfloat16
        if bfloat16:
            for module in self._model.modules():
                if isinstance(module, nn.Linear):  # norms and the timestep table stay in float32
                    module.bfloat16()

    def is_current(self, model: DecisionTransformer) -> bool:
        """Whether ``model`` has the weights that this copy was made of, as far as torch counts versions.

        Fused optimisers do not count; whoever trains must count updates.
        """
        present = model.state_dict(keep_vars=True).values()
        return all(
            tensor is source and tensor._version == version
            for tensor, (source, version) in zip(present, self._source, strict=True)
        )

    @torch.inference_mode()
    def act(
        self, history: History, memory: Memory | None
    ) -> tuple[Float32[np.ndarray, "batch action"], Memory | None]:
        """Choose the action of each row's newest timestep.

        Args:
            history: B episodes, with the newest observation in.
            memory: What the previous call for these episodes returned.

        Returns:
            (B, A) in environment units, and the memory for the next call.
        """
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            if self._sliding_window:
                return self._unscaled(self._read_window(history)), None
            cache = self._remember(memory, history)
            states, cache = extend(self._model, cache, self._newest_tokens(history))
            return self._unscaled(states), Memory(self, cache, history.context_lengths)

    def _read_window(self, history: History) -> Float[Tensor, "batch d_model"]:
        """Return the newest state tokens, from whole windows."""
        tokens, lengths = self._embed(history.windows())
        for block in self._model.layers:
            tokens = block(tokens)
        newest: Tensor = self._model.norm(tokens[np.arange(len(lengths)), 3 * lengths - 2])
        return newest

    def _remember(self, memory: Memory | None, history: History) -> KeyValueCache:
        """Return the cache of each row's context before the newest timestep."""
        n_steps = history.context_lengths - 1
        if memory is None or memory.actor is not self:
            n_columns = 6 * self._model.config.context_length  # twice what a row can hold
            cache = KeyValueCache.empty(self._model, len(n_steps), n_columns)
            held = np.zeros_like(n_steps)
        else:
            cache, held = memory.cache, memory.n_steps
        renewed = (n_steps > 0) & (n_steps != held)
        if renewed.any():
            cache = self._renew(cache, history, renewed, n_steps[renewed])
        blind = cache.end + 1  # the first tokens of a context have no action before them
        return replace(cache, starts=np.where(n_steps == 0, blind, cache.starts))

    def _renew(
        self,
        cache: KeyValueCache,
        history: History,
        rows: Bool[np.ndarray, " batch"],
        n_steps: Int64[np.ndarray, " rows"],
    ) -> KeyValueCache:
        """Compute some rows anew from their ``n_steps`` timesteps before the newest."""
        tokens, _ = self._embed(history.past_windows(rows, n_steps))
        keys, values = keys_and_values(self._model, tokens)
        n_tokens = 3 * n_steps - 1  # the last action comes with the next step
        return cache.replace_rows(rows, keys, values, n_tokens)

    def _newest_tokens(self, history: History) -> Float[Tensor, "batch 3 d_model"]:
        scaling = self._model.scaling
        return self._model.embedding.next_tokens(
            scaling.actions(self._tensor(history.actions[:, -2:][:, 0])),
            scaling.returns_to_go(self._tensor(history.returns_to_go[:, -1])),
            scaling.observations(self._tensor(history.observations[:, -1])),
            self._tensor(history.timesteps[:, -1]),
        )

    def _embed(
        self, windows: Windows
    ) -> tuple[Float[Tensor, "batch tokens d_model"], Int64[np.ndarray, " batch"]]:
        longest = int(windows.lengths.max())
        columns = (windows.returns_to_go, windows.observations, windows.actions, windows.timesteps)
        return self._model.embed(*(self._tensor(column[:, :longest]) for column in columns)), windows.lengths

    def _unscaled(self, states: Float[Tensor, "batch d_model"]) -> Float32[np.ndarray, "batch action"]:
        return self._model.scaling.unscale_actions(self._model.head(states).float()).cpu().numpy()

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
