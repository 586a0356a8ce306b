"""The experiments, each a constant."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

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
    **settings: Any,
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
            tuple(settings.items()),
            evaluate_at=tuple(n for n in (250, 500, 2000) if n < n_steps),
            expert_target=True,
            n_data_episodes=n_data_episodes,
        )
        for seed in seeds
        for variant in variants
    )


REPLAY = "qdt/synthetic/medium-replay-v0"
HIDDEN = "qdt/synthetic-hidden/medium-replay-v0"
DELAYED = {
    1: REPLAY,
    50: "qdt/synthetic-delayed/medium-replay-v0",
    200: "qdt/synthetic-delayed-200/medium-replay-v0",
}
"""The same episodes by the delay of their rewards, in steps."""
QUALITY_DATASETS = tuple(
    f"qdt/synthetic/{quality}-v0"
    for quality in ("random", "medium", "medium-replay", "medium-expert", "expert")
)
"""The datasets of the usual task, from bad to good."""
ALIKE = range(5, 10)
"""ABLATION's seeds of medium-replay that come last: run after the rules of its report were written, and on
one kind of machine, where the others ran on three. FOLDED, SENSITIVITY and CREDIT compare with these first.
"""
_OFFLINE = ("dt", "q-attention", "q-feedforward", "qdt", "wide-dt", "bc", "bc-10%")
ABLATION = (
    *_task("ablation", REPLAY, _OFFLINE, range(5)),
    *(
        cell
        for seed in range(5)  # by seeds, so that every task soon has one
        for cell in (
            *_task("ablation", HIDDEN, _OFFLINE, [seed]),
            *_task("ablation", REPLAY, _OFFLINE, [seed], n_data_episodes=20),
            *_task("ablation", DELAYED[50], _OFFLINE, [seed]),
            *_task("ablation", "qdt/synthetic/medium-expert-v0", _OFFLINE, [seed]),
            *_task("ablation", "qdt/synthetic/medium-v0", _OFFLINE, [seed]),
            *_task("ablation", "qdt/synthetic/expert-v0", _OFFLINE, [seed]),
            *_task("ablation", "qdt/synthetic/random-v0", _OFFLINE, [seed]),
        )
    ),
    *_task("ablation", REPLAY, _OFFLINE, ALIKE),
)
"""The paper's two-by-two ablation and its controls, in the order in which they are run."""

ONLINE = tuple(
    Cell("online", algorithm, REPLAY, seed, n_steps)
    for seed in range(3)
    for algorithm, n_steps in (("PPO", 400_000), ("SAC", 40_000))
)
"""Agents that may act in the environment, each for about as many minutes as training takes a ``qdt``."""

FOLDED = _task("folded", REPLAY, ("wide-dt+folded-start",), (*ALIKE, *range(5)))
"""Is it the parameterisation? A plain transformer that starts as the same function as ABLATION's ``qdt``."""

PLATEAU = tuple(
    cell
    for dataset in (REPLAY, HIDDEN)
    for cell in _task("plateau", dataset, ("dt", "qdt"), range(2), n_steps=6000)
)
"""Are 2,000 updates a plateau?"""


def _sensitivity(seeds: Sequence[int]) -> Iterator[Cell]:
    for seed in seeds:
        for strength in (0.0, 0.1, 0.5, 1.0, 3.0):
            yield from _task(
                "sensitivity", REPLAY, ["qdt"], [seed], policy_kwargs={"entanglement_strength": strength}
            )
        for n_channels in (2, 4, 8):
            yield from _task("sensitivity", REPLAY, ["qdt"], [seed], policy_kwargs={"n_channels": n_channels})
        yield from _task("sensitivity", REPLAY, ["qdt+wide-entanglement"], [seed])
        for learning_rate in (1e-4, 9e-4, 3e-3):
            agents = ["dt", "wide-dt", "qdt"]
            yield from _task("sensitivity", REPLAY, agents, [seed], learning_rate=learning_rate)


