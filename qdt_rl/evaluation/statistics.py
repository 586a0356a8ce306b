"""How sure an average over runs or episodes is: rliable's definitions (arXiv 2108.13264), with a seed."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qdt_rl.errors import ConfigError, InputError

Statistic = Literal["mean", "iqm"]


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean without the lowest and the highest quarter of all values, ⌊n/4⌋ at each end.

    Args:
        values: Finite numbers, in any shape, all counted alike.

    Raises:
        InputError: If there is no value, or one that is not finite.
    """
    return float(_trimmed_mean(_finite(values), axis=-1))


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = "mean", confidence: float = 0.95, seed: int = 0
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
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be in (0, 1), but {confidence!r} was given.")
    sample = _finite(values)
    if len(sample) == 1:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (sample,),
        _STATISTICS[statistic],
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _trimmed_mean(values: Any, axis: int) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


_STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "iqm": _trimmed_mean}


def _finite(values: ArrayLike) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not sample.size or not np.isfinite(sample).all():
        raise InputError(f"values must be one or more finite numbers, but {sample} was given.")
    return sample
