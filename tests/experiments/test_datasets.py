import numpy as np
import pytest
from gymnasium.spaces import Box

from qdt_rl.data.generation import DATASET_IDS, generate_dataset, generation_seed
from qdt_rl.data.minari_reader import load_dataset
from qdt_rl.data.summary import DatasetSummary
from qdt_rl.errors import DatasetError
from qdt_rl.experiments.datasets import known_datasets, summary_rows


@pytest.fixture
def empty_root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def test_without_a_folder_everything_can_be_generated(empty_root):
    assert list(known_datasets()) == [(dataset_id, "can be generated") for dataset_id in sorted(DATASET_IDS)]


def test_what_is_here_is_told_from_what_is_not(dataset):
    states = dict(known_datasets())
    assert states.pop(dataset) == "here, 11 episodes"
    assert set(states.values()) == {"can be generated"}


def test_a_folder_that_cannot_be_read_is_a_row_of_its_own(empty_root):
    (empty_root / "mine" / "broken-v0" / "data").mkdir(parents=True)
    rows = list(known_datasets())
    assert rows[:-1] == [(dataset_id, "can be generated") for dataset_id in sorted(DATASET_IDS)]
    text, state = rows[-1]
    assert text.startswith("Misconfigured dataset named mine/broken-v0:")
    assert state == "cannot be read"


@pytest.mark.parametrize("name", ["backup copy", "backup_of_mine"])
def test_a_folder_of_an_impossible_name_is_named(name, empty_root):
    (empty_root / name / "data").mkdir(parents=True)
    (empty_root / "good" / "one-v0" / "data").mkdir(parents=True)
    with pytest.raises(
        DatasetError, match=rf"No dataset's id.*{empty_root} holds at {name}; move it elsewhere"
    ):
        list(known_datasets())


def test_the_seed_of_a_generated_dataset_is_known(short_episodes, empty_root):
    made = generate_dataset("qdt/synthetic/random-v0", n_episodes=1, seed=41)
    assert generation_seed(made) == 41
    made.storage.update_metadata({"description": "Recorded by hand, seed 41."})
    assert generation_seed(load_dataset("qdt/synthetic/random-v0")) is None


SUMMARY = {
    "id": "some/dataset-v0",
    "env_id": "Some-v0",
    "n_episodes": 1200,
    "n_steps": 34567,
    "observation_space": Box(-np.inf, np.inf, (3,)),
    "action_space": Box(-1, 1, (2,)),
    "return_mean": -12.345,
    "return_std": 6.789,
    "return_min": -50.04,
    "return_max": 8.06,
    "shortest_episode": 5,
    "longest_episode": 999,
    "reference_scores": (-100.0, 50.55),
    "behaviour_policy": "someone",
}


def test_a_summary_in_words():
    assert dict(summary_rows(DatasetSummary(**SUMMARY))) == {
        "environment": "Some-v0",
        "behaviour policy": "someone",
        "episodes": "1,200",
        "steps": "34,567",
        "episode length": "5 to 999",
        "return": "-12.3 ± 6.8",
        "return, range": "-50.0 to 8.1",
        "reference scores": "0 at -100.0, 100 at 50.5",
        "observations": "Box(-inf, inf, (3,), float32)",
        "actions": "Box(-1.0, 1.0, (2,), float32)",
    }


def test_what_a_dataset_does_not_say():
    unknown = {"env_id": None, "behaviour_policy": None, "reference_scores": None}
    rows = dict(summary_rows(DatasetSummary(**SUMMARY | unknown)))
    assert (rows["environment"], rows["behaviour policy"]) == ("not named", "not named")
    assert rows["reference scores"] == "none"
