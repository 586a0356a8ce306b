"""The feedforward of a block: one channel, or several that interfere."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
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
        return self.down(F.gelu(self.up(x)))


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
        return F.linear(F.gelu(self.up(x)), weight, bias)

    @torch.no_grad()
    def fold(self) -> Feedforward:
        """Return the plain feedforward of n · ``hidden_size`` units that computes the same function."""
        weight, bias = interfere(self.down_weight, self.down_bias, self.interference_logits)
        with torch.device("meta"):
            folded = Feedforward(*self.down_weight.shape)
        folded.up = copy.deepcopy(self.up)
        folded.down.weight, folded.down.bias = nn.Parameter(weight), nn.Parameter(bias)
        return folded
