"""The experiments, each a constant."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from qdt_rl.errors import ConfigError
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


def _task(
    experiment: str,
    dataset: str,
    variants: Sequence[str],
    seeds: Sequence[int],
    n_data_episodes: int = 0,
    n_steps: int = 2000,
) -> tuple[Cell, ...]:
    """Return the cells of one task, seed by seed, by the rule of all experiments.

    Everything else is the library's default, which is the specification's: 2,000 updates, 64 episodes whose
    seeds are the same for all agents, asked for the best return in the data and, at the end, the expert's.
    """
    return tuple(
        Cell(
            experiment,
            variant,
            dataset,
            seed,
            n_steps,
            evaluate_at=tuple(n for n in (250, 500, 2000) if n < n_steps),
            expert_target=True,
            n_data_episodes=n_data_episodes,
        )
        for seed in seeds
        for variant in variants
    )


_OFFLINE = ("dt", "q-attention", "q-feedforward", "qdt", "wide-dt", "bc", "bc-10%")
ABLATION = (
    *_task("ablation", "qdt/synthetic/medium-replay-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic-hidden/medium-replay-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/medium-replay-v0", _OFFLINE, range(5), n_data_episodes=20),
    *_task("ablation", "qdt/synthetic-delayed/medium-replay-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/medium-expert-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/medium-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/expert-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/random-v0", _OFFLINE, range(5)),
    *_task("ablation", "qdt/synthetic/medium-replay-v0", _OFFLINE, range(5, 10)),
)
"""The paper's two-by-two ablation and its controls, in the order in which they are run."""

FOLDED = _task("folded", "qdt/synthetic/medium-replay-v0", ("qdt", "wide-dt", "wide-dt-folded"), range(5))
"""Is it the parameterisation? ``qdt`` against a plain transformer that starts as the same function."""

PLATEAU = tuple(
    cell
    for dataset in ("qdt/synthetic/medium-replay-v0", "qdt/synthetic-hidden/medium-replay-v0")
    for cell in _task("plateau", dataset, ("dt", "qdt"), range(2), n_steps=6000)
)
"""Are 2,000 updates a plateau?"""

GRIDS: Mapping[str, tuple[Cell, ...]] = MappingProxyType(
    {"precision": PRECISION, "ablation": ABLATION, "folded": FOLDED, "plateau": PLATEAU}
)


def find_grid(name: str) -> tuple[Cell, ...]:
    """Return the cells of an experiment.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in GRIDS:
        raise ConfigError(f"Unknown experiment {name!r}; the experiments are {', '.join(GRIDS)}.")
    return GRIDS[name]
