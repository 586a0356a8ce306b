"""Return-conditioned rollouts: which return comes out when a policy is asked for one."""

import warnings
from collections.abc import Generator, Iterator
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from qdt_rl.config import require_whole
from qdt_rl.errors import ConfigError, TargetReturnWarning
from qdt_rl.evaluation.environments import (
    AnyEnv,
    AnyVectorEnv,
    autoreset_mode,
    may_be_env_of,
    reset_rows,
    vector_env,
)
from qdt_rl.evaluation.result import EvaluationResult
from qdt_rl.policy.protocol import Policy, spread_target_return
from qdt_rl.progress import track

_ROUNDING = 1e-5
"""A return in the data is known to about this much of it: its rewards are kept in float32."""


class _Episode(NamedTuple):
    seed: int
    earned: float
    length: int


def evaluate(
    policy: Policy,
    env: AnyEnv,
    target_return: ArrayLike,
    n_episodes: int,
    *,
    seed: int = 0,
    n_envs: int | None = None,
    reference_scores: tuple[float, float] | None = None,
    progress_bar: bool = False,
) -> EvaluationResult:
    """Play episodes with a policy that is asked for a return.

    Episode j is reset with ``seed + j``, in whatever row of whichever environment it is played, and every one
    that was begun is finished and counted: there is no bias toward short episodes. After each step the return
    still wanted is lowered by the reward, in float64, as the paper's return-to-go (arXiv 2512.14726).

    Args:
        policy: Acts; see ``Policy``. Called with the whole batch and ``deterministic=True``.
        env: A Gymnasium id (made as its native vector environment, if it has one that seeds row by row), an
            Env, or a VectorEnv in any autoreset mode. What is handed in is not closed. Its episodes must end.
        target_return: The return to ask for, a finite number or one per episode, (n_episodes,), reward units.
        n_episodes: E, how many episodes to play.
        seed: Of the first episode; a whole number of at least 0.
        n_envs: With an id, how many environments to step at once. None: as few as play all episodes in equal
            rounds of at most 64.
        reference_scores: The (minimum, maximum) returns that count as 0 and 100. None: the policy's
            ``reference_scores``, if it has them and its ``env_id`` names no other environment than this, with
            episodes no shorter than those that are registered.
        progress_bar: Show one, if standard error is a terminal.

    Returns:
        Each episode's return, length and target, in the order of the seeds.

    Warns:
        TargetReturnWarning: If more is asked for than the best episode of the policy's data achieved.

    Raises:
        ConfigError: If ``env`` cannot be used, has other spaces than the policy, or pays what is not finite,
            ``policy`` is an SB3 model, or a count, the seed or the reference scores are out of range.
        InputError: If ``target_return`` is not finite or not of the right length.
        MissingExtraError: If the environment of an id needs a package that is not installed.
    """
    _refuse_sb3_model(policy)
    n_episodes, seed = require_whole("n_episodes", n_episodes, 1), require_whole("seed", seed, 0)
    n_envs = None if n_envs is None else require_whole("n_envs", n_envs, 1)
    targets = spread_target_return(target_return, n_episodes, "episode")
    references = _known(policy, env, "reference_scores") if reference_scores is None else reference_scores
    if getattr(policy, "is_return_conditioned", False):
        _warn_beyond_the_data(targets, _known(policy, env, "best_return"))
    returns, lengths = np.zeros(n_episodes), np.zeros(n_episodes, np.int64)
    result = EvaluationResult(returns, lengths, targets, references)  # checks the references before the work
    with vector_env(env, n_episodes, n_envs) as vectorized:
        require_own_spaces(policy, vectorized)
        episodes = _play_all(policy, vectorized, targets, seed)
        for episode in track(episodes, n_episodes, "Evaluating", progress_bar):
            returns[episode.seed - seed] = episode.earned
            lengths[episode.seed - seed] = episode.length
    return result


def require_own_spaces(policy: Policy, env: AnyVectorEnv, name: str = "The policy") -> None:
    """Refuse an environment whose spaces are not those that a policy was trained for, if it names them.

    Args:
        policy: Its ``observation_space`` and ``action_space``, of one environment, count if each is a Box.
        env: Where it is to act.
        name: Of the policy.

    Raises:
        ConfigError: If observations or actions have another shape, or actions other bounds, as float32.
    """
    for kind in ("observation", "action"):
        known, there = getattr(policy, f"{kind}_space", None), getattr(env, f"single_{kind}_space", None)
        if isinstance(known, Box) and there is not None and not _fits(known, there, kind == "action"):
            raise ConfigError(
                f"{name} was trained with {kind}s from {known}, but the environment has {there}; name the "
                "environment of its data, or make it with dataset.recover_environment(), wrappers and all."
            )


