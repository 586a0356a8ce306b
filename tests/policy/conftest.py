"""A small dataset whose rewards say how well the action matched the observation."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium.spaces import Box
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer

S, A = 3, 2
OBSERVATION_SPACE = Box(-np.inf, np.inf, (S,), np.float64)
ACTION_SPACE = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


def write(
    name: str, buffers: list[EpisodeBuffer], observation_space: Box, action_space: Box
) -> MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari wants metadata that do not matter here
        dataset = minari.create_dataset_from_buffers(
            name, buffers, observation_space=observation_space, action_space=action_space
        )
    dataset.storage.update_metadata({"ref_min_score": -10.0, "ref_max_score": 30.0})
    return dataset


def episode(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> EpisodeBuffer:
    n_steps = len(rewards)
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=list(rewards),
        terminations=[False] * n_steps,
        truncations=[False] * (n_steps - 1) + [True],
        infos={},
    )


def random_episodes(n_episodes: int, space: Box) -> list[EpisodeBuffer]:
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(n_episodes):
        length = int(rng.integers(3, 40))
        actions = rng.uniform(space.low, space.high, (length, A)).astype(space.dtype)
        episodes.append(episode(rng.normal(size=(length + 1, S)), actions, actions[:, 0]))
    return episodes


@pytest.fixture(scope="session")
def write_buffers() -> Callable[..., MinariDataset]:
    return write


@pytest.fixture(scope="session")
def minari_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        yield root


@pytest.fixture(scope="session")
def dataset(minari_root: Path) -> MinariDataset:
    return write("tests/uniform-v0", random_episodes(12, ACTION_SPACE), OBSERVATION_SPACE, ACTION_SPACE)


@pytest.fixture(scope="session")
def other_spaces(minari_root: Path) -> MinariDataset:
    space = Box(-1.0, 1.0, (A,), np.float32)
    return write("tests/other-v0", random_episodes(2, space), OBSERVATION_SPACE, space)


@pytest.fixture(scope="session")
def linear_control(minari_root: Path) -> MinariDataset:
    """Actions are a linear function of the observation."""
    observations = np.random.default_rng(0).uniform(-1, 1, size=(2001, S))
    actions = (observations[:-1, :A] * [1.0, 0.5] + [0.0, 0.5]).astype(np.float32)
    buffers = [episode(observations, actions, np.zeros(2000))]
    return write("tests/linear-v0", buffers, OBSERVATION_SPACE, ACTION_SPACE)
