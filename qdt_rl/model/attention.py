"""Causal self-attention, and the entanglement layer inside its output projection."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

EVERY = slice(None)
_SHORT = {torch.bfloat16: 512, torch.float32: 128, torch.float64: 128}
"""Tokens up to which attention on a CPU is computed by products of whole matrices."""
_FEW_ROWS = 16
"""Rows up to which the calls around those products cost more than the fused kernel loses, in float32."""


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
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
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
        if read_out == EVERY:
            query, key, value = self.project(tokens)
            return self.attend(query, key, value)
        n_tokens, d_model = tokens.shape[1:]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(tokens[:, read_out], weight[:d_model], bias[:d_model])
        key, value = F.linear(tokens, weight[d_model:], bias[d_model:]).chunk(2, dim=-1)
        query, key, value = map(self._split_heads, (query, key, value))
        return self.attend(query, key, value, _causal_mask(n_tokens, query)[read_out])

    def project(
        self, tokens: Float[Tensor, "batch tokens d_model"]
    ) -> tuple[Float[Tensor, "batch heads tokens d_head"], ...]:
        """Return the query of each token, and the key and the value that it offers to later ones."""
        return tuple(self._split_heads(part) for part in self.query_key_value(tokens).chunk(3, dim=-1))

    def attend(
        self,
        query: Float[Tensor, "batch heads queries d_head"],
        key: Float[Tensor, "batch heads tokens d_head"],
        value: Float[Tensor, "batch heads tokens d_head"],
        mask: Float[Tensor, "*any queries tokens"] | None = None,
    ) -> Float[Tensor, "batch queries d_model"]:
        """Ask ``key`` and ``value``, and project the answers.

        Args:
            query: (B, H, Q, D/H).
            key: (B, H, T, D/H).
            value: (B, H, T, D/H).
            mask: Added to the scores: 0 for a key that the query sees and −∞ for another, (Q, T) or
                (B · H, Q, T); None: each query sees what stands up to it, where Q = T.
        """
        return self.output(scaled_dot_product(query, key, value, mask).transpose(1, 2).flatten(2))

    def _split_heads(
        self, x: Float[Tensor, "batch tokens d_model"]
    ) -> Float[Tensor, "batch heads tokens d_head"]:
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


def scaled_dot_product(
    query: Float[Tensor, "batch heads queries d_head"],
    key: Float[Tensor, "batch heads tokens d_head"],
    value: Float[Tensor, "batch heads tokens d_head"],
    mask: Float[Tensor, "*any queries tokens"] | None,
) -> Float[Tensor, "batch heads queries d_head"]:
    """Scaled dot-product attention, by the faster way for the device and the length.

    On a CPU torch's fused kernel loses to products of whole matrices while those are small, most of all in
    bfloat16 (4 times at 60 tokens) and backward. It wins where acting asks for few rows: less is called.
    """
    n_tokens = key.shape[2]
    is_small = query.device.type == "cpu" and n_tokens <= _SHORT.get(query.dtype, 0)
    is_tiny = len(query) <= _FEW_ROWS and query.dtype == torch.float32 and not query.requires_grad
    if is_tiny or not is_small:
        if mask is not None and mask.ndim > 2:
            mask = mask.view(*query.shape[:3], n_tokens)
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None)
    if mask is None:
        mask = _causal_mask(n_tokens, query)
    scale = query.shape[3] ** -0.5
    scores = torch.baddbmm(mask, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scale)
    exact = torch.promote_types(query.dtype, torch.float32)  # softmax in bfloat16 is slower besides
    weights = scores.softmax(-1, dtype=exact).to(query.dtype)
    return torch.bmm(weights, value.flatten(0, 1)).view(query.shape)


def _causal_mask(n_tokens: int, like: Tensor) -> Float[Tensor, "tokens tokens"]:
    return like.new_full((n_tokens, n_tokens), -torch.inf).triu_(1)
