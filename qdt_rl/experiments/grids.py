"""The experiments, each a constant."""

from collections.abc import Mapping
from types import MappingProxyType

from qdt_rl.experiments.cells import Cell

PRECISION = tuple(
    Cell(
        "precision",
        variant,
        "qdt/synthetic/medium-expert-v0",
        seed,
        600,
        (("precision", precision),),
        n_episodes=32,
        evaluate_at=(200, 600),
        sliding_window=precision == "bf16-mixed",
    )
    for seed in range(5)
    for variant in ("dt", "qdt")
    for precision in ("32", "bf16-mixed")
)
"""Does training in bfloat16 cost return? Does acting from a cache, instead of the original sliding window?"""

GRIDS: Mapping[str, tuple[Cell, ...]] = MappingProxyType({"precision": PRECISION})
