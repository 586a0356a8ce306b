"""Layers as other readings of the paper's description have them; experiments alone use them."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from qdt_rl.model.attention import (
    EVERY,
    CausalSelfAttention,
    EntangledLinear,
    entangle,
    scaled_dot_product,
)


class NoResidual(EntangledLinear):
    """Entanglement without what it is added to: ``W_O (α W_E Y) + b``.

    Args:
        layer: Whose parameters it takes over.
    """

    def __init__(self, layer: nn.Linear) -> None:
        entangled = cast(EntangledLinear, layer)
        with torch.device("meta"):
            super().__init__(layer.in_features, entangled.strength)
        self.weight, self.bias = layer.weight, layer.bias
        self.entanglement_weight = entangled.entanglement_weight

    def forward(self, heads: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Entangle the features of the concatenated heads, and project that alone."""
        return F.linear(heads, self._folded_weight(), self.bias)

    @torch.no_grad()
    def fold(self) -> nn.Linear:
        """Return the plain linear layer that computes the same function."""
        folded = super().fold()
        folded.weight.copy_(self._folded_weight())
        return folded

    def _folded_weight(self) -> Tensor:
        return entangle(self.weight, self.entanglement_weight, self.strength) - self.weight


class TokenEntanglement(CausalSelfAttention):
    """Attention whose answers are mixed among tokens, from earlier to later: ``W_O (Y + α tril(E) Y) + b``.

    Args:
        attention: An entangled one, whose parameters it takes over, but for W_E.
        n_tokens: T, the tokens of a window.
        seed: Of E's initial values, N(0, 0.02²).
    """

    def __init__(self, attention: CausalSelfAttention, n_tokens: int, seed: int) -> None:
        entangled = cast(EntangledLinear, attention.output)
        with torch.device("meta"):
            d_model = entangled.in_features
            super().__init__(d_model, attention.n_heads, nn.Linear(d_model, d_model))
        self.query_key_value = attention.query_key_value
        self.output.weight, self.output.bias = entangled.weight, entangled.bias
        self.strength = entangled.strength
        generator = torch.Generator().manual_seed(seed)
        initial = torch.empty(n_tokens, n_tokens).normal_(0, 0.02, generator=generator)
        self.entanglement_weight = nn.Parameter(initial)

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], read_out: slice = EVERY
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from all tokens, mix, and return the tokens of ``read_out``."""
        query, key, value = self.project(tokens)
        answers = scaled_dot_product(query, key, value, None).transpose(1, 2).flatten(2)
        n_tokens = tokens.shape[1]
        mixing = self.strength * self.entanglement_weight[:n_tokens, :n_tokens].tril()
        mixed = answers + mixing.to(answers.dtype) @ answers
        return F.linear(mixed[:, read_out], self.output.weight, self.output.bias)


class NoCausalMask(CausalSelfAttention):
    """Attention in which every token sees the whole window.

    Args:
        attention: Whose layers it takes over.
    """

    def __init__(self, attention: CausalSelfAttention) -> None:
        with torch.device("meta"):
            super().__init__(attention.output.in_features, attention.n_heads, attention.output)
        self.query_key_value = attention.query_key_value

    def forward(
        self, tokens: Float[Tensor, "batch tokens d_model"], read_out: slice = EVERY
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from the tokens of ``read_out`` to all."""
        query, key, value = self.project(tokens)
        everything = query.new_zeros(tokens.shape[1], tokens.shape[1])
        return self.attend(query, key, value, everything)[:, read_out]
