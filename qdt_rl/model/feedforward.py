"""The feedforward of a block: one channel, or several that interfere."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def interfere(
    weight: Float[Tensor, "d_model hidden"],
    biases: Float[Tensor, "channels d_model"],
    logits: Float[Tensor, " channels"],
) -> tuple[Float[Tensor, "d_model hidden"], Float[Tensor, " d_model"]]:
    """Return the second layer that acts on all hidden units at once as the interfering channels do.

    With ``w = softmax(θ)``, ``Σ w_i (W_i2 h_i + b_i2) = [w_1 W_12, …, w_n W_n2] h + Σ w_i b_i2``.

    Args:
        weight: [W_12, …, W_n2], the channels' second matrices side by side.
        biases: b_i2, one row a channel.
        logits: θ.

    Returns:
        The matrix (D, n · hidden) and the bias (D,).
    """
    weights = torch.softmax(logits, dim=0)
    per_unit = weights.repeat_interleave(weight.shape[1] // len(logits))
    return weight * per_unit, weights @ biases


class _TwoLayers(torch.autograd.Function):
    """``W_2 · GELU(W_1 x + b_1) + b_2``, whose backward pass reuses the memory of the hidden gradient.

    The hidden units are the largest arrays of a model, and moving them costs as much as multiplying them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
        hidden = F.linear(x, up, up_bias)
        active = F.gelu(hidden)
        ctx.save_for_backward(x, hidden, active, up, down)
        return F.linear(active, down, down_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, hidden, active, up, down = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        of_down, of_down_bias = rows.T @ active.flatten(0, -2), rows.sum(0)
        of_hidden = gradient @ down
        torch.ops.aten.gelu_backward.grad_input(of_hidden, hidden, grad_input=of_hidden)
        rows = of_hidden.flatten(0, -2)
        return of_hidden @ up, rows.T @ x.flatten(0, -2), rows.sum(0), of_down, of_down_bias


def two_layers(
    x: Float[Tensor, "*batch d_model"],
    up: Float[Tensor, "hidden d_model"],
    up_bias: Float[Tensor, " hidden"],
    down: Float[Tensor, "d_model hidden"],
    down_bias: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Return ``W_2 · GELU(W_1 x + b_1) + b_2``, with the exact (erf) GELU, in autocast's dtype if any."""
    if not torch.is_grad_enabled():
        return F.linear(F.gelu(F.linear(x, up, up_bias)), down, down_bias)
    tensors = [x, up, up_bias, down, down_bias]
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        tensors = [tensor.to(dtype) for tensor in tensors]
    result: Tensor = _TwoLayers.apply(*tensors)  # type: ignore[no-untyped-call]
    return result


class Feedforward(nn.Module):
    """The transformer's feedforward: ``W_2 · GELU(W_1 x + b_1) + b_2``, with the exact (erf) GELU.

    Args:
        d_model: D, the width of a token.
        hidden_size: The number of hidden units.
    """

    def __init__(self, d_model: int, hidden_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, hidden_size)
        self.down = nn.Linear(hidden_size, d_model)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each token by itself."""
        return two_layers(x, self.up.weight, self.up.bias, self.down.weight, self.down.bias)


class InterferenceFeedforward(nn.Module):
    """Parallel channels that interfere: ``Σ w_i C_i(x)``, ``w = softmax(θ)`` (arXiv 2512.14726).

    Each channel is ``C_i(x) = W_i2 · GELU(W_i1 x + b_i1) + b_i2``. The channels lie side by side in two
    matrices, so that two products compute them all. θ starts equal.

    Args:
        d_model: D, the width of a token.
        hidden_size: The hidden units of one channel.
        n_channels: n.
    """

    def __init__(self, d_model: int, hidden_size: int, n_channels: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, n_channels * hidden_size)
        self.down_weight = nn.Parameter(torch.empty(d_model, n_channels * hidden_size))
        self.down_bias = nn.Parameter(torch.zeros(n_channels, d_model))
        self.interference_logits = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each token by itself."""
        weight, bias = interfere(self.down_weight, self.down_bias, self.interference_logits)
        return two_layers(x, self.up.weight, self.up.bias, weight, bias)

    @torch.no_grad()
    def fold(self) -> Feedforward:
        """Return the plain feedforward of n · ``hidden_size`` units that computes the same function."""
        weight, bias = interfere(self.down_weight, self.down_bias, self.interference_logits)
        with torch.device("meta"):
            folded = Feedforward(*self.down_weight.shape)
        folded.up = copy.deepcopy(self.up)
        folded.down.weight, folded.down.bias = nn.Parameter(weight), nn.Parameter(bias)
        return folded
