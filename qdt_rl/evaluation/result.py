"""What an evaluation found, episode by episode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from qdt_rl.config import is_scale
from qdt_rl.errors import ConfigError

_TAIL = 0.05


def normalized_scores(
    returns: Float64[np.ndarray, " n"], references: tuple[float, float]
) -> Float64[np.ndarray, " n"]:
    """Return scores as D4RL's (arXiv 2004.07219), 100 (return − minimum) / (maximum − minimum).

    Args:
        returns: (n,) in reward units.
        references: The minimum and the maximum, which count as 0 and 100.
    """
    low, high = references
    return 100 * (returns - low) / (high - low)


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The episodes of one evaluation, in the order of their seeds.

    Attributes:
        returns: (E,) sums of rewards, undiscounted, in reward units.
        lengths: (E,) steps taken.
        target_returns: (E,) returns asked for at the first step.
        reference_scores: The (minimum, maximum) returns that count as 0 and 100, or None where unknown.

    Raises:
        ConfigError: If the reference scores are not finite or not in ascending order.
    """

    returns: Float64[np.ndarray, " episodes"]
    lengths: Int64[np.ndarray, " episodes"]
    target_returns: Float64[np.ndarray, " episodes"]
    reference_scores: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.reference_scores is not None:
            scores: Any = self.reference_scores
            is_pair = isinstance(scores, Sequence | np.ndarray) and len(scores) == 2
            if not (is_pair and is_scale(*scores)):
                raise ConfigError(
                    "reference_scores must be two finite returns (minimum, maximum), the minimum first, "
                    f"but {self.reference_scores!r} was given."
                )
            object.__setattr__(self, "reference_scores", tuple(map(float, scores)))

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """The standard deviation over episodes, divided by E as in SB3's ``evaluate_policy``."""
        return float(self.returns.std())

    @property
    def cvar(self) -> float:
        """The mean of the worst 5 % of the episodes, at least one: the conditional value at risk."""
        n_worst = math.ceil(_TAIL * len(self.returns))
        return float(np.sort(self.returns)[:n_worst].mean())

    @property
    def target_errors(self) -> Float64[np.ndarray, " episodes"]:
        """(E,) returns achieved minus returns requested."""
        errors: Float64[np.ndarray, " episodes"] = self.returns - self.target_returns
        return errors

    @property
    def normalized_scores(self) -> Float64[np.ndarray, " episodes"] | None:
        """(E,) scores, 0 at the minimum of the references and 100 at the maximum; None without any."""
        if self.reference_scores is None:
            return None
        return normalized_scores(self.returns, self.reference_scores)

    @property
    def normalized_score(self) -> float | None:
        """The mean of ``normalized_scores``, which is also the mean return's; None without references."""
        scores = self.normalized_scores
        return None if scores is None else float(scores.mean())

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it: lists and numbers; None where there are no references."""
        return {
            "n_episodes": len(self.returns),
            "mean": self.mean,
            "std": self.std,
            "cvar": self.cvar,
            "mean_target_error": float(self.target_errors.mean()),
            "mean_absolute_target_error": float(np.abs(self.target_errors).mean()),
            "normalized_score": self.normalized_score,
            "reference_scores": None if self.reference_scores is None else list(self.reference_scores),
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
            "target_returns": self.target_returns.tolist(),
        }
