"""Policies side by side: the same environment, the same seeds, a record for each policy and target."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isnan
from typing import Any

import numpy as np
from jaxtyping import Float64

from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.evaluation.environments import AnyEnv
from qdt_rl.evaluation.result import EvaluationResult
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.evaluation.statistics import bootstrap_interval
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.protocol import Policy
from qdt_rl.progress import track


@dataclass(frozen=True, eq=False)
class Score:
    """What one policy reached when it was asked for one return.

    Attributes:
        agent: The policy's name.
        env_id: The environment's id.
        seed: Of the first episode; episode j begins with ``seed + j``.
        result: What was played.
        low: The lower end of the mean return's 95 % bootstrap interval over episodes, or None of a single
            one. It knows nothing of other seeds of training.
        high: Its upper end.
        n_parameters: The policy's trained parameters, or None where it has no model.
    """

    agent: str
    env_id: str
    seed: int
    result: EvaluationResult
    low: float | None
    high: float | None
    n_parameters: int | None

    @property
    def target_return(self) -> float:
        """What was asked for in every episode, reward units."""
        return float(self.result.target_returns[0])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        about = {"agent": self.agent, "env_id": self.env_id, "target_return": self.target_return}
        measured = {"low": self.low, "high": self.high, "n_parameters": self.n_parameters}
        return {**about, "seed": self.seed, **measured, **self.result.as_dict()}


def compare(
    policies: Mapping[str, Policy],
    env: AnyEnv,
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
        env: A Gymnasium id, an Env or a VectorEnv.
        target_returns: Returns to ask for, reward units.
        n_episodes: For each policy and target.
        seed: Of the first episode.
        reference_scores: What counts as 0 and 100; None: what each policy's dataset said.
        progress_bar: Show one, if standard error is a terminal.

    Raises:
        ConfigError: If ``env`` cannot be used, or a count, the seed or the reference scores are out of range.
        InputError: If a target is not finite.
        MissingExtraError: If the environment of an id needs a package that is not installed.
    """
    cells = list(product(policies.items(), target_returns))
    for (name, policy), target_return in track(cells, len(cells), "Evaluating", progress_bar):
        result = evaluate(
            policy, env, target_return, n_episodes, seed=seed, reference_scores=reference_scores
        )
        yield _score(name, policy, _env_id(env), seed, result)


def spread_targets(episode_returns: Float64[np.ndarray, " episodes"], n_targets: int) -> list[float]:
    """Return targets evenly spaced from the 10th percentile of the data's returns to the best of them."""
    targets = np.linspace(np.quantile(episode_returns, 0.1), episode_returns.max(), n_targets)
    return [float(target) for target in targets]


def _score(name: str, policy: Policy, env_id: str, seed: int, result: EvaluationResult) -> Score:
    low, high = (None if isnan(end) else end for end in bootstrap_interval(result.returns))
    return Score(name, env_id, seed, result, low, high, count_parameters(policy))


def _env_id(env: AnyEnv) -> str:
    if isinstance(env, str):
        return env
    return env.spec.id if env.spec else type(env.unwrapped).__name__


def count_parameters(policy: Policy) -> int | None:
    """Return how many parameters of a policy are trained, or None where it has no model."""
    if isinstance(policy, OfflinePolicy):
        named = policy.model.named_parameters()
    elif isinstance(policy, SB3Policy):
        named = policy.model.policy.named_parameters()
    else:
        return None
    # SB3's target networks follow the trained ones, and are not trained themselves.
    return sum(parameter.numel() for name, parameter in named if "_target." not in name)
