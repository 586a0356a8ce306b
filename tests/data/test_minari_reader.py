import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from minari import MinariDataset
from minari.dataset.minari_storage import MinariStorage

from qdt_rl.data.minari_reader import (
    check_spaces,
    load_dataset,
    read_rewards,
    read_trajectories,
    reference_scores,
)
from qdt_rl.errors import DatasetError, DatasetWarning

LENGTHS = (3, 1, 7, 2)
Maker = Callable[..., Any]


class MemoryStorage(MinariStorage):
    """Stands for Minari's other storage formats, which are read through its own episodes."""

    FORMAT = "memory"

    def __init__(self, data_path: Path, episodes: list[dict[str, Any]], **spaces: Any) -> None:
        super().__init__(data_path, **spaces)
        self.episodes = episodes

    def get_episodes(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        return ({"id": index, **self.episodes[index]} for index in episode_indices)

    _create = update_episode_metadata = get_episode_metadata = update_episodes = None


MemoryStorage.__abstractmethods__ = frozenset()


@pytest.fixture(params=["hdf5", "memory"])
def store(request: pytest.FixtureRequest, make_dataset: Maker) -> Maker:
    """Make a dataset in HDF5, or one of the same episodes in another storage format."""

    def make(episodes: list[dict[str, Any]], **arguments: Any) -> MinariDataset:
        dataset = make_dataset(episodes, **arguments)
        if request.param == "hdf5":
            return dataset
        spaces = {"observation_space": dataset.observation_space, "action_space": dataset.action_space}
        return MinariDataset(MemoryStorage(dataset.storage.data_path, episodes, **spaces))

    return make


def expected(episodes: list[dict[str, Any]], field: str) -> np.ndarray:
    return np.concatenate([episode[field][: len(episode["rewards"])] for episode in episodes])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_step_comes_exactly_once_and_final_observations_never(
    store: Maker, make_episode: Maker, dtype: str
) -> None:
    episodes = [make_episode(index, length, dtype) for index, length in enumerate(LENGTHS)]
    data = read_trajectories(store(episodes, observation_space=Box(-np.inf, np.inf, (5,), dtype)))
    np.testing.assert_array_equal(data.episode_lengths, LENGTHS)
    for field in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(data, field), expected(episodes, field).astype(np.float32))


def test_only_the_episodes_of_a_filtered_dataset_are_read(store: Maker, make_episode: Maker) -> None:
    episodes = [make_episode(index, length) for index, length in enumerate(LENGTHS)]
    filtered = store(episodes).filter_episodes(lambda episode: len(episode) != 1)
    data = read_trajectories(filtered)
    np.testing.assert_array_equal(
        data.observations, expected([episodes[i] for i in (0, 2, 3)], "observations")
    )
    assert [len(rewards) for rewards in read_rewards(filtered)] == [3, 7, 2]


def test_only_the_episodes_of_a_split_dataset_are_read(make_dataset: Maker, make_episode: Maker) -> None:
    episodes = [make_episode(index, length) for index, length in enumerate(LENGTHS)]
    for part in minari.split_dataset(make_dataset(episodes), [3, 1], seed=5):
        chosen = [episodes[index] for index in part.episode_indices]
        np.testing.assert_array_equal(read_trajectories(part).actions, expected(chosen, "actions"))


def test_actions_outside_the_box_are_kept(make_dataset: Maker, make_episode: Maker) -> None:
    data = read_trajectories(make_dataset([make_episode(7, 3)]))
    assert data.actions.min() < -7000  # the space is [-1, 1]


def test_a_dataset_is_loaded_by_its_id_without_an_environment(
    make_dataset: Maker, make_episode: Maker
) -> None:
    made = make_dataset([make_episode(0, 3)])
    loaded = load_dataset("test/known-v0")
    assert loaded.env_spec is None
    assert read_trajectories(loaded).n_steps == read_trajectories("test/known-v0").n_steps == 3
    assert load_dataset(made) is made


