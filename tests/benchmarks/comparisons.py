"""What is compared with what, what is aimed at, and how a comparison is measured: in turns, pair by pair."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from statistics import median
from typing import Any, Literal

from tests.benchmarks.protocol import Worker, busy_seconds
from tests.benchmarks.report import Row

QUIET = 0.05
"""The share of the processors that other processes may take in a round."""
N_PROCESSORS = os.cpu_count() or 1


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        worker: Who measures it: ``"ours"``, ``"d3rlpy"``, ``"hugging_face"`` or ``"torchrl"``.
        job: The worker's name for it.
        options: The job's options.
        units: How much one repetition gets done: environments, for a step of them all.
    """

    worker: str
    job: str
    options: Mapping[str, Any] = field(default_factory=dict)
    units: int = 1

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.worker}: {self.job}" + (f"({options})" if options else "")


@dataclass(frozen=True)
class Comparison:
    """Our side against the best of the others.

    Attributes:
        what: The row's title.
        ours: Our side.
        others: The others; the best of each round counts.
        unit: What is done, in the plural.
        better: ``"faster"``: the ratio says how many times faster ours is, and must be at least the targets;
            ``"time"``: how many times as long it takes, and must be at most the targets.
        at_least: The target to be met.
        aim: The target to be wished for.
    """

    what: str
    ours: Side
    others: tuple[Side, ...]
    unit: str
    better: Literal["faster", "time"]
    at_least: float
    aim: float


def _training(variant: str, precision: str) -> Side:
    return Side("ours", "training", {"variant": variant, "precision": precision})


def _floor(variant: str, precision: str) -> Comparison:
    return Comparison(
        f"training step, our `{variant}`, {precision}, against its own matrix products alone",
        _training(variant, precision),
        (_products(variant, precision),),
        "updates",
        "time",
        2.2,
        1.6,
    )


def _products(variant: str, precision: str) -> Side:
    return Side("ours", "floor", {"variant": variant, "precision": precision})


def _bound(what: str, ours: Side, target: Comparison) -> Comparison:
    """Return how a target would come out if there were nothing to do but our own matrix products."""
    return replace(target, what=f"bound: {what}, its matrix products alone", ours=ours)


def _acting(n_envs: int, precision: str) -> Side:
    return Side("ours", "acting", {"n_envs": n_envs, "precision": precision}, units=n_envs)


_D3RLPY_TRAINING = (Side("d3rlpy", "training"),)
_PEERS_AT_64 = tuple(
    Side(peer, "acting", {"n_envs": 64}, 64) for peer in ("d3rlpy", "hugging_face", "torchrl")
)

_DT_TRAINING = Comparison(
    "training, our `dt`, auto precision, against d3rlpy's DT",
    _training("dt", "auto"),
    _D3RLPY_TRAINING,
    "updates",
    "faster",
    3.0,
    4.5,
)
_QDT_TRAINING = Comparison(
    "training, our `qdt`, auto precision, against d3rlpy's plain DT",
    _training("qdt", "auto"),
    _D3RLPY_TRAINING,
    "updates",
    "faster",
    1.8,
    2.8,
)
_ONE_ENVIRONMENT = Comparison(
    "acting, one environment, our `qdt` against d3rlpy's stateful wrapper",
    _acting(1, "32"),
    (Side("d3rlpy", "acting", {"n_envs": 1}),),
    "actions",
    "faster",
    3.0,
    6.0,
)

COMPARISONS = (
    _DT_TRAINING,
    _bound("training our `dt`, auto precision", _products("dt", "auto"), _DT_TRAINING),
    _QDT_TRAINING,
    _bound("training our `qdt`, auto precision", _products("qdt", "auto"), _QDT_TRAINING),
    Comparison(
        "training, our `dt`, float32, against d3rlpy's DT",
        _training("dt", "32"),
        _D3RLPY_TRAINING,
        "updates",
        "faster",
        1.4,
        2.0,
    ),
    Comparison(
        "training, our `dt`, float32, against TorchRL's DT",
        _training("dt", "32"),
        (Side("torchrl", "training"),),
        "updates",
        "faster",
        1.4,
        2.0,
    ),
    _floor("dt", "bf16-mixed"),
    _floor("qdt", "bf16-mixed"),
    _floor("dt", "32"),
    _floor("qdt", "32"),
    _ONE_ENVIRONMENT,
    _bound(
        "acting, our `qdt`, one environment",
        Side("ours", "acting floor", {"n_envs": 1}),
        _ONE_ENVIRONMENT,
    ),
    Comparison(
        "acting, 64 environments, our `qdt`, float32, against the best peer",
        _acting(64, "32"),
        _PEERS_AT_64,
        "actions",
        "faster",
        5.0,
        7.0,
    ),
    Comparison(
        "acting, 64 environments, our `qdt`, bf16-mixed, against the best peer",
        _acting(64, "bf16-mixed"),
        _PEERS_AT_64,
        "actions",
        "faster",
        8.0,
        14.0,
    ),
    Comparison(
        "`make_vec` with 1024 against 1024 scalar environments in `SyncVectorEnv`",
        Side("ours", "stepping", {"vectorization": "vector_entry_point", "n_envs": 1024}, 1024),
        (Side("ours", "stepping", {"vectorization": "sync", "n_envs": 1024}, 1024),),
        "steps",
        "faster",
        60.0,
        150.0,
    ),
    Comparison(
        "1M steps of 1000 episodes from Minari, against plain h5py episode by episode",
        Side("ours", "loading", {"reader": "ours", "n_episodes": 1000}, 1_000_000),
        (Side("ours", "loading", {"reader": "h5py", "n_episodes": 1000}, 1_000_000),),
        "steps",
        "time",
        1.3,
        1.0,
    ),
)


