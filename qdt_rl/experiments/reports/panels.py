"""Panels of the reports' figures: curves, rows and profiles over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qdt_rl.evaluation.statistics import bootstrap_interval, interquartile_mean, performance_profile
from qdt_rl.experiments.agents import AGENTS
from qdt_rl.experiments.figures import COLOURS, MARKERS
from qdt_rl.experiments.reports.outcomes import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = "loss, mean of 100 updates"
"""How a trace of losses is labelled; see ``Outcomes.trace``."""
_GRID: dict[str, Any] = {"color": "#e5e5e5", "linewidth": 0.8}
_LEVEL: dict[str, Any] = {"color": "black", "linewidth": 1.0}
_DASHES = (":", "--", "-.")


@dataclass(frozen=True)
class Curves:
    """Lines through the means over seeds.

    Attributes:
        title: Of the panel.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
        lines: By label and x, a value a seed.
        log_x: Whether x is logarithmic.
        log_y: Whether y is.
        levels: Horizontal lines.
        as_band: Draw the range of the seeds as a band, instead of a point a seed.
        identity: Whether to draw the line where y is x.
        ticks: Names of x = 0, 1, 2 …, if these stand for something.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Mapping[float, Array]]
    log_x: bool = False
    log_y: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)
    as_band: bool = False
    identity: bool = False
    ticks: Sequence[str] = ()

    def draw(self, axes: "Axes") -> None:
        """Draw on empty axes."""
        for i, (label, line) in enumerate(self.lines.items()):
            self._draw_line(axes, label, line, *_style(label, i))
        if self.identity:
            ends = [pick(x for line in self.lines.values() for x in line) for pick in (min, max)]
            axes.plot(ends, ends, "--", label="achieved = asked for", **_LEVEL)
        for (label, level), dashes in zip(self.levels.items(), _DASHES, strict=False):
            axes.axhline(level, linestyle=dashes, label=label, **_LEVEL)
        if self.ticks:
            axes.set_xticks(range(len(self.ticks)), self.ticks)
        if self.log_x:
            axes.set_xscale("log")
            xs = sorted({x for line in self.lines.values() for x in line})
            axes.set_xticks(xs, [f"{x:,g}" for x in xs], fontsize=8)
            axes.minorticks_off()  # the powers of ten between would overlap
        if self.log_y:
            axes.set_yscale("log")
        else:
            axes.ticklabel_format(
                axis="y", useOffset=False
            )  # small differences of large numbers are read off
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        axes.grid(**_GRID)
        axes.set_axisbelow(True)
        _finish(axes, self.title)

    def _draw_line(
        self, axes: "Axes", label: str, line: Mapping[float, Array], colour: str, marker: str
    ) -> None:
        xs = list(line)
        means = [values.mean() for values in line.values()]
        if self.as_band:
            axes.plot(xs, means, color=colour, linewidth=1.4, label=label)
            lows, highs = ([pick(values) for values in line.values()] for pick in (np.min, np.max))
            axes.fill_between(xs, lows, highs, color=colour, alpha=0.18, linewidth=0)
            return
        axes.plot(xs, means, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
        for x, values in line.items():
            axes.scatter([x] * len(values), values, s=14, color=colour, alpha=0.45, linewidths=0)


@dataclass(frozen=True)
class Rows:
    """A row for each label: a point a seed, their mean and its 95 % interval.

    Attributes:
        title: Of the panel.
        x_label: Of the horizontal axis.
        rows: By label, a value a seed.
        levels: Vertical lines.
    """

    title: str
    x_label: str
    rows: Mapping[str, Array]
    levels: Mapping[str, float] = field(default_factory=dict)

    def draw(self, axes: "Axes") -> None:
        """Draw on empty axes, the first row on top."""
        for row, values in enumerate(self.rows.values()):
            axes.scatter(values, [row] * len(values), s=18, color=COLOURS[0], alpha=0.5, linewidths=0)
            low, high = bootstrap_interval(values)
            axes.plot(values.mean(), row, "d", color="black", markersize=5)
            axes.plot([low, high], [row, row], color="black", linewidth=1.2)
        for (label, level), dashes in zip(self.levels.items(), _DASHES, strict=False):
            axes.axvline(level, linestyle=dashes, label=label, **_LEVEL)
        axes.set_yticks(range(len(self.rows)), list(self.rows), fontsize=8)
        axes.set_ylim(len(self.rows) - 0.5, -0.5)
        axes.set_xlabel(self.x_label)
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x", **_GRID)
        axes.set_axisbelow(True)
        _finish(axes, self.title)


@dataclass(frozen=True)
class Profiles:
    """Performance profiles over seeds, with the interquartile mean in the legend (rliable).

    Attributes:
        title: Of the panel.
        scores: By agent, a normalised score a seed.
    """

    title: str
    scores: Mapping[str, Array]

    def draw(self, axes: "Axes") -> None:
        """Draw on empty axes."""
        everything = np.concatenate(list(self.scores.values()))
        thresholds = np.linspace(everything.min() - 5, everything.max() + 5, 400)
        for i, (agent, values) in enumerate(self.scores.items()):
            label = f"{agent} ({interquartile_mean(values):.1f})"
            shares, colour = performance_profile(values, thresholds), _style(agent, i)[0]
            axes.step(thresholds, shares, where="post", label=label, color=colour)
        axes.set_xlabel("normalised score τ (0 random, 100 expert)")
        axes.set_ylabel("share of seeds above τ")
        _finish(axes, self.title, "agent (IQM)")


def _style(label: str, index: int) -> tuple[str, str]:
    """Return a colour and a marker: an agent's own in every panel, and others' by their place."""
    place = list(AGENTS).index(label) if label in AGENTS else index
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _finish(axes: "Axes", title: str, legend_title: str | None = None) -> None:
    axes.set_title(title, fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False,
            fontsize=7,
            title=legend_title,
            title_fontsize=7,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),  # inside it would cover what is drawn
        )
