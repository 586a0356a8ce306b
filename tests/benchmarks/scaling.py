"""How cost grows with batch, context, width and number of environments, and how memory does: one figure."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.comparisons import Side, calibrate
from tests.benchmarks.protocol import Worker

N_ROUNDS, SECONDS = 3, 0.5
AXES = {
    "batch_size": (16, 32, 64, 128, 256),
    "context_length": (5, 10, 20, 40, 80),
    "d_model": (32, 64, 128, 256),
}
N_ENVS = (1, 4, 16, 64, 256, 1024)
MEMORY_BATCH_SIZES = (16, 64, 256)
TITLES = {
    "batch_size": "windows in a batch",
    "context_length": "timesteps in a window",
    "d_model": "width of a token",
    "n_envs": "environments",
    "memory": "windows in a batch",
}


class Point(NamedTuple):
    """A curve's value at one place of an axis: milliseconds an update, actions a second, or MB."""

    axis: str
    curve: str
    at: int
    value: float


_TRAINING = {
    "qdt, bf16": ("ours", {"variant": "qdt", "precision": "bf16-mixed"}),
    "dt, bf16": ("ours", {"variant": "dt", "precision": "bf16-mixed"}),
    "qdt, float32": ("ours", {"variant": "qdt", "precision": "32"}),
    "dt, float32": ("ours", {"variant": "dt", "precision": "32"}),
    "d3rlpy's DT": ("d3rlpy", {}),
}
_ACTING = {
    "qdt, bf16": ("ours", {"precision": "bf16-mixed"}),
    "qdt, float32": ("ours", {"precision": "32"}),
    "d3rlpy's DT": ("d3rlpy", {}),
    "Hugging Face's DT": ("hugging_face", {}),
}
_COLORS = dict(
    zip(dict.fromkeys([*_TRAINING, *_ACTING]), ("C3", "C0", "C1", "C9", "0.4", "0.7"), strict=True)
)


def measure_all(workers: Mapping[str, Worker], variables: Mapping[str, str]) -> list[Point]:
    """Measure every point, those of one place in turns."""
    points = [
        point for axis, places in AXES.items() for at in places for point in _updates(workers, axis, at)
    ]
    points += [point for at in N_ENVS for point in _actions(workers, at)]
    return points + list(_memory(workers, variables))


def draw(source: Path, target: Path) -> None:
    """Draw the figure of stored points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    points = [Point(*point) for point in json.loads(source.read_text())["points"]]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    for axis, place in zip(TITLES, axes.flat, strict=False):
        for curve, color in _COLORS.items():
            line = [(point.at, point.value) for point in points if (point.axis, point.curve) == (axis, curve)]
            if line:
                place.plot(*zip(*line, strict=True), "o-", color=color, label=curve, markersize=4)
        unit = {"n_envs": "actions per second", "memory": "peak memory of the process, MB"}.get(
            axis, "ms per update"
        )
        place.set(xlabel=TITLES[axis], ylabel=unit, xscale="log", yscale="log")
        ticks = sorted({point.at for point in points if point.axis == axis})
        place.set_xticks(ticks, map(str, ticks))
        place.xaxis.minorticks_off()
        place.grid(alpha=0.3)
    legend = {
        text: line
        for place in axes.flat
        for line, text in zip(*place.get_legend_handles_labels(), strict=True)
    }
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(legend.values(), legend.keys(), loc="center", frameon=False)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _updates(workers: Mapping[str, Worker], axis: str, at: int) -> Iterator[Point]:
    sides = {
        curve: Side(worker, "training", {**options, axis: at})
        for curve, (worker, options) in _TRAINING.items()
        if worker in workers
    }
    for curve, seconds in _in_turns(workers, sides).items():
        yield Point(axis, curve, at, 1e3 * seconds)


def _actions(workers: Mapping[str, Worker], n_envs: int) -> Iterator[Point]:
    sides = {
        curve: Side(worker, "acting", {**options, "n_envs": n_envs}, n_envs)
        for curve, (worker, options) in _ACTING.items()
        if worker in workers and not (worker == "d3rlpy" and n_envs > 64)  # it takes them one by one
    }
    for curve, seconds in _in_turns(workers, sides).items():
        yield Point("n_envs", curve, n_envs, 1 / seconds)


def _in_turns(workers: Mapping[str, Worker], sides: Mapping[str, Side]) -> dict[str, float]:
    """Return the median seconds per unit of each side."""
    repetitions = {curve: calibrate(workers[side.worker], side, SECONDS) for curve, side in sides.items()}
    seconds: dict[str, list[float]] = {curve: [] for curve in sides}
    for _ in range(N_ROUNDS):
        for curve, side in sides.items():
            n = repetitions[curve]
            answer = workers[side.worker].measure(side.job, n, side.options)
            seconds[curve].append(answer.seconds / n / side.units)
    print({curve: median(values) for curve, values in seconds.items()}, file=sys.stderr)
    return {curve: median(values) for curve, values in seconds.items()}


def _memory(workers: Mapping[str, Worker], variables: Mapping[str, str]) -> Iterator[Point]:
    """Train in processes that have done nothing else."""
    for curve, (name, options) in _TRAINING.items():
        if name not in workers or curve.startswith("dt"):
            continue
        for at in MEMORY_BATCH_SIZES:
            with workers[name].again(variables) as worker:
                answer = worker.measure("training", 2, {**options, "batch_size": at})
            yield Point("memory", curve, at, answer.peak_memory)
