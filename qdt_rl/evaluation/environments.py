"""Any Gymnasium environment as a vector environment whose rows are seeded one by one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from qdt_rl.env_ids import may_name_same_env
from qdt_rl.errors import ConfigError, MissingExtraError

AnyVectorEnv = VectorEnv[Any, Any, Any]
AnyEnv = str | gym.Env[Any, Any] | AnyVectorEnv

_MAX_ENVS = 64


def may_be_env_of(env: AnyEnv, env_id: str | None) -> bool:
    """Whether ``env`` may be the environment of an id, with episodes no shorter than those registered for it.

    Other arguments are not looked at: environments that datasets recover often have some.

    Args:
        env: As ``vector_env`` takes it; one without a spec may be any, but for an AsyncVectorEnv that was put
            together by hand: its rows have specs, and cannot be asked.
        env_id: None is one that is not known.
    """
    if isinstance(env, str):
        return may_name_same_env(env, env_id)
    if env_id is None:
        return True
    spec = _spec(env)
    if spec is None:
        return not isinstance(getattr(env, "unwrapped", None), AsyncVectorEnv)
    registered = gym.registry.get(spec.id)
    is_shorter = registered is not None and _horizon(spec) < _horizon(registered)
    return may_name_same_env(spec.id, env_id) and not is_shorter


def _spec(env: gym.Env[Any, Any] | AnyVectorEnv) -> EnvSpec | None:
    """Return what an environment was made from; one that was put together by hand has it in its rows.

    Those of an AsyncVectorEnv are not asked: a worker that cannot pickle its answer ends.
    """
    spec = getattr(env, "spec", None)
    unwrapped = getattr(env, "unwrapped", None)
    if spec is None and isinstance(unwrapped, SyncVectorEnv):
        spec = unwrapped.get_attr("spec")[0]
    return spec


def _horizon(spec: EnvSpec) -> float:
    """Return after how many steps episodes are truncated; make_vec has the number among the arguments."""
    n_steps = spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
    return inf if n_steps is None else n_steps


@contextmanager
def vector_env(env: AnyEnv, n_episodes: int, n_envs: int | None = None) -> Iterator[AnyVectorEnv]:
    """Open ``env`` as a vector environment; what was made here is closed here, what was handed in stays open.

    Args:
        env: A Gymnasium id, an Env, which becomes a batch of one, or a VectorEnv.
        n_episodes: How many episodes will be played.
        n_envs: The number of environments to make from an id. None: as few as play ``n_episodes`` in equal
            rounds of at most 64.

    Raises:
        ConfigError: If ``env`` is none of these, its id is unknown, or ``n_envs`` does not fit.
    """
    if isinstance(env, str):
        n_rounds = -(-n_episodes // _MAX_ENVS)
        made = _make(env, -(-n_episodes // n_rounds) if n_envs is None else n_envs)
        try:
            yield made
        finally:
            made.close()
    elif isinstance(env, gym.Env | VectorEnv):
        given = env if isinstance(env, VectorEnv) else _batch_of_one(env)
        if n_envs not in (None, given.num_envs):
            raise ConfigError(
                f"n_envs must be left out or {given.num_envs}, the size of env, but {n_envs} was given; "
                "give an id to have that many made."
            )
        try:
            yield given
        finally:
            if given is not env:
                given.closed = True  # Gymnasium before 1.3 closes what it forgets, and the Env inside with it
    else:
        raise ConfigError(
            f"env must be a Gymnasium id, an Env or a VectorEnv, but {type(env).__name__} was given; "
            "an SB3 VecEnv goes into ReturnConditionedVecEnv and SB3's evaluate_policy."
        )


def _batch_of_one(env: gym.Env[Any, Any]) -> AnyVectorEnv:
    return SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.DISABLED)


def _make(env_id: str, n_envs: int) -> AnyVectorEnv:
    if env_id.count(":") > 1:
        raise ConfigError(f"env must be a Gymnasium id, 'id' or 'package:id', but {env_id!r} was given.")
    try:
        env = gym.make_vec(env_id, n_envs)
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError(f"{env_id} needs a package that is not installed. {error}") from error
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise ConfigError(
            f"env must be the id of a registered environment, but {env_id!r} was given: {error} "
            "Import the package that registers it, or write 'package:id'."
        ) from error
    try:
        reset_rows(env, range(n_envs))
    except ConfigError:  # a native vector env with one generator for all rows, as Gymnasium's CartPole
        env.close()
        env = gym.make_vec(env_id, n_envs, vectorization_mode="sync")
    except BaseException:
        env.close()
        raise
    return env


def reset_rows(env: AnyVectorEnv, seeds: Sequence[int]) -> Any:
    """Reset row i with ``seeds[i]`` and return the batch of observations.

    Gymnasium's own vector environments take one seed for each row: what they raise is an Env's own error, and
    comes as it is.

    Raises:
        ConfigError: If a native vector environment cannot seed its rows one by one.
    """
    try:
        observations, _ = env.reset(seed=list(seeds))  # type: ignore[arg-type]  # as SyncVectorEnv documents
    except Exception as error:  # what a refusal looks like is each environment's own choice
        if isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            raise
        raise ConfigError(
            "A vector environment must take one seed for each row, reset(seed=[...]), but this one raised "
            f"{type(error).__name__}: {error} Give its id, or make_vec(..., vectorization_mode='sync')."
        ) from error
    return observations


def autoreset_mode(env: AnyVectorEnv) -> AutoresetMode:
    """Return when ``env`` resets a row whose episode ended.

    Raises:
        ConfigError: If its metadata does not say, or its resets are known to be unreliable.
    """
    declared = env.metadata.get("autoreset_mode")
    if not isinstance(declared, AutoresetMode):
        raise ConfigError(
            "A vector environment must say when it resets finished rows: its metadata['autoreset_mode'] must "
            f"be a gymnasium.vector.AutoresetMode, but is {declared!r}."
        )
    base = env.unwrapped
    if declared is AutoresetMode.NEXT_STEP and isinstance(base, AsyncVectorEnv) and not base.shared_memory:
        raise ConfigError(  # as of gymnasium 1.4.0
            "AsyncVectorEnv(shared_memory=False) in next-step mode keeps a due autoreset across a reset, "
            "which spoils the next episode; make it with shared_memory=True, or autoreset_mode='SameStep'."
        )
    return declared
