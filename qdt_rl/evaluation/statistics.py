"""How sure an average over runs or episodes is: rliable's definitions (arXiv 2108.13264), with a seed."""

import reprlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy import stats

from qdt_rl.config import is_number, require, require_whole
from qdt_rl.errors import ConfigError, InputError

Statistic = Literal["mean", "iqm"]
_N_RESAMPLES = 9_999
_LEVEL = 0.95
_BATCH = 2**20
"""Values that are drawn at once: all 9,999 resamples of many values would not fit into memory."""


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean without the lowest and the highest quarter of all values, ⌊n/4⌋ at each end.

    Args:
        values: Finite numbers, in any shape, all counted alike.

    Raises:
        InputError: If there is no value, or one that is not finite.
    """
    return float(_trimmed_mean(_finite(values), axis=-1))


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = "mean", confidence: float = _LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return a percentile bootstrap interval, from 9,999 resamples of ``values``.

    Percentiles are rliable's choice. They stay within the range of the data, and exist where all values are
    equal, where the bias-corrected interval (BCa) does not.

    Args:
        values: Finite numbers, in any shape: independent repetitions.
        statistic: ``"mean"``, or ``"iqm"`` for ``interquartile_mean``.
        confidence: The interval's level, in (0, 1).
        seed: Of the resampling.

    Returns:
        The lower and the upper end; both NaN for a single value, which says nothing of its spread.

    Raises:
        ConfigError: If ``statistic`` is unknown or ``confidence`` is out of its range.
        InputError: If there is no value, or one that is not finite.
    """
    if statistic not in _STATISTICS:
        raise ConfigError(f"statistic must be one of {sorted(_STATISTICS)}, but {statistic!r} was given.")
    require(is_number(confidence) and 0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    sample = _finite(values)
    if len(sample) == 1:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (sample,),
        _STATISTICS[statistic],
        n_resamples=_N_RESAMPLES,
        batch=max(1, _BATCH // len(sample)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(require_whole("seed", seed, 0)),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def crossed_interval(values: Float64[np.ndarray, "runs episodes"]) -> tuple[float, float]:
    """Return a 95 % percentile bootstrap interval of the mean, all runs being judged by the same episodes.

    Both are drawn anew, runs and episodes, 9,999 times: what the episodes have in common in every run is
    luck too, which resampling runs alone cannot see.

    Args:
        values: Of each run and episode.

    Returns:
        The lower and the upper end; both NaN for a single run.
    """
    if len(values) == 1:
        return float("nan"), float("nan")
    drawn_runs, drawn_episodes = _crossed_draws(*values.shape)
    means = ((drawn_runs @ values) * drawn_episodes).sum(axis=1) / values.size
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)  # a report asks for hundreds of intervals of a few shapes
def _crossed_draws(
    n_runs: int, n_episodes: int
) -> tuple[Float64[np.ndarray, "resamples runs"], Float64[np.ndarray, "resamples episodes"]]:
    """Return how often each resample draws each run, and each episode."""
    rng = np.random.default_rng(0)
    runs, episodes = (rng.multinomial(n, np.full(n, 1 / n), _N_RESAMPLES) for n in (n_runs, n_episodes))
    return runs.astype(float), episodes.astype(float)


def student_interval(values: Float64[np.ndarray, " runs"]) -> tuple[float, float]:
    """Return Student's 95 % interval of a mean, which is wider than a bootstrap's where values are few.

    Returns:
        The lower and the upper end; both NaN for a single value.
    """
    if len(values) == 1:
        return float("nan"), float("nan")
    reach = stats.t.ppf((1 + _LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - reach), float(values.mean() + reach)


def widest_interval(values: Float64[np.ndarray, "runs episodes"]) -> tuple[float, float]:
    """Return the farther ends of Student's interval over runs and of ``crossed_interval``, both at 95 %.

    Returns:
        The lower and the upper end; both NaN for fewer than two runs.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = zip(student_interval(values.mean(axis=1)), crossed_interval(values), strict=True)
    return min(low), max(high)


def probability_of_improvement(first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " m"]) -> float:
    """Return how often a run of the first beats one of the second, ties half (rliable)."""
    return float(_wins(first, second).mean())


def improvement_interval(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " m"]
) -> tuple[float, float]:
    """Return a 95 % percentile bootstrap interval of ``probability_of_improvement``, runs of both drawn anew.

    Returns:
        The lower and the upper end; both NaN for a single run, and where all pairs come out alike, which a
        bootstrap would be sure of however few they are.
    """
    wins = _wins(first, second)
    if min(wins.shape) == 1 or wins.min() == wins.max():
        return float("nan"), float("nan")
    return crossed_interval(wins)


def performance_profile(
    scores: Float64[np.ndarray, " runs"], thresholds: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return the share of runs whose score exceeds each threshold (rliable)."""
    shares: Float64[np.ndarray, " n"] = (scores > thresholds[:, None]).mean(axis=1)
    return shares


def _wins(first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "n m"]:
    """Return 1 where a run of the first beats one of the second, ½ where they tie, and 0 elsewhere."""
    wins: Float64[np.ndarray, "n m"] = (1 + np.sign(first[:, None] - second)) / 2
    return wins


def _trimmed_mean(values: Any, axis: int) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


_STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "iqm": _trimmed_mean}


def _finite(values: ArrayLike) -> np.ndarray:
    try:
        sample = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        sample = np.array([])
    if not sample.size or not np.isfinite(sample).all():
        raise InputError(f"values must be one or more finite numbers, but {reprlib.repr(values)} was given.")
    return sample