def test_a_missing_dataset(minari_root: Path) -> None:
    message = (
        rf"There is no dataset 'my/data-v3' in {re.escape(str(minari_root))} "
        r"\(set by MINARI_DATASETS_PATH\)\. "
        "`qdt-rl data list` shows what is there, `qdt-rl data generate` makes the synthetic datasets, "
        r"and `minari download my/data-v3` fetches a published one \(with `pip install 'minari\[hf\]'`\)\."
    )
    with pytest.raises(DatasetError, match=message):
        load_dataset("my/data-v3")


def test_what_is_not_a_dataset() -> None:
    given: Any = np.zeros(3)
    with pytest.raises(DatasetError, match="A MinariDataset or its id was expected, but ndarray was given"):
        load_dataset(given)


@pytest.mark.parametrize("damage", ["truncate", "foreign", "metadata", "episode", "text"])
def test_a_damaged_dataset(damage: str, make_dataset: Maker, make_episode: Maker) -> None:
    data_path = make_dataset([make_episode(0, 3)]).storage.data_path
    file_path = data_path / "main_data.hdf5"
    if damage == "truncate":
        os.truncate(file_path, file_path.stat().st_size // 2)
    elif damage == "foreign":
        file_path.write_bytes(b"PK\x03\x04")
    elif damage == "metadata":
        (data_path / "metadata.json").write_text('{"total_episodes": 1')
    else:
        with h5py.File(file_path, "a") as file:
            del file["episode_0/actions"]
            if damage == "text":
                file["episode_0/actions"] = np.full((3, 2), b"left")
    with pytest.raises(DatasetError, match=r"Dataset 'test/known-v0' in .* cannot be read: it is damaged"):
        read_trajectories(load_dataset("test/known-v0"))


def test_an_empty_dataset(store: Maker, make_episode: Maker) -> None:
    nothing = store([make_episode(0, 3), make_episode(1, 2)])
    nothing.episode_indices = np.array([], np.int64)
    message = r"'test/known-v0' names no episodes: it is empty, or a filter or split left none of its 2\."
    for read in (read_trajectories, read_rewards):
        with pytest.raises(DatasetError, match=message):
            read(nothing)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize(
    ("field", "index", "name"),
    [
        ("observations", (2, 3), "observations[3]"),
        ("actions", (2, 1), "actions[1]"),
        ("rewards", 2, "rewards"),
    ],
)
def test_values_that_are_not_finite_are_named_by_minaris_own_index(
    store: Maker, make_episode: Maker, field: str, index: Any, name: str, value: float
) -> None:
    bad = make_episode(1, 4)
    bad[field] = bad[field].astype(np.float64)
    bad[field][index] = value
    spaces = {"observation_space": Box(-np.inf, np.inf, (5,), np.float64)}
    dataset = store([make_episode(0, 3), bad], **spaces)
    dataset.episode_indices = np.array([1])
    shown = "nan" if np.isnan(value) else "inf"
    with pytest.raises(DatasetError, match=re.escape(f"Episode 1, step 2: {name} is {shown}, but must be")):
        read_trajectories(dataset)


@pytest.mark.parametrize(
    ("field", "rows", "message"),
    [
        ("observations", 4, r"Episode 1: observations has shape \(4, 5\), but \(5, 5\) was expected"),
        ("actions", 3, r"Episode 1: actions has shape \(3, 2\), but \(4, 2\) was expected"),
        ("rewards", 0, r"Episode 1: rewards has shape \(0,\), but one number for each of at least one step"),
    ],
)
def test_arrays_of_unequal_lengths(
    make_dataset: Maker, make_episode: Maker, field: str, rows: int, message: str
) -> None:
    dataset = make_dataset([make_episode(0, 3), make_episode(1, 4)])
    with h5py.File(dataset.storage.data_path / "main_data.hdf5", "a") as file:
        file[f"episode_1/{field}"].resize(rows, axis=0)
    with pytest.raises(DatasetError, match=message):
        read_trajectories(dataset)


def test_arrays_of_unequal_lengths_in_other_formats(store: Maker, make_episode: Maker) -> None:
    bad = make_episode(0, 4)
    bad["observations"] = bad["observations"][:-1]
    with pytest.raises(
        DatasetError, match=r"observations has shape \(4, 5\), but \(5, 5\).* T \+ 1 observations"
    ):
        read_trajectories(store([bad]))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"observation_space": Box(-1, 1, (3,))},
            r"observations has shape \(3, 5\), but \(3, 3\) was expected",
        ),
        ({"action_space": Box(-1, 1, (7,))}, r"actions has shape \(2, 2\), but \(2, 7\) was expected"),
    ],
)
def test_arrays_of_another_width_than_the_space(
    store: Maker, make_episode: Maker, space: dict[str, Box], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_trajectories(store([make_episode(0, 2)], **space))


VECTOR = Box(-1, 1, (3,))


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (
            Box(0, 255, (7, 7, 3), np.uint8),
            VECTOR,
            "Observations must come from a one-dimensional Box.*Flatten",
        ),
        (
            Dict({"a": VECTOR}),
            VECTOR,
            "Observations must come from a one-dimensional Box space, but come from Dict",
        ),
        (
            VECTOR,
            Discrete(5),
            r"Actions must come from a one-dimensional Box space, but come from Discrete\(5\)",
        ),
        (Box(0, 1, (3,), np.bool_), VECTOR, "Observations must be numbers, but come from Box.*Dtype"),
        (VECTOR, Box(-1, 1, (2, 3)), "Actions must come from a one-dimensional Box"),
        (VECTOR, Box(-1, 1, (0,)), "Actions must have at least one entry, but come from Box"),
        (Box(-1, 1, (0,)), VECTOR, "Observations must have at least one entry"),
        (VECTOR, Box(-1, np.inf, (3,)), "Actions must be bounded floating-point numbers, .*inf"),
        (VECTOR, Box(0, 5, (3,), np.int64), "Actions must be bounded floating-point numbers, .*int64"),
        (VECTOR, Box(-3e38, 3e38, (3,), np.float32), "equal or too far apart"),
    ],
)
def test_spaces_that_are_not_supported(observations: Any, actions: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_spaces(observations, actions)


def test_spaces_are_checked_before_anything_is_read(make_dataset: Maker, make_episode: Maker) -> None:
    dataset = make_dataset([make_episode(0, 2)], action_space=Box(-np.inf, np.inf, (2,)))
    with pytest.raises(DatasetError, match="Actions must be bounded"):
        read_trajectories(dataset)


def test_reference_scores(make_dataset: Maker, make_episode: Maker) -> None:
    dataset = make_dataset([make_episode(0, 2)])
    assert reference_scores(dataset) is None
    dataset.storage.update_metadata({"ref_min_score": -20.5})
    assert reference_scores(dataset) is None
    dataset.storage.update_metadata({"ref_max_score": 3000})
    assert reference_scores(dataset) == (-20.5, 3000.0)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 0.0),
        (2.0, 1.0),
        (np.nan, 1.0),
        (0.0, np.inf),
        ("none", "known"),
        ([0.0], 1.0),
        (False, True),
        (0, 10**400),
    ],
)
def test_reference_scores_that_are_none_are_warned_of_and_not_used(
    make_dataset: Maker, make_episode: Maker, low: Any, high: Any
) -> None:
    dataset = make_dataset([make_episode(0, 2)])
    dataset.storage.update_metadata({"ref_min_score": low, "ref_max_score": high})
    with pytest.warns(DatasetWarning, match=r"'test/known-v0' has the reference scores .* minimum first"):
        assert reference_scores(dataset) is None
