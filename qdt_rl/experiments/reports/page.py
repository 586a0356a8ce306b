"""A page of an experiment: its text, and the panels of its figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qdt_rl.evaluation.statistics import bootstrap_interval, interquartile_mean
from qdt_rl.experiments.reports.outcomes import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Panel(Protocol):
    """What can be drawn."""

    def draw(self, axes: "Axes") -> None:
        """Draw on empty axes."""


@dataclass(frozen=True)
class Page:
    """What an experiment's records say.

    Attributes:
        text: Markdown.
        figures: By name, the panels of each.
    """

    text: str
    figures: Mapping[str, Sequence[Panel]] = field(default_factory=dict)


def times(ratios: Mapping[int, float]) -> str:
    """Return the median of ratios by seed, and of how many; a dash if there are none."""
    return f"{np.median(list(ratios.values())):.2f} × ({len(ratios)})" if ratios else "–"


def mean_and_interval(
    values: Array,
    signed: bool = False,
    digits: int = 0,
    interval: Callable[[Array], tuple[float, float]] = bootstrap_interval,
) -> str:
    """Return the mean and its 95 % interval, a bootstrap's by default; a dash if there are no values."""
    if not len(values):
        return "–"
    return with_interval(values.mean(), interval(values), f"{'+' if signed else ''}.{digits}f")


def iqm_and_interval(values: Array, digits: int = 0) -> str:
    """Return the interquartile mean and its 95 % bootstrap interval over seeds; a dash if there are none."""
    if not len(values):
        return "–"
    return with_interval(interquartile_mean(values), bootstrap_interval(values, "iqm"), f".{digits}f")


def with_interval(value: float, interval: tuple[float, float], shown: str) -> str:
    """Return a value and its interval, which is left out if it is NaN, in a format such as ``".1f"``."""
    low, high = interval
    return f"{value:{shown}}" + ("" if np.isnan(low) else f" ({low:{shown}} to {high:{shown}})")
