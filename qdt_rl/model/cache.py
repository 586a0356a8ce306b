"""The transformer a few tokens at a time: keys and values of the past are kept, not computed again.

Columns of the cache are tokens, common to all rows; a row sees the columns from its own start on. A token's
place in time is in its embedding, so that it may stand in any column.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from qdt_rl.model.transformer import DecisionTransformer


@dataclass(frozen=True, eq=False)
class KeyValueCache:
    """Keys and values of past tokens: a value, in that what it shows never changes.

    Caches share storage. Tokens are appended behind ``end``, where no earlier cache looks, by whoever claims
    the place first; the second one to append to the same cache copies it.

    Attributes:
        pairs: (L, 2, B, H, C, D/H), keys and then values, filled before column ``end``.
        starts: (B,), the first column that each row sees.
        end: The first column that is not filled.
        claims: Which ends have been appended to, shared by the caches of one storage.
    """

    pairs: Float[Tensor, "layers 2 batch heads columns d_head"]
    starts: Int64[np.ndarray, " batch"]
    end: int
    claims: dict[int, object] = field(default_factory=dict)

    @classmethod
    def empty(cls, model: DecisionTransformer, n_rows: int, n_columns: int) -> "KeyValueCache":
        """Return a cache of no tokens with room for ``n_columns``, in the projections' dtype."""
        config = model.config
        shape = (config.n_layers, 2, n_rows, config.n_heads, n_columns, config.d_model // config.n_heads)
        pairs = model.layers[0].attention.query_key_value.weight.new_zeros(shape)
        return cls(pairs, np.zeros(n_rows, np.int64), 0)

    def reserve(self, n_tokens: int) -> "KeyValueCache":
        """Return this cache, or a copy where no room is left behind it or another has claimed that room."""
        claim = object()
        is_ours = self.claims.setdefault(self.end, claim) is claim  # atomic: threads may share a state
        if is_ours and self.end + n_tokens <= self.pairs.shape[4]:
            return self
        first = self.first
        copy = self._new_storage(self.end - first, self.starts - first)
        copy.pairs[..., : copy.end, :] = self.pairs[..., first : self.end, :]
        return copy

    def replace_rows(
        self,
        rows: Bool[np.ndarray, " batch"],
        pairs: Float[Tensor, "layers 2 rows heads tokens d_head"],
        lengths: Int64[np.ndarray, " rows"],
    ) -> "KeyValueCache":
        """Return a cache in which some rows hold other tokens.

        Args:
            rows: (B,), which rows, R of them.
            pairs: (L, 2, R, H, T, D/H), padded on the right.
            lengths: (R,), the tokens of each.
        """
        kept = np.flatnonzero(~rows)
        span = max(int(lengths.max()), self.end - int(self.starts[kept].min(initial=self.end)))
        starts = span - self.end + self.starts
        starts[rows] = span - lengths
        new = self._new_storage(span, starts)
        if len(kept):
            first = max(0, self.end - span)
            held = self.pairs[:, :, kept, :, first : self.end]
            new.pairs[:, :, kept, :, span - (self.end - first) : span] = held
        replaced = np.flatnonzero(rows)
        for length in np.unique(lengths):
            some = np.flatnonzero(lengths == length)
            new.pairs[:, :, replaced[some], :, span - length : span] = pairs[:, :, some, :, :length]
        return new

    def mask(self, n_new: int) -> Float[Tensor, "*any new columns"]:
        """Return what is added to the scores of ``n_new`` appended tokens: −∞ for a column that is not seen.

        Columns count from ``first`` on. A token sees itself, at least.

        Returns:
            In the cache's dtype: (n, C) if all rows see the same, or else (B · H, n, C).
        """
        n_columns = self.end + n_new - self.first
        hidden = self.starts - self.first
        if (hidden == hidden[0]).all():
            return _common_mask(n_columns, n_new, int(hidden[0]), self.pairs.dtype, self.pairs.device)
        masks = torch.from_numpy(_mask(n_columns, n_new, hidden[:, None, None]))
        return masks.to(self.pairs.device, self.pairs.dtype).repeat_interleave(self.pairs.shape[3], dim=0)

    @property
    def first(self) -> int:
        """The first column that any row sees."""
        return min(self.end, int(self.starts.min()))

    def _new_storage(self, end: int, starts: Int64[np.ndarray, " batch"]) -> "KeyValueCache":
        pairs = torch.empty_like(self.pairs)
        pairs[..., :end, :] = 0  # masked columns are multiplied by zero, and what lies in memory may be NaN
        return KeyValueCache(pairs, starts, end)


@lru_cache(maxsize=256)
def _common_mask(
    n_columns: int, n_new: int, n_hidden: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "new columns"]:
    """Return the mask of rows that all see the same; nobody writes to it, so that it is made once."""
    return torch.from_numpy(_mask(n_columns, n_new, n_hidden)).to(device, dtype)


def _mask(
    n_columns: int, n_new: int, n_hidden: int | Int64[np.ndarray, "batch 1 1"]
) -> Float32[np.ndarray, "*any new columns"]:
    columns = np.arange(n_columns)
    own = n_columns - n_new + np.arange(n_new)[:, None]
    hidden = ((columns < n_hidden) | (columns > own)) & (columns != own)
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def keys_and_values(
    model: DecisionTransformer, tokens: Float[Tensor, "batch tokens d_model"]
) -> Float[Tensor, "layers 2 batch heads tokens d_head"]:
    """Return the keys and values of every layer for whole windows, read from the left.

    The last block's attention and feedforward are not needed for them.
    """
    pairs = []
    for layer, block in enumerate(model.layers):
        query, key, value = block.attention.project(block.attention_norm(tokens))
        pairs.append(torch.stack([key, value]))
        if layer < model.config.n_layers - 1:
            tokens = block.complete(tokens, block.attention.attend(query, key, value))
    return torch.stack(pairs)
