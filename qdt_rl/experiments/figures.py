"""Figures of scores: pure functions of the records."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float64

from qdt_rl.experiments.comparison import Score
from qdt_rl.experiments.tables import decimals
from qdt_rl.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
_NO_DATE = {".svg": {"Date": None}, ".png": {}}

# Tol's bright scheme, which colour-blind readers can tell apart; the markers say the same without colour.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")


def plot_returns(scores: Sequence[Score], path: Path, title: str) -> None:
    """Write the figure that ``draw_returns`` draws, as PNG or SVG."""
    with _figure(path, (8.0, 1.3 + 0.5 * len(scores)), title) as axes:
        draw_returns(axes, scores)


def plot_requested_returns(
    scores: Sequence[Score],
    path: Path,
    title: str,
    ceiling: Score | None = None,
    episode_returns: Float64[np.ndarray, " episodes"] | None = None,
) -> None:
    """Write the figure that ``draw_requested_returns`` draws, as PNG or SVG."""
    with _figure(path, (7.6, 5.0), title) as axes:
        draw_requested_returns(axes, scores, ceiling, episode_returns)


def draw_returns(axes: "Axes", scores: Sequence[Score]) -> None:
    """Draw a row for each policy: its episodes, their mean, and the mean's 95 % interval.

    Args:
        axes: Where.
        scores: One for each policy.
    """
    jitter = np.random.default_rng(0)
    digits = decimals(scores)
    for row, score in enumerate(scores):
        colour = COLOURS[row % len(COLOURS)]
        spread = row + jitter.uniform(-0.18, 0.18, len(score.result.returns))
        axes.scatter(score.result.returns, spread, s=12, color=colour, alpha=0.4, linewidths=0)
        axes.errorbar(
            score.result.mean, row, xerr=_errors([score]), fmt="d", color="black", markersize=6, capsize=4
        )
        axes.annotate(
            _mean_and_interval(score, digits),
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    axes.annotate("mean [95 % interval]", (1.02, -0.6), xycoords=("axes fraction", "data"), fontsize=9)
    axes.set_yticks(range(len(scores)), [score.agent for score in scores])
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlabel("return of an episode")
    axes.locator_params(axis="x", nbins=6)  # more labels of five digits would touch each other
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)


def draw_requested_returns(
    axes: "Axes",
    scores: Sequence[Score],
    ceiling: Score | None = None,
    episode_returns: Float64[np.ndarray, " episodes"] | None = None,
) -> None:
    """Draw the return achieved against the return requested, a line for each policy.

    Args:
        axes: Where.
        scores: Of several policies and targets.
        ceiling: Of a policy whose mean return is drawn as a level, such as the expert.
        episode_returns: (E,), the returns in the data: drawn as a rug, since no promise holds beyond them.
    """
    ends = [pick(score.target_return for score in scores) for pick in (min, max)]
    axes.plot(ends, ends, "--", color="black", linewidth=1, label="achieved = requested")
    for i, agent in enumerate(dict.fromkeys(score.agent for score in scores)):
        mine = sorted((s for s in scores if s.agent == agent), key=lambda score: score.target_return)
        axes.errorbar(
            [score.target_return for score in mine],
            [score.result.mean for score in mine],
            _errors(mine),
            marker=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            linewidth=1.6,
            capsize=3,
            label=agent,
        )
    if ceiling is not None:
        axes.axhline(ceiling.result.mean, color="black", linestyle=":", linewidth=1.2, label=ceiling.agent)
    if episode_returns is not None:
        axes.plot(
            episode_returns,
            np.full(len(episode_returns), 0.02),
            "|",
            color="grey",
            markersize=9,
            alpha=0.6,
            transform=axes.get_xaxis_transform(),
            label="episodes in the data",
        )
    axes.set_xlabel("requested return")
    axes.set_ylabel("achieved return: mean, 95 % interval")
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _errors(scores: Sequence[Score]) -> Float64[np.ndarray, "2 scores"]:
    """Return how far each interval reaches below and above its mean; 0 where there is none."""
    below = [0.0 if score.low is None else score.result.mean - score.low for score in scores]
    above = [0.0 if score.high is None else score.high - score.result.mean for score in scores]
    return np.maximum([below, above], 0.0)  # equal returns: the interval may miss the mean by its rounding


def _mean_and_interval(score: Score, digits: int) -> str:
    interval = "" if score.low is None else f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return f"{score.result.mean:.{digits}f}{interval}"


def plot_panels(draw: Callable[["Axes", T], None], items: Sequence[T], path: Path) -> None:
    """Write a figure with a panel for each item, as PNG or SVG.

    Args:
        draw: Draws an item on axes.
        items: What to draw.
        path: Where.
    """
    from matplotlib import rc_context
    from matplotlib.rcsetup import cycler

    n_columns = min(2, len(items))
    n_rows = -(-len(items) // n_columns)
    with rc_context({"axes.prop_cycle": cycler("color", COLOURS), "svg.hashsalt": "qdt_rl"}):
        figure = _new_figure((5.5 * n_columns, 4.0 * n_rows))
        panels = figure.subplots(n_rows, n_columns, squeeze=False).flat
        for item, axes in zip(items, panels, strict=False):
            draw(axes, item)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in panels:
            axes.set_axis_off()
        _write(figure, path)


@contextmanager
def _figure(path: Path, size: tuple[float, float], title: str) -> Iterator["Axes"]:
    """Yield axes, and write them to ``path`` when they are drawn, whole or not at all."""
    figure = _new_figure(size)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    figure.suptitle(title, fontsize=11)
    _write(figure, path)


def _new_figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no window, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: "Figure", path: Path) -> None:
    """Write PNG or SVG, whole or not at all, without a date: the same records give the same bytes."""
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format=path.suffix[1:], metadata=_NO_DATE[path.suffix])
    write_whole(path, image.getvalue())
