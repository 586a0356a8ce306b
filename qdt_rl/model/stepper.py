"""A step of acting in as few operations as possible: with few tokens, what surrounds the products counts."""

from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from qdt_rl.model.attention import scaled_dot_product
from qdt_rl.model.cache import KeyValueCache
from qdt_rl.model.feedforward import Feedforward
from qdt_rl.model.transformer import Block, DecisionTransformer


class _BlockWeights(NamedTuple):
    """The weights of a folded block, in the order in which they are used; each matrix before its bias."""

    attention_norm: Tensor
    attention_norm_bias: Tensor
    query_key_value: Tensor
    query_key_value_bias: Tensor
    output: Tensor
    output_bias: Tensor
    feedforward_norm: Tensor
    feedforward_norm_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor

    @classmethod
    def of(cls, block: Block) -> "_BlockWeights":
        feedforward = cast(Feedforward, block.feedforward)  # of the only kind that is left
        layers = (
            block.attention_norm,
            block.attention.query_key_value,
            block.attention.output,
            block.feedforward_norm,
            feedforward.up,
            feedforward.down,
        )
        return cls(*(tensor for layer in layers for tensor in (layer.weight, layer.bias)))


class Stepper:
    """A folded model that appends the newest tokens of B episodes to what it has kept of them.

    It computes what the model's own ``forward`` does, with the three kinds of token embedded by one product
    of scaled inputs side by side, and with weights at hand instead of in modules.

    Args:
        model: A folded model without dropout. Its linear layers may be in bfloat16.
    """

    def __init__(self, model: DecisionTransformer) -> None:
        embedding, scaling, head = model.embedding, model.scaling, model.head
        self._blocks = [_BlockWeights.of(block) for block in model.layers]
        self._shape = model.config.n_heads, model.config.d_model // model.config.n_heads
        self._norm_shape = (model.config.d_model,)
        kinds = embedding.action, embedding.return_to_go, embedding.observation
        self._embedding = torch.block_diag(*(kind.weight for kind in kinds))  # type: ignore[no-untyped-call]
        self._embedding_bias = torch.cat([kind.bias for kind in kinds])
        self._timesteps = embedding.timestep.weight
        self._embedding_norm = embedding.norm.weight, embedding.norm.bias
        half = (scaling.action_high - scaling.action_low) / 2
        middle = scaling.action_low + half
        self._actions = middle, half
        zero = torch.zeros_like(scaling.return_scale).unsqueeze(0)
        offset = torch.cat([middle, zero, scaling.observation_mean])
        divisor = torch.cat([half, scaling.return_scale.unsqueeze(0), scaling.observation_std])
        self._offset, self._divisor = offset.cpu().numpy(), divisor.cpu().numpy()
        self._norm = model.norm.weight, model.norm.bias
        self._head = head.hidden.weight, head.hidden.bias, head.action.weight, head.action.bias

    def step(
        self,
        cache: KeyValueCache,
        previous_actions: Float32[np.ndarray, "batch action"],
        returns_to_go: Float32[np.ndarray, " batch"],
        observations: Float32[np.ndarray, "batch observation"],
        timesteps: Int64[np.ndarray, " batch"],
    ) -> tuple[Float[Tensor, "batch action"], KeyValueCache]:
        """Append ``(a_{t−1}, R_t, s_t)`` and choose a_t.

        At t = 0 there is no earlier action: its token means nothing, and the cache must hide it.

        Args:
            cache: The tokens before.
            previous_actions: (B, A), environment units.
            returns_to_go: (B,), reward units.
            observations: (B, S), environment units.
            timesteps: (B,), the step of the episode, from 0.

        Returns:
            (B, A) in environment units, float32, and the cache with the tokens in it.
        """
        inputs = np.concatenate([previous_actions, returns_to_go[:, None], observations], axis=1)
        last_row = len(self._timesteps) - 1
        rows = np.minimum(np.maximum(timesteps[:, None] - (1, 0, 0), 0), last_row)
        with np.errstate(over="ignore"):  # actions that are not finite are refused by whoever acts
            scaled = (inputs - self._offset) / self._divisor
        tokens = self._embed(scaled, rows)
        states, cache = self._extend(cache, tokens)
        return self._choose(states), cache

    def _embed(
        self, scaled: Float32[np.ndarray, "batch inputs"], rows: Int64[np.ndarray, "batch 3"]
    ) -> Float[Tensor, "batch 3 d_model"]:
        inputs = self._to_device(scaled).to(self._embedding.dtype)
        times = F.embedding(self._to_device(rows), self._timesteps)
        tokens = F.linear(inputs, self._embedding, self._embedding_bias).view(times.shape)
        return torch.layer_norm(times + tokens, self._norm_shape, *self._embedding_norm)

    def _extend(
        self, cache: KeyValueCache, tokens: Float[Tensor, "batch new d_model"]
    ) -> tuple[Float[Tensor, "batch d_model"], KeyValueCache]:
        """Return the newest token after the last block and norm, and the cache with all new ones in it."""
        n_rows, n_new = tokens.shape[:2]
        cache = cache.reserve(n_new)
        mask = cache.mask(n_new)
        end = cache.end + n_new
        seen = cache.pairs[..., cache.first : end, :].flatten(0, 1).unbind()  # keys, values, keys, …
        added = cache.pairs[..., cache.end : end, :].unbind()
        heads, shape, dtype = (n_rows, n_new, 3, *self._shape), self._norm_shape, cache.pairs.dtype
        for layer, block in enumerate(self._blocks):
            normed = torch.layer_norm(tokens, shape, block.attention_norm, block.attention_norm_bias)
            projected = F.linear(normed.to(dtype), block.query_key_value, block.query_key_value_bias)
            parts = projected.view(heads).permute(2, 0, 3, 1, 4)
            added[layer].copy_(parts[1:])
            query = parts[0]
            if layer == len(self._blocks) - 1:
                tokens, query, mask = tokens[:, -1:], query[:, :, -1:], mask[..., -1:, :]
            attended = scaled_dot_product(query, seen[2 * layer], seen[2 * layer + 1], mask)
            tokens += F.linear(attended.transpose(1, 2).flatten(2), block.output, block.output_bias)
            normed = torch.layer_norm(tokens, shape, block.feedforward_norm, block.feedforward_norm_bias)
            hidden = F.gelu(F.linear(normed.to(dtype), block.up, block.up_bias))
            tokens += F.linear(hidden, block.down, block.down_bias)
        extended = KeyValueCache(cache.pairs, cache.starts, end, cache.claims)
        return torch.layer_norm(tokens[:, 0], shape, *self._norm), extended

    def _choose(self, states: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch action"]:
        hidden, hidden_bias, action, action_bias = self._head
        features = F.gelu(F.linear(states.to(hidden.dtype), hidden, hidden_bias))
        middle, half = self._actions
        return torch.addcmul(middle, torch.tanh(F.linear(features, action, action_bias)).float(), half)

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._timesteps.device)
