"""Dropout from a generator of its own, so that a run repeats whatever else draws random numbers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEVELS = 2**8


class Dropout(nn.Module):
    """Inverted dropout whose masks come from ``generator``, a random byte an element.

    Sixty-four random bits serve eight elements: on a CPU many times cheaper than a Bernoulli draw for
    each. The rate is rounded to a multiple of 1/256 (0.1 to 0.1016), and the survivors are scaled by the
    rounded rate, so that the expectation is exact (in bfloat16, to its rounding).

    One instance serves a whole model. It draws only in training mode.

    Args:
        rate: The probability that an element is zeroed, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.n_dropped = min(round(rate * _LEVELS), _LEVELS - 1)  # a rate below 1 leaves some
        self.generator = torch.Generator()

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zero a random subset of the elements of ``x`` and scale the others, in training mode."""
        if not self.training or self.n_dropped == 0:
            return x
        return x * self.mask(x)

    def mask(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Draw a mask of 0 and 1 / (1 - rate) in the shape and dtype of ``x``."""
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=self.generator.device)
        words.random_(-(2**63), None, generator=self.generator)
        bits = words.view(torch.int8)[: x.numel()].view(x.shape).to(x.device)
        mask = torch.empty_like(x)  # comparing straight into it: operations on booleans are slow on a CPU
        torch.ge(bits, self.n_dropped - _LEVELS // 2, out=mask)
        return mask.mul_(_LEVELS / (_LEVELS - self.n_dropped))
