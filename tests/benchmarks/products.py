"""The matrix products of training or acting: recorded as torch dispatches them, counted, and run alone."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
_PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default)
_ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten.scaled_dot_product_attention.default,
)
_ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class Operand(NamedTuple):
    """A tensor's layout."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Operand":
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def random(self) -> Tensor:
        size = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return torch.randn(size).to(self.dtype).as_strided(self.shape, self.stride)


class Product(NamedTuple):
    """One matrix product, or a batch of them: the operator, and the layouts of what it is given."""

    operator: Any
    operands: tuple[Operand, ...]
    options: Mapping[str, Any]

    @property
    def multiplications(self) -> int:
        """Multiplications (each with an addition): rows × inner × columns, times the batch."""
        left, right = self.operands[-2:]
        return prod(left.shape) * right.shape[-1]


class RecordProducts(TorchDispatchMode):
    """Records the matrix products, forward and backward, of what runs inside.

    Torch's fused attention is recorded as the products that it consists of: two forward, four backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        options = options or {}
        if operator in _PRODUCTS:
            self.products.append(Product(operator, tuple(map(Operand.of, arguments)), options))
        elif operator is aten.linear.default:  # in inference mode torch does not take it apart
            tokens, weight, bias = arguments
            operands = bias, tokens.flatten(0, -2), weight.t()
            self.products.append(Product(aten.addmm.default, tuple(map(Operand.of, operands)), options))
        elif operator in _ATTENTION:
            self._record_attention(*arguments[:3], backward=False)
        elif operator is _ATTENTION_BACKWARD:
            self._record_attention(*arguments[1:4], backward=True)
        return operator(*arguments, **options)

    def _record_attention(self, query: Tensor, key: Tensor, value: Tensor, backward: bool) -> None:
        n, queries, size = query.shape[0] * query.shape[1], query.shape[2], query.shape[3]
        tokens = key.shape[2]
        asked, held = (n, queries, size), (n, tokens, size)
        scores, scores_t = (n, queries, tokens), (n, tokens, queries)
        forward_pairs = ((asked, (n, size, tokens)), (scores, held))
        backward_pairs = ((scores_t, asked), (asked, (n, size, tokens)), (scores, held), (scores_t, asked))
        for pair in backward_pairs if backward else forward_pairs:
            layouts = (Operand.of(torch.empty(shape, dtype=query.dtype, device="meta")) for shape in pair)
            self.products.append(Product(aten.bmm.default, tuple(layouts), {}))


def replay(products: Sequence[Product]) -> Callable[[int], None]:
    """Return what runs these products n times, on random numbers in the same layouts, and nothing else."""
    calls = [(p.operator, [operand.random() for operand in p.operands], p.options) for p in products]

    def run(n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                for operator, operands, options in calls:
                    operator(*operands, **options)

    return run