SENSITIVITY = tuple(_sensitivity(ALIKE[:3]))
"""One factor at a time. The defaults themselves, α_e = 0.3, n = 3, 3e-4, are the ablation's runs, and so is
n = 1, which is its ``q-attention``.
"""

_UNBOUNDED = 1e9  # a norm that no gradient reaches


def _readings(variant: str, changes: Sequence[str], seed: int) -> Iterator[Cell]:
    for change in changes:
        yield from _task("catastrophe", REPLAY, [f"{variant}+{change}"], [seed])
    for settings in (
        {"warmup_steps": 0},
        {"max_grad_norm": _UNBOUNDED},
        {"learning_rate": 1e-2},
        {"warmup_steps": 0, "max_grad_norm": _UNBOUNDED, "learning_rate": 1e-2},
    ):
        yield from _task("catastrophe", REPLAY, [variant], [seed], **settings)


_OF_ANY_AGENT = ("no-causal-mask", "raw-observations", "raw-returns")
_OF_ENTANGLEMENT = ("no-residual", "across-tokens")
CATASTROPHE = tuple(
    cell
    for seed in (0, ALIKE[0])
    for cell in (
        *_readings("q-attention", (*_OF_ENTANGLEMENT, *_OF_ANY_AGENT), seed),
        *_readings("dt", _OF_ANY_AGENT, seed),
    )
)
"""Which reading of the paper's description makes Q-attention alone fail, and not DT with it? The ablation has
their runs as they are.
"""

CREDIT = (
    *(cell for seed in ALIKE for cell in _task("credit", DELAYED[200], ("dt", "qdt", "wide-dt"), [seed])),
    *(
        cell
        for seed in range(3)
        for context_length in (5, 50)
        for delay in (1, 50)
        for cell in _task("credit", DELAYED[delay], ("dt", "qdt"), [seed], context_length=context_length)
    ),
    *(
        cell
        for seed in range(3)
        for context_length in (1, 5)
        for cell in _task("credit", HIDDEN, ("dt", "qdt"), [seed], context_length=context_length)
    ),
    *(
        cell
        for seed in ALIKE
        for cell in _task("credit", REPLAY, ("dt", "qdt", "wide-dt"), [seed], context_length=50)
    ),
)
"""What delayed rewards and a hidden polarity cost; a context of 20 and delays up to 50 are in ABLATION.

Last comes the test of what seeds 0 to 2 hint at, that QDT is ahead with a context of 50.
"""

MECHANISM = tuple(
    Cell("mechanism", variant, REPLAY, seed, 2000, n_episodes=8, evaluate_at=(1, 50, 100, 250, 500, 1000))
    for seed in ALIKE[:2]
    for variant in ("qdt", "q-feedforward", "q-attention", "wide-dt")
)
"""What goes on inside, over training: the ablation's runs once more, looked into more often. The feedforward
of ``wide-dt``, cut into three, tells what of the channels' likeness is the interference's doing.
"""

GRIDS: Mapping[str, tuple[Cell, ...]] = MappingProxyType(
    {
        "precision": PRECISION,
        "ablation": ABLATION,
        "online": ONLINE,
        "folded": FOLDED,
        "plateau": PLATEAU,
        "sensitivity": SENSITIVITY,
        "catastrophe": CATASTROPHE,
        "credit": CREDIT,
        "mechanism": MECHANISM,
    }
)


def ablation_cell(cell: Cell, variant: str | None = None) -> Cell:
    """Return the ablation's run on a cell's data and of its seed: what others are compared with.

    Args:
        cell: Of any experiment.
        variant: The agent; None: the cell's own, without its change.
    """
    variant = variant or cell.variant.partition("+")[0]
    (found,) = _task("ablation", cell.dataset, [variant], [cell.seed], cell.n_data_episodes)
    return found


def find_grid(name: str) -> tuple[Cell, ...]:
    """Return the cells of an experiment.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in GRIDS:
        raise ConfigError(f"Unknown experiment {name!r}; the experiments are {', '.join(GRIDS)}.")
    return GRIDS[name]
