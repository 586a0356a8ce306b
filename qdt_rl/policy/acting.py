"""The model as it acts: folded, without dropout, in inference mode, frozen at the weights of one moment."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from qdt_rl.data.windows import Windows
from qdt_rl.model.cache import KeyValueCache, keys_and_values
from qdt_rl.model.stepper import Stepper
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.policy.history import History

_version = attrgetter("_version")


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


class _Parts:
    """What a model consists of at one moment; looked at in every acting step, hence in few Python calls."""

    def __init__(self, model: nn.Module) -> None:
        held = [
            (holder, name)
            for module in model.modules()
            for holder in (module._modules, module._parameters, module._buffers)
            for name in holder
        ]
        self._holders, self._names = zip(*held, strict=True)
        self._parts = self._present()  # held, so that no other part can take an identity over
        self._identities = list(map(id, self._parts))
        self._tensors = [part for part in self._parts if isinstance(part, Tensor)]
        self._storages = [tensor.untyped_storage() for tensor in self._tensors]  # held likewise
        self._places = list(map(Tensor.data_ptr, self._tensors))
        self._versions = list(map(_version, self._tensors))

    def are_unchanged(self) -> bool:
        """Whether the model holds the same parts, and its tensors the same memory, unwritten since.

        As far as torch counts: what is written in place by way of ``.data`` or by a fused optimiser goes
        unseen.
        """
        return (
            list(map(id, self._present())) == self._identities
            and list(map(Tensor.data_ptr, self._tensors)) == self._places
            and list(map(_version, self._tensors)) == self._versions
        )

    def _present(self) -> list[Any]:
        return list(map(dict.get, self._holders, self._names))


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
        self._source = model
        self._parts = _Parts(model)
        self._model = model.fold().eval().requires_grad_(False)
        self._device = model.norm.weight.device
        self._sliding_window = sliding_window
        self._bfloat16 = bfloat16
        if bfloat16:
            for module in self._model.modules():
                if isinstance(module, nn.Linear):  # norms and the timestep table stay in float32
                    module.bfloat16()
        self._stepper = Stepper(self._model)

    def is_current(self, model: DecisionTransformer) -> bool:
        """Whether ``model`` has the weights that this copy was made of, as far as torch counts versions.

        Fused optimisers do not count; whoever trains must count updates.
        """
        return model is self._source and self._parts.are_unchanged()

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
        if self._sliding_window:
            return self._read_windows(history).cpu().numpy(), None
        cache = self._remember(memory, history)
        actions, cache = self._stepper.step(
            cache,
            history.actions[:, -2:][:, 0],
            history.returns_to_go[:, -1],
            history.observations[:, -1],
            history.timesteps[:, -1],
        )
        return actions.cpu().numpy(), Memory(self, cache, history.context_lengths)

    def _read_windows(self, history: History) -> Float[Tensor, "batch action"]:
        """Return the newest actions, in environment units, from whole windows."""
        windows = history.windows()
        with self._autocast():
            actions = self._model(*self._tensors(windows))
            newest = actions[np.arange(len(windows.lengths)), windows.lengths - 1]
        return self._model.scaling.unscale_actions(newest.float())

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
        with self._autocast():
            tokens = self._model.embed(*self._tensors(history.past_windows(rows, n_steps)))
            pairs = keys_and_values(self._model, tokens)
        n_tokens = 3 * n_steps - 1  # the last action comes with the next step
        return cache.replace_rows(rows, pairs, n_tokens)

    def _tensors(self, windows: Windows) -> Iterator[Tensor]:
        """Return what the model reads of windows, up to the longest."""
        longest = int(windows.lengths.max())
        columns = (windows.returns_to_go, windows.observations, windows.actions, windows.timesteps)
        return (torch.from_numpy(column[:, :longest]).to(self._device) for column in columns)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