@dataclass
class Measured:
    """A comparison's result: seconds per unit of each side by round, and the ratio of each round."""

    comparison: Comparison
    seconds: dict[str, list[float]]
    facts: dict[str, dict[str, Any]]
    ratios: list[float]
    disturbances: list[float] = field(default_factory=list)

    def row(self) -> Row:
        """Return the table's row, of medians."""
        rates = {side: 1 / median(seconds) for side, seconds in self.seconds.items()}
        ours, *others = (f"{rate:,.4g} {self.comparison.unit}/s" for rate in rates.values())
        workers = [side.split(":")[0] for side in rates][1:]
        if len(others) > 1:
            others = [f"{other} ({worker})" for other, worker in zip(others, workers, strict=True)]
        ratio = median(self.ratios) if self.ratios else None
        c = self.comparison
        return Row(c.what, ours, "; ".join(others), ratio, c.better == "faster", c.at_least, c.aim)


def measure(
    comparison: Comparison,
    workers: Mapping[str, Worker],
    n_rounds: int,
    seconds: float,
    processor_time: bool = False,
) -> Measured:
    """Measure the sides in turns, round by round, so that what slows the machine slows them alike.

    A round in which other processes took more than ``QUIET`` of the processors is repeated, as long as at
    most half of all rounds are; then it counts. Each round's disturbance is kept with the result.

    Args:
        comparison: What to measure; sides whose worker is missing are left out.
        workers: Who is there, by name.
        n_rounds: How many rounds.
        seconds: What one side's share of a round should last.
        processor_time: Compare the time of the processors, not of the clock: for a machine that others use
            too, with one thread, since waiting threads take time as well. No round is repeated then.
    """
    sides = [side for side in (comparison.ours, *comparison.others) if side.worker in workers]
    repetitions = {str(side): calibrate(workers[side.worker], side, seconds) for side in sides}
    result = Measured(comparison, {str(side): [] for side in sides}, {}, [])
    n_repeated = 0
    while len(result.disturbances) < n_rounds:
        start, busy = time.perf_counter(), busy_seconds()
        answers = {
            str(side): workers[side.worker].measure(side.job, repetitions[str(side)], side.options)
            for side in sides
        }
        own = sum(answer.processor_seconds for answer in answers.values())
        others = (busy_seconds() - busy - own) / ((time.perf_counter() - start) * N_PROCESSORS)
        if others > QUIET and n_repeated < n_rounds and not processor_time:
            n_repeated += 1
            continue
        result.disturbances.append(others)
        for side in sides:
            answer, n_units = answers[str(side)], repetitions[str(side)] * side.units
            seconds_per_unit = (answer.processor_seconds if processor_time else answer.seconds) / n_units
            result.seconds[str(side)].append(seconds_per_unit)
            result.facts[str(side)] = answers[str(side)].facts
        ours, *rest = (result.seconds[str(side)][-1] for side in sides)
        if rest:
            ratio = min(rest) / ours
            result.ratios.append(ratio if comparison.better == "faster" else 1 / ratio)
    return result


def calibrate(worker: Worker, side: Side, seconds: float) -> int:
    """Return how many repetitions of a job last about ``seconds``."""
    worker.measure(side.job, 1, side.options)  # prepares it, and warms it up
    once = worker.measure(side.job, 1, side.options).seconds
    few = max(1, min(50, ceil(seconds / 5 / once)))
    return max(1, ceil(seconds * few / worker.measure(side.job, few, side.options).seconds))
