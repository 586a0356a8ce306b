"""The transformer a few tokens at a time: keys and values of the past are kept, not computed again.

Columns of the cache are tokens, common to all rows; a row sees the columns from its own start on. A token's
place in time is in its embedding, so that it may stand in any column.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from qdt_rl.model.transformer import DecisionTransformer


@dataclass(frozen=True, eq=False)
class KeyValueCache:
    """Keys and values of past tokens: a value, in that what it shows never changes.

    Caches share storage. Tokens are appended behind ``end``, where no earlier cache looks, by whoever claims
    the place first; the second one to append to the same cache copies it.

    Attributes:
        keys: (L, B, H, C, D/H), filled before column ``end``.
        values: As ``keys``.
        starts: (B,), the first column that each row sees.
        end: The first column that is not filled.
        claims: Which ends have been appended to, shared by the caches of one storage.
    """

    keys: Float[Tensor, "layers batch heads columns d_head"]
    values: Float[Tensor, "layers batch heads columns d_head"]
    starts: Int64[np.ndarray, " batch"]
    end: int
    claims: dict[int, object] = field(default_factory=dict)

    @classmethod
    def empty(cls, model: DecisionTransformer, n_rows: int, n_columns: int) -> "KeyValueCache":
        """Return a cache of no tokens with room for ``n_columns``, in the projections' dtype."""
        config = model.config
        shape = (2, config.n_layers, n_rows, config.n_heads, n_columns, config.d_model // config.n_heads)
        keys, values = model.layers[0].attention.query.weight.new_zeros(shape).unbind()
        return cls(keys, values, np.zeros(n_rows, np.int64), 0)

    def reserve(self, n_tokens: int) -> "KeyValueCache":
        """Return this cache, or a copy where no room is left behind it or another has claimed that room."""
        claim = object()
        is_ours = self.claims.setdefault(self.end, claim) is claim  # atomic: threads may share a state
        if is_ours and self.end + n_tokens <= self.keys.shape[3]:
            return self
        first = self.first
        copy = self._new_storage(self.end - first, self.starts - first)
        copy.keys[..., : copy.end, :] = self.keys[..., first : self.end, :]
        copy.values[..., : copy.end, :] = self.values[..., first : self.end, :]
        return copy

    def replace_rows(
        self,
        rows: Bool[np.ndarray, " batch"],
        keys: Float[Tensor, "layers rows heads tokens d_head"],
        values: Float[Tensor, "layers rows heads tokens d_head"],
        lengths: Int64[np.ndarray, " rows"],
    ) -> "KeyValueCache":
        """Return a cache in which some rows hold other tokens.

        Args:
            rows: (B,), which rows, R of them.
            keys: (L, R, H, T, D/H), padded on the right.
            values: As ``keys``.
            lengths: (R,), the tokens of each.
        """
        kept = np.flatnonzero(~rows)
        span = max(int(lengths.max()), self.end - int(self.starts[kept].min(initial=self.end)))
        starts = span - self.end + self.starts
        starts[rows] = span - lengths
        new = self._new_storage(span, starts)
        if len(kept):
            first = max(0, self.end - span)
            new.keys[:, kept, :, span - (self.end - first) : span] = self.keys[:, kept, :, first : self.end]
            new.values[:, kept, :, span - (self.end - first) : span] = self.values[
                :, kept, :, first : self.end
            ]
        replaced = np.flatnonzero(rows)
        for length in np.unique(lengths):
            some = np.flatnonzero(lengths == length)
            new.keys[:, replaced[some], :, span - length : span] = keys[:, some, :, :length]
            new.values[:, replaced[some], :, span - length : span] = values[:, some, :, :length]
        return new

    def visible(self, n_new: int) -> Bool[np.ndarray, "batch 1 new columns"]:
        """Return which columns from ``first`` on each of ``n_new`` appended tokens sees: itself, at least."""
        columns = np.arange(self.first, self.end + n_new)
        own = self.end + np.arange(n_new)[:, None]
        from_start = columns >= self.starts[:, None, None, None]
        return (from_start & (columns <= own)) | (columns == own)

    @property
    def first(self) -> int:
        """The first column that any row sees."""
        return min(self.end, int(self.starts.min()))

    def _new_storage(self, end: int, starts: Int64[np.ndarray, " batch"]) -> "KeyValueCache":
        # zeros, since masked columns are multiplied by zero, and what is left in memory may be NaN
        return KeyValueCache(torch.zeros_like(self.keys), torch.zeros_like(self.values), starts, end)


def extend(
    model: DecisionTransformer, cache: KeyValueCache, tokens: Float[Tensor, "batch new d_model"]
) -> tuple[Float[Tensor, "batch d_model"], KeyValueCache]:
    """Append tokens and read out the newest.

    Args:
        model: A model without dropout (in evaluation mode).
        cache: The tokens before.
        tokens: (B, n, D), embedded.

    Returns:
        (B, D), the newest token after the last block and norm, and the cache with the tokens in it.
    """
    n_new = tokens.shape[1]
    cache = cache.reserve(n_new)
    visible = torch.from_numpy(cache.visible(n_new)).to(tokens.device)
    first, new_end = cache.first, cache.end + n_new
    for layer, block in enumerate(model.layers):
        is_last = layer == model.config.n_layers - 1
        normed = block.attention_norm(tokens)
        key, value = block.attention.keys_and_values(normed)
        cache.keys[layer, :, :, cache.end : new_end] = key
        cache.values[layer, :, :, cache.end : new_end] = value
        if is_last:
            tokens, normed, visible = tokens[:, -1:], normed[:, -1:], visible[:, :, -1:]
        seen = slice(first, new_end)
        attended = block.attention.attend(
            normed, cache.keys[layer, :, :, seen], cache.values[layer, :, :, seen], visible
        )
        tokens = block.complete(tokens, attended)
    extended = KeyValueCache(cache.keys, cache.values, cache.starts, new_end, cache.claims)
    return model.norm(tokens[:, 0]), extended


def keys_and_values(
    model: DecisionTransformer, tokens: Float[Tensor, "batch tokens d_model"]
) -> tuple[
    Float[Tensor, "layers batch heads tokens d_head"], Float[Tensor, "layers batch heads tokens d_head"]
]:
    """Return the keys and values of every layer for whole windows, read from the left.

    The last block's attention and feedforward are not needed for them.
    """
    pairs = []
    for layer, block in enumerate(model.layers):
        normed = block.attention_norm(tokens)
        pairs.append(block.attention.keys_and_values(normed))
        if layer < model.config.n_layers - 1:
            tokens = block.complete(tokens, block.attention.attend(normed, *pairs[-1]))
    keys, values = zip(*pairs, strict=True)
    return torch.stack(keys), torch.stack(values)