def _fits(known: Box, there: Space[Any], with_bounds: bool) -> bool:
    if not isinstance(there, Box) or known.shape != there.shape:
        return False
    bounds = (known.low, there.low), (known.high, there.high)
    return not with_bounds or all(
        np.array_equal(first.astype(np.float32), other.astype(np.float32)) for first, other in bounds
    )


def _refuse_sb3_model(policy: Policy) -> None:
    try:
        parameters = [*signature(policy.predict, follow_wrapped=False).parameters]
    except (TypeError, ValueError):  # compiled code need not have one
        return
    if parameters[1:2] == ["state"]:
        raise ConfigError(
            f"{type(policy).__name__}.predict takes the state where a Policy's takes the target return, as "
            "Stable-Baselines3's models do; those are given as SB3Policy(model)."
        )


def _known(policy: Policy, env: AnyEnv, name: str) -> Any:
    """Return what a policy knows of the environment that its data came from, if this may be it."""
    is_its_own = may_be_env_of(env, getattr(policy, "env_id", None))
    return getattr(policy, name, None) if is_its_own else None


def _warn_beyond_the_data(targets: Float64[np.ndarray, " episodes"], best_return: float | None) -> None:
    if best_return is not None and targets.max() > best_return + _ROUNDING * max(1.0, abs(best_return)):
        warnings.warn(
            f"A return of {targets.max():.6g} is asked for, but the best episode in the data achieved "
            f"{best_return:.6g}: what a policy does beyond its data is anybody's guess.",
            TargetReturnWarning,
            stacklevel=3,
        )


def _play_all(
    policy: Policy, env: AnyVectorEnv, targets: Float64[np.ndarray, " episodes"], seed: int
) -> Iterator[_Episode]:
    """Play rounds of ``num_envs`` episodes and yield each episode when it ends."""
    state = None  # goes on from round to round: a policy that draws random numbers must not draw them again
    for first in range(0, len(targets), env.num_envs):
        wanted = targets[first : first + env.num_envs]
        state = yield from _play_round(policy, env, wanted, seed + first, state)


def _of_playing(observations: Any, playing: Bool[np.ndarray, " rows"]) -> Any:
    """Return observations with zeros in the rows that do not count, which may hold anything."""
    if playing.all() or not isinstance(observations, np.ndarray):
        return observations
    kept = observations.copy()
    kept[~playing] = 0
    return kept


def _play_round(
    policy: Policy,
    env: AnyVectorEnv,
    targets: Float64[np.ndarray, " rows"],
    seed: int,
    state: Any,
) -> Generator[_Episode, None, Any]:
    """Play one episode in each of the first rows; spare rows, and those that have ended, run on unheeded."""
    mode, n_envs = autoreset_mode(env), env.num_envs
    observations = reset_rows(env, range(seed, seed + n_envs))
    playing = np.arange(n_envs) < len(targets)
    return_to_go = np.resize(targets, n_envs)
    earned, n_steps = np.zeros(n_envs), 0
    episode_start = np.ones(n_envs, np.bool_)
    while playing.any():
        actions, state = policy.predict(
            _of_playing(observations, playing),
            return_to_go,
            state=state,
            episode_start=episode_start,
            deterministic=True,
        )
        observations, rewards, terminated, truncated, _ = env.step(actions)
        ended = terminated | truncated
        rewards = np.where(playing, rewards, 0.0)
        if not np.isfinite(rewards).all():
            bad = int(np.argmin(np.isfinite(rewards)))
            raise ConfigError(
                f"Rewards must be finite, but step {n_steps} of the episode of seed {seed + bad} was paid "
                f"{rewards[bad]}; mend the environment."
            )
        earned, return_to_go, n_steps = earned + rewards, return_to_go - rewards, n_steps + 1
        for row in np.flatnonzero(playing & ended):
            yield _Episode(seed + int(row), float(earned[row]), n_steps)
        playing = playing & ~ended
        episode_start = ~playing
        if mode is AutoresetMode.DISABLED and playing.any() and ended.any():
            observations, _ = env.reset(options={"reset_mask": ended})
    return state
