"""Causal self-attention, and the entanglement layer inside its output projection."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

EVERY = slice(None)


def entangle(
    projection: Float[Tensor, "d_out d_model"],
    entanglement: Float[Tensor, "d_model d_model"],
    strength: float,
) -> Float[Tensor, "d_out d_model"]:
    """Return the projection W that acts on attention as entanglement followed by ``projection``.

    Entanglement is linear in the attended features, hence ``W_O (Y + α W_E Y) = [W_O (I + α W_E)] Y``: one
    product of two small matrices stands in for one over all tokens.

    Args:
        projection: W_O.
        entanglement: W_E.
        strength: α_e.

    Returns:
        W_O (I + α_e W_E).
    """
    return projection + strength * (projection @ entanglement)


class EntangledLinear(nn.Linear):
    """The output projection of entangled attention: ``W_O (Y + α_e W_E Y) + b`` (arXiv 2512.14726).

    Args:
        d_model: D, the width of the concatenated heads.
        strength: α_e.
    """

    def __init__(self, d_model: int, strength: float) -> None:
        super().__init__(d_model, d_model)
        self.strength = strength
        self.entanglement_weight = nn.Parameter(torch.empty(d_model, d_model))

    def forward(self, heads: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Entangle the features of the concatenated heads, and project them."""
        return F.linear(heads, entangle(self.weight, self.entanglement_weight, self.strength), self.bias)

    @torch.no_grad()
    def fold(self) -> nn.Linear:
        """Return the plain linear layer that computes the same function."""
        with torch.device("meta"):
            folded = nn.Linear(self.in_features, self.out_features)
        folded.weight = nn.Parameter(entangle(self.weight, self.entanglement_weight, self.strength))
        folded.bias = nn.Parameter(self.bias.clone())
        return folded


class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention in which a token sees itself and what came before.

    Args:
        d_model: D, the width of a token.
        n_heads: H; each head is D / H wide.
        output: The projection of the concatenated heads, D to D: a plain or an entangled one.
    """

    def __init__(self, d_model: int, n_heads: int, output: nn.Linear) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.output = output

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], read_out: slice = EVERY
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from the tokens of ``read_out`` to all tokens at or before them.

        Args:
            tokens: (B, T, D).
            read_out: Which tokens ask; all of them serve as keys and values.

        Returns:
            (B, Q, D), where Q tokens stand in ``read_out``.
        """
        key, value = self.keys_and_values(tokens)
        if read_out == EVERY:
            return self.attend(tokens, key, value)
        n_tokens = tokens.shape[1]
        visible = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=tokens.device).tril()[read_out]
        return self.attend(tokens[:, read_out], key, value, visible)

    def keys_and_values(
        self, tokens: Float[Tensor, "batch tokens d_model"]
    ) -> tuple[Float[Tensor, "batch heads tokens d_head"], Float[Tensor, "batch heads tokens d_head"]]:
        """Return what ``tokens`` offer to later ones."""
        key, value = self.key_value(tokens).chunk(2, dim=-1)
        return self._split_heads(key), self._split_heads(value)

    def attend(
        self,
        tokens: Float[Tensor, "batch queries d_model"],
        key: Float[Tensor, "batch heads tokens d_head"],
        value: Float[Tensor, "batch heads tokens d_head"],
        visible: Bool[Tensor, "*any queries tokens"] | None = None,
    ) -> Float[Tensor, "batch queries d_model"]:
        """Ask ``key`` and ``value`` for what ``tokens`` need, and project it.

        Args:
            tokens: (B, Q, D), those that ask.
            key: (B, H, T, D/H).
            value: (B, H, T, D/H).
            visible: Which keys each query sees, broadcast over batch and heads; None: those up to its own,
                where Q = T.
        """
        query = self._split_heads(self.query(tokens))
        return self.output(_attend(query, key, value, visible).transpose(1, 2).flatten(2))

    def _split_heads(
        self, x: Float[Tensor, "batch tokens d_model"]
    ) -> Float[Tensor, "batch heads tokens d_head"]:
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


def _attend(
    query: Float[Tensor, "batch heads queries d_head"],
    key: Float[Tensor, "batch heads tokens d_head"],
    value: Float[Tensor, "batch heads tokens d_head"],
    visible: Bool[Tensor, "*any queries tokens"] | None,
) -> Float[Tensor, "batch heads queries d_head"]:
    """Scaled dot-product attention, by the faster way for the device and dtype.

    On a CPU torch's fused kernel is slow in bfloat16 (its backward most of all), where products of whole
    matrices are fast.
    """
    if not (query.dtype == torch.bfloat16 and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, visible, is_causal=visible is None)
    n_queries, n_tokens = query.shape[2], key.shape[2]
    if visible is None:
        visible = torch.ones(n_queries, n_tokens, dtype=torch.bool, device=query.device).tril()
    bias = torch.zeros_like(visible, dtype=query.dtype).masked_fill_(~visible, -torch.inf)
    if bias.ndim > 2:  # a mask for each row, which its heads share
        bias = bias.expand(*query.shape[:3], n_tokens).flatten(0, 1)
    scale = query.shape[3] ** -0.5
    scores = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).view(query.shape)
