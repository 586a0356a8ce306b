"""What a policy and those who run it agree on: ``predict``, the Dict observation and the target return."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from qdt_rl.errors import InputError


class Policy(Protocol):
    """Whatever acts: an agent of this library, a baseline, or a user's own class with this method.

    ``evaluate`` reads some attributes besides, where they exist: ``reference_scores``, the (minimum, maximum)
    returns that normalised scores refer to, and, of a policy that ``is_return_conditioned``, ``best_return``,
    beyond which it warns. Both count in the environment ``env_id`` alone; in any, if it is None or missing.
    Where ``observation_space`` and ``action_space`` (of one environment) are a Box, others are refused.
    """

    def predict(
        self,
        observation: Any,
        target_return: Any = None,
        state: Any = None,
        episode_start: Bool[np.ndarray, " batch"] | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Choose actions.

        Args:
            observation: (S,) or (B, S), environment units, or a Dict ``{"observation", "return_to_go"}`` that
                carries its own target.
            target_return: A number or (B,), the return still wanted from this observation on, reward units;
                the caller subtracts each reward. Policies that are not conditioned on it ignore it.
            state: What the previous call returned; None before the first. Opaque, and never changed in place.
            episode_start: (B,), rows that begin a new episode with this observation and forget the last one.
            deterministic: False samples, where the policy defines a distribution.

        Returns:
            Actions (A,) or (B, A), environment units, and the state for the next call.
        """


def plain_observation(observation: Any) -> Any:
    """Return the observation without its return-to-go, for policies that are not conditioned on one.

    Args:
        observation: An array, which is returned as it is, or a Dict ``{"observation", "return_to_go"}``.
    """
    is_conditioned = isinstance(observation, Mapping) and "return_to_go" in observation
    return observation["observation"] if is_conditioned else observation


def spread_target_return(target_return: ArrayLike, n: int, unit: str) -> Float64[np.ndarray, " n"]:
    """Return one finite target return for each of ``n`` units.

    Args:
        target_return: A number for all, or (n,), in reward units.
        n: How many targets there must be.
        unit: What each target belongs to, for the message: ``"episode"`` or ``"environment"``.

    Raises:
        InputError: If it is not numeric, not finite, or of another length.
    """
    expected = f"target_return must be a finite number, or one for each {unit} ({n})"
    try:
        given = np.asarray(target_return)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{expected}, but {target_return!r} was given.") from error
    if given.dtype.kind not in "fiu":
        raise InputError(f"{expected}, but {target_return!r} was given.")
    targets = given.astype(np.float64)
    if targets.shape not in ((), (n,)):
        raise InputError(f"{expected}, but an array of shape {targets.shape} was given.")
    if not np.isfinite(targets).all():
        raise InputError(f"{expected}, but {target_return!r} was given.")
    return np.broadcast_to(targets, (n,)).copy()
