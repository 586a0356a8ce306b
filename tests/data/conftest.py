"""Minari datasets of known content, in a folder of their own."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer

OBSERVATION_SIZE, ACTION_SIZE = 5, 2


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "datasets"
    root.mkdir()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root


@pytest.fixture
def make_episode() -> Callable[..., dict[str, Any]]:
    """An episode whose every number is its own: 1000 · episode + step, plus the column's tenths."""

    def make(episode: int, length: int, dtype: str = "float32") -> dict[str, Any]:
        steps = 1000.0 * episode + np.arange(length + 1)
        return {
            "observations": (steps[:, None] + 0.1 * np.arange(OBSERVATION_SIZE)).astype(dtype),
            "actions": (-steps[:length, None] - 0.1 * np.arange(ACTION_SIZE)).astype(np.float32),
            "rewards": steps[:length] + 0.5,
            "terminations": np.zeros(length, bool),
            "truncations": np.arange(length) == length - 1,
            "infos": {},
        }

    return make


@pytest.fixture
def make_dataset(minari_root: Path) -> Callable[..., MinariDataset]:
    """Store episodes as a Minari dataset, without an environment unless one is named."""

    def make(
        episodes: Sequence[dict[str, Any]],
        dataset_id: str = "test/known-v0",
        observation_space: gym.Space | None = None,
        action_space: gym.Space | None = None,
        **metadata: Any,
    ) -> MinariDataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about metadata that are left out
            return minari.create_dataset_from_buffers(
                dataset_id,
                [EpisodeBuffer(**episode) for episode in episodes],
                observation_space=observation_space or Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32),
                action_space=action_space or Box(-1, 1, (ACTION_SIZE,), np.float32),
                **metadata,
            )

    return make
