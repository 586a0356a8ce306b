"""Figures of scores: pure functions of the records."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdt_rl.experiments.comparison import Score
from qdt_rl.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bbbbbb",
)  # Tol's, colour-blind safe


def plot_returns(scores: Sequence[Score], path: Path, title: str) -> None:
    """Draw each policy's episodes, its mean and the mean's 95 % interval.

    Args:
        scores: One for each policy.
        path: Of the PNG or SVG to write.
        title: Above the figure.
    """
    with _figure(path, (1.8 + 1.15 * len(scores), 4.2)) as axes:
        rng = np.random.default_rng(0)
        for i, score in enumerate(scores):
            colour = _COLOURS[i % len(_COLOURS)]
            jitter = i + rng.uniform(-0.16, 0.16, len(score.returns))
            axes.scatter(jitter, score.returns, s=9, color=colour, alpha=0.45, linewidths=0)
            axes.hlines(score.mean, i - 0.28, i + 0.28, color=colour, linewidth=3)
            axes.vlines(i, score.low, score.high, color="black", linewidth=1.4)
            axes.annotate(f"{score.mean:.0f}", (i + 0.3, score.mean), fontsize=9, va="center", color="black")
        axes.set_xticks(range(len(scores)), [score.agent for score in scores])
        axes.set_xlim(-0.5, len(scores) - 0.25)
        axes.set_ylabel("return of an episode")
        axes.set_title(title, fontsize=11)


def plot_requested_returns(
    scores: Sequence[Score], path: Path, title: str, episode_returns: np.ndarray | None = None
) -> None:
    """Draw the return achieved against the return requested, a line for each policy.

    Args:
        scores: Of several policies and targets.
        path: Of the PNG or SVG to write.
        title: Above the figure.
        episode_returns: (E,), the returns in the data: drawn as a rug, since no promise holds beyond them.
    """
    with _figure(path, (5.6, 4.6)) as axes:
        targets = sorted({score.target_return for score in scores})
        axes.plot(
            targets[:: len(targets) - 1 or 1],
            targets[:: len(targets) - 1 or 1],
            "--",
            color="black",
            linewidth=1,
            label="achieved = requested",
        )
        for i, agent in enumerate(dict.fromkeys(score.agent for score in scores)):
            mine = sorted((s for s in scores if s.agent == agent), key=lambda score: score.target_return)
            means = np.array([score.mean for score in mine])
            errors = np.array([[s.mean - s.low for s in mine], [s.high - s.mean for s in mine]])
            axes.errorbar(
                [s.target_return for s in mine],
                means,
                errors,
                marker="o",
                capsize=3,
                linewidth=1.6,
                color=_COLOURS[i % len(_COLOURS)],
                label=agent,
            )
        if episode_returns is not None:
            axes.plot(
                episode_returns,
                np.full(len(episode_returns), 0.015),
                "|",
                color="grey",
                markersize=9,
                transform=axes.get_xaxis_transform(),
                label="episodes in the data",
            )
        axes.set_xlabel("requested return")
        axes.set_ylabel("achieved return (mean, 95 % interval)")
        axes.set_title(title, fontsize=11)
        axes.legend(frameon=False, fontsize=9)


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator["Axes"]:
    """Yield axes, and write them to ``path`` when they are drawn, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no window, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format=path.suffix[1:])
    write_whole(path, image.getvalue())
