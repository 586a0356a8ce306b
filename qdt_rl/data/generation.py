"""The synthetic datasets: made by one call, the same bytes for the same seed."""

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari import MinariDataset

from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.config import require_whole
from qdt_rl.data.behaviour import QUALITIES, Behaviour, gains
from qdt_rl.data.minari_writer import Episode, write_dataset
from qdt_rl.data.recording import record
from qdt_rl.errors import DatasetError
from qdt_rl.progress import track

_ENV_IDS = {
    "synthetic": "QDTSynthetic-v0",
    "synthetic-delayed": "QDTSyntheticDelayed-v0",
    "synthetic-delayed-200": "QDTSyntheticDelayed200-v0",
    "synthetic-hidden": "QDTSyntheticHidden-v0",
}
_RECIPES = {
    f"qdt/{task}/{quality}-v0": (env_id, behaviour)
    for task, env_id in _ENV_IDS.items()
    for quality, behaviour in QUALITIES.items()
}

DATASET_IDS = tuple(_RECIPES)

_MADE = "Made by generate_dataset, seed"

_ROWS = 200  # rolled out together always, so that episode j is the same however many are asked for
_ENV_STREAM, _BEHAVIOUR_STREAM = 0, 1


def generate_dataset(
    dataset_id: str,
    *,
    n_episodes: int = 200,
    seed: int = 0,
    overwrite: bool = False,
    progress_bar: bool = False,
) -> MinariDataset:
    """Record behaviour policies in a synthetic environment, and store them as a Minari dataset.

    Episode j depends on the seed and on j alone, so a smaller dataset is the beginning of a larger one. The
    environment's seeds are drawn from ``seed``, and stored with the episodes; they are far from the small
    numbers that agents are evaluated on. All datasets of one seed share them, so that a delayed dataset holds
    the very steps of the plain one, paid later.

    Args:
        dataset_id: One of ``DATASET_IDS``: ``qdt/<task>/<quality>-v0``.
        n_episodes: How many, of 1000 steps each.
        seed: Of everything random.
        overwrite: Whether a dataset of this id is replaced. It stays until the new one is whole.
        progress_bar: Whether to show one.

    Returns:
        The dataset, in the folder that Minari uses: ``MINARI_DATASETS_PATH``, or ``~/.minari/datasets``.

    Raises:
        DatasetError: If no such dataset can be made, or it exists already and ``overwrite`` is false.
        ConfigError: If ``n_episodes`` or ``seed`` is no whole number, or out of range.
    """
    if dataset_id not in _RECIPES:
        raise DatasetError(f"{dataset_id!r} cannot be generated. What can: {', '.join(DATASET_IDS)}.")
    n_episodes, seed = require_whole("n_episodes", n_episodes, 1), require_whole("seed", seed, 0)
    env_id, behaviour = _RECIPES[dataset_id]
    env_spec = gym.spec(env_id)
    starts = range(0, n_episodes, _ROWS)
    with (
        closing(track(starts, len(starts), dataset_id, enabled=progress_bar)) as tracked,
        closing(_record_episodes(env_spec, behaviour, n_episodes, seed, tracked)) as episodes,
    ):
        return write_dataset(dataset_id, episodes, env_spec, _metadata(env_spec, behaviour, seed), overwrite)


def generation_seed(dataset: MinariDataset) -> int | None:
    """Return the seed that a dataset was generated from, or None if ``generate_dataset`` did not make it."""
    description = dataset.storage.metadata.get("description")
    stated = re.search(rf"{_MADE} (\d+)\.", str(description))
    return int(stated[1]) if stated else None


def _record_episodes(
    env_spec: EnvSpec, behaviour: Behaviour, n_episodes: int, seed: int, starts: Iterator[int]
) -> Generator[Episode, None, None]:
    with closing(cast(Any, gym.make_vec(env_spec, num_envs=_ROWS))) as env:
        for start in starts:
            seeds = _env_seeds(seed, start + _ROWS)[start:]
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BEHAVIOUR_STREAM, start)))
            controller = behaviour.sample(_ROWS, rng)
            recording = record(env, controller, seeds, rng)
            for row, row_gains in enumerate(gains(controller, _ROWS)[: n_episodes - start]):
                yield recording.episode(row, seeds[row]), row_gains


def _env_seeds(seed: int, n_episodes: int) -> list[int]:
    sequence = np.random.SeedSequence(seed, spawn_key=(_ENV_STREAM,))
    return [int(env_seed) for env_seed in sequence.generate_state(n_episodes)]


def _metadata(env_spec: EnvSpec, behaviour: Behaviour, seed: int) -> dict[str, Any]:
    minimum, maximum = REFERENCE_SCORES[env_spec.id]
    return {
        "algorithm_name": behaviour.description,
        "author": {"The qdt_rl authors"},
        "code_permalink": "qdt-rl, qdt_rl/data/generation.py",
        "license": "MIT",
        "requirements": ["qdt-rl>=0.1", "gymnasium>=1.1"],
        "description": (
            f"{env_spec.id}: a chain of five masses in double wells, three of them actuated, is to sit in "
            f"the well that a command names. {behaviour.description}. {_MADE} {seed}."
        ),
        "ref_min_score": minimum,
        "ref_max_score": maximum,
    }
