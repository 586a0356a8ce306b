"""Policies side by side: the same environment, the same seeds, a record for each policy and target."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.evaluation.statistics import bootstrap_interval
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.protocol import Policy


@dataclass(frozen=True)
class Score:
    """What one policy reached when it was asked for one return.

    Attributes:
        agent: The policy's name.
        target_return: What was asked, reward units.
        returns: Each episode's return.
        lengths: Each episode's steps.
        mean: Of the returns.
        std: Of the returns.
        low: The lower end of the mean's 95 % bootstrap interval over episodes; it knows nothing of other
            seeds of training.
        high: Its upper end.
        normalized_score: The mean on the scale where the references are 0 and 100, or None without any.
        n_parameters: The policy's trained parameters, or None where it has no model.
    """

    agent: str
    target_return: float
    returns: list[float]
    lengths: list[int]
    mean: float
    std: float
    low: float
    high: float
    normalized_score: float | None
    n_parameters: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return asdict(self)


def compare(
    policies: Mapping[str, Policy],
    env_id: str,
    target_returns: Sequence[float],
    n_episodes: int,
    *,
    seed: int = 0,
    reference_scores: tuple[float, float] | None = None,
    progress_bar: bool = False,
) -> Iterator[Score]:
    """Ask each policy for each return, and yield what it reached, as soon as it is known.

    Episode j of every policy at every target begins with ``seed + j``, so that differences are paired.

    Args:
        policies: By name.
        env_id: A Gymnasium id.
        target_returns: Returns to ask for, reward units.
        n_episodes: For each policy and target.
        seed: Of the first episode.
        reference_scores: What counts as 0 and 100; None: what each policy's dataset said.
        progress_bar: Show one, if standard error is a terminal.
    """
    for name, policy in policies.items():
        for target_return in target_returns:
            result = evaluate(
                policy,
                env_id,
                target_return,
                n_episodes,
                seed=seed,
                reference_scores=reference_scores,
                progress_bar=progress_bar,
            )
            scores = result.normalized_scores
            low, high = bootstrap_interval(result.returns)
            yield Score(
                name,
                float(target_return),
                result.returns.tolist(),
                result.lengths.tolist(),
                result.mean,
                result.std,
                low,
                high,
                None if scores is None else float(scores.mean()),
                _count_parameters(policy),
            )


def spread_targets(episode_returns: np.ndarray, n_targets: int) -> list[float]:
    """Return targets evenly spaced from the 10th percentile of the data's returns to the best of them."""
    targets = np.linspace(np.quantile(episode_returns, 0.1), episode_returns.max(), n_targets)
    return [float(target) for target in targets]


def _count_parameters(policy: Policy) -> int | None:
    if isinstance(policy, OfflinePolicy):
        network: nn.Module = policy.model
    elif isinstance(policy, SB3Policy):
        network = policy.model.policy
    else:
        return None
    return sum(parameter.numel() for parameter in network.parameters())
