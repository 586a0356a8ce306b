import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
from minari import MinariDataset
from minari.dataset._storages.hdf5_storage import HDF5Storage

from qdt_envs.controllers import EXPERT, MEDIUM
from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.data.behaviour import QUALITIES
from qdt_rl.data.generation import DATASET_IDS, generate_dataset
from qdt_rl.data.minari_reader import read_trajectories, reference_scores
from qdt_rl.data.summary import summarise_dataset
from qdt_rl.errors import ConfigError, DatasetError

ROOT = Path(__file__).parents[2]
N_EPISODES = 31


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The datasets that more than one test reads."""
    root = tmp_path_factory.mktemp("generated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for dataset_id in DATASET_IDS:
            if "-" not in dataset_id.split("/")[1] or dataset_id.endswith("/medium-v0"):
                generate_dataset(dataset_id, n_episodes=N_EPISODES)
        yield root


@pytest.fixture
def shared(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(generated))
    return generated


def digest(dataset: MinariDataset) -> str:
    """A hash of every array and attribute."""
    content = hashlib.sha256()
    with h5py.File(dataset.storage.data_path / "main_data.hdf5") as file:

        def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
            content.update(name.encode())
            content.update(repr(sorted(item.attrs.items())).encode())
            if isinstance(item, h5py.Dataset):
                content.update(f"{item.dtype}{item.shape}".encode() + item[()].tobytes())

        file.visititems(add)
    return content.hexdigest()


def test_there_are_five_qualities_of_four_tasks() -> None:
    assert list(QUALITIES) == ["random", "medium", "medium-replay", "medium-expert", "expert"]
    assert len(DATASET_IDS) == 20
    for task in ("synthetic", "synthetic-delayed", "synthetic-delayed-200", "synthetic-hidden"):
        assert f"qdt/{task}/medium-replay-v0" in DATASET_IDS


def test_the_seed_decides_every_byte(minari_root: Path) -> None:
    def make(seed: int) -> str:
        dataset = generate_dataset(
            "qdt/synthetic-hidden/medium-replay-v0", n_episodes=2, seed=seed, overwrite=True
        )
        return digest(dataset)

    first = make(7)
    assert make(7) == first
    assert make(8) != first


def test_the_data_of_version_0_stay_what_they_are(minari_root: Path) -> None:
    """Results are published of them: whatever changes these numbers needs a new version of the ids."""
    dataset = generate_dataset("qdt/synthetic/medium-replay-v0", n_episodes=2, seed=0)
    trajectories = read_trajectories(dataset)
    first = [-0.89106447, -1.4151199, -1.1980172, -0.67992157, -1.4257525]
    np.testing.assert_allclose(trajectories.observations[0, :5], first, rtol=1e-5)
    np.testing.assert_allclose(trajectories.actions[0], [0.3990494, -0.16741379, -0.06476964], rtol=1e-4)
    earned = [trajectories.rewards[start : start + 20].sum() for start in trajectories.offsets[:2]]
    np.testing.assert_allclose(earned, [73.563156, -240.5401], rtol=1e-4)


def test_a_medium_replay_controller_is_noisier_the_weaker_it_is() -> None:
    """A share u of medium's gains, and noise of 1 − 0.4 u."""
    sampled = QUALITIES["medium-replay"].sample(64, np.random.default_rng(0))
    share = sampled.kp / MEDIUM.kp
    assert share.min() < 0.1 < 0.9 < share.max() <= 1
    np.testing.assert_allclose(sampled.kd, MEDIUM.kd * share)
    np.testing.assert_allclose(sampled.noise_std, 1 - 0.4 * share)


def test_episodes_do_not_depend_on_how_many_there_are(minari_root: Path, shared: Path) -> None:
    few = read_trajectories(minari.load_dataset("qdt/synthetic/medium-replay-v0"))
    os.environ["MINARI_DATASETS_PATH"] = str(minari_root)  # undone by the fixtures
    many = read_trajectories(generate_dataset("qdt/synthetic/medium-replay-v0", n_episodes=202))
    assert (few.n_episodes, many.n_episodes) == (N_EPISODES, 202)
    for field in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(many, field)[: few.n_steps], getattr(few, field))
    starts = many.observations[many.offsets[:-1]]
    assert len(np.unique(starts, axis=0)) == 202


@pytest.mark.parametrize(
    "task", ["synthetic", "synthetic-delayed", "synthetic-delayed-200", "synthetic-hidden"]
)
def test_an_episode_is_what_the_scalar_environment_does_from_its_seed(shared: Path, task: str) -> None:
    dataset = minari.load_dataset(f"qdt/{task}/medium-v0")
    (metadata,) = dataset.storage.get_episode_metadata([N_EPISODES - 1])
    episode = dataset[N_EPISODES - 1]
    env = gym.make(dataset.env_spec)
    observation, _ = env.reset(seed=metadata["seed"])
    np.testing.assert_array_equal(episode.observations[0], observation)
    for step, action in enumerate(episode.actions):
        observation, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_array_equal(episode.observations[step + 1], observation)
        assert (episode.rewards[step], episode.terminations[step]) == (reward, terminated)
        assert episode.truncations[step] == truncated == (step == 999)
    assert episode.infos == {}


@pytest.mark.parametrize(("task", "delay"), [("synthetic-delayed", 50), ("synthetic-delayed-200", 200)])
def test_delayed_datasets_are_the_same_episodes_paid_later(shared: Path, task: str, delay: int) -> None:
    plain, delayed = (minari.load_dataset(f"qdt/{name}/medium-v0") for name in ("synthetic", task))
    for now, later in zip(plain, delayed, strict=True):
        np.testing.assert_array_equal(now.observations, later.observations)
        np.testing.assert_array_equal(now.actions, later.actions)
        blocks = later.rewards.reshape(-1, delay)
        assert not blocks[:, :-1].any()
        np.testing.assert_allclose(
            blocks[:, -1], now.rewards.reshape(-1, delay).sum(axis=1), rtol=0, atol=1e-9
        )


def test_hidden_polarity_shows_in_the_actions_alone(shared: Path) -> None:
    plain, hidden = (
        minari.load_dataset(f"qdt/{task}/medium-v0") for task in ("synthetic", "synthetic-hidden")
    )
    signs = []
    for seen, unseen in zip(plain, hidden, strict=True):
        np.testing.assert_array_equal(seen.observations, unseen.observations)
        signs.append(np.sign((seen.actions * unseen.actions).sum(axis=0)))
        np.testing.assert_array_equal(seen.actions * signs[-1], unseen.actions)
    assert [set(of_actuator) for of_actuator in np.transpose(signs)] == [{-1, 1}] * 3


def test_qualities_differ_as_their_names_say(shared: Path) -> None:
    minimum, maximum = REFERENCE_SCORES["QDTSynthetic-v0"]
    summaries = {quality: summarise_dataset(f"qdt/synthetic/{quality}-v0") for quality in QUALITIES}
    scores = {
        quality: 100 * (summary.return_mean - minimum) / (maximum - minimum)
        for quality, summary in summaries.items()
    }
    assert abs(scores["random"]) < 5
    assert abs(scores["medium"] - 50) < 10
    assert 5 < scores["medium-replay"] < 35
    assert 65 < scores["medium-expert"] < 85
    assert abs(scores["expert"] - 100) < 5
    assert summaries["medium-replay"].return_std > summaries["expert"].return_std
    for quality, summary in summaries.items():
        assert summary.n_steps == 1000 * N_EPISODES
        assert summary.behaviour_policy == QUALITIES[quality].description


def test_episodes_name_their_seed_and_gains(shared: Path) -> None:
    def described(quality: str) -> list[dict[str, float]]:
        storage = minari.load_dataset(f"qdt/synthetic/{quality}-v0").storage
        return list(storage.get_episode_metadata(range(N_EPISODES)))

    mixed, replay = described("medium-expert"), described("medium-replay")
    assert [episode["kp"] for episode in mixed[:3]] == [MEDIUM.kp, EXPERT.kp, MEDIUM.kp]
    assert [episode["noise_std"] for episode in mixed[:3]] == [
        MEDIUM.noise_std,
        EXPERT.noise_std,
        MEDIUM.noise_std,
    ]
    assert len({episode["kp"] for episode in replay}) == N_EPISODES
    assert all(0 <= episode["kp"] < MEDIUM.kp for episode in replay)
    assert "kp" not in described("random")[0]
    assert [episode["seed"] for episode in mixed] == [episode["seed"] for episode in replay]
    # Evaluation counts its seeds up from a small number: none of them is among these.
    assert min(episode["seed"] for episode in mixed) > 100_000


def test_metadata_are_complete(shared: Path) -> None:
    dataset = minari.load_dataset("qdt/synthetic-hidden/medium-v0")
    metadata = dataset.storage.metadata
    assert metadata["author"] == {"The qdt_rl authors"}
    assert metadata["license"] == "MIT"
    assert metadata["code_permalink"]
    assert metadata["minari_version"] == minari.__version__
    assert "kp=0.25" in metadata["algorithm_name"]
    assert "QDTSyntheticHidden-v0" in metadata["description"]
    assert reference_scores(dataset) == REFERENCE_SCORES["QDTSyntheticHidden-v0"]
    assert dataset.env_spec.kwargs == {"hidden_polarity": True}
    assert metadata["eval_env_spec"] == metadata["env_spec"]
    assert minari.namespace.list_local_namespaces() == [
        "qdt",
        "qdt/synthetic",
        "qdt/synthetic-delayed",
        "qdt/synthetic-delayed-200",
        "qdt/synthetic-hidden",
    ]


def run(script: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )


def test_the_environment_is_recovered_where_qdt_rl_was_never_imported(shared: Path) -> None:
    script = """
import sys, warnings
import minari
dataset = minari.load_dataset("qdt/synthetic-delayed/medium-v0")
warnings.simplefilter("ignore")  # about qdt-rl, if it is used without being installed
for eval_env in (False, True):
    env = dataset.recover_environment(eval_env=eval_env)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    print(env.spec.id, env.unwrapped.params.reward_delay, "qdt_rl" in sys.modules)
"""
    finished = run(script, ROOT / "envs")
    assert finished.stdout == "QDTSyntheticDelayed-v0 50 False\n" * 2, finished.stderr


def test_an_unknown_dataset(minari_root: Path) -> None:
    message = (
        r"'qdt/synthetic/good-v0' cannot be generated\. What can: qdt/synthetic/random-v0, .*"
        r"qdt/synthetic-hidden/expert-v0\."
    )
    with pytest.raises(DatasetError, match=message):
        generate_dataset("qdt/synthetic/good-v0")
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize(
    ("name", "value", "minimum"),
    [
        ("n_episodes", 0, 1),
        ("n_episodes", 1.5, 1),
        ("n_episodes", True, 1),
        ("seed", -1, 0),
        ("seed", "0", 0),
    ],
)
def test_arguments_out_of_range(minari_root: Path, name: str, value: Any, minimum: int) -> None:
    message = f"{name} must be a whole number of at least {minimum}, but {value!r} was given"
    with pytest.raises(ConfigError, match=message):
        generate_dataset("qdt/synthetic/random-v0", **{name: value})


def test_an_existing_dataset_is_replaced_only_when_asked(minari_root: Path) -> None:
    def make(seed: int, overwrite: bool = False) -> str:
        return digest(
            generate_dataset("qdt/synthetic/random-v0", n_episodes=1, seed=seed, overwrite=overwrite)
        )

    first = make(0)
    with pytest.raises(
        DatasetError, match=r"'qdt/synthetic/random-v0' exists already in .*Pass overwrite=True"
    ):
        make(1)
    assert digest(minari.load_dataset("qdt/synthetic/random-v0")) == first
    second = make(1, overwrite=True)
    assert second != first
    assert digest(minari.load_dataset("qdt/synthetic/random-v0")) == second


def test_a_failed_generation_leaves_nothing(minari_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(HDF5Storage, "update_episode_metadata", fail)
        with pytest.raises(OSError, match="No space left"):
            generate_dataset("qdt/synthetic/random-v0", n_episodes=2)
    assert minari.list_local_datasets() == {}
    assert list((minari_root / ".qdt_rl").iterdir()) == [minari_root / ".qdt_rl" / "lock"]
    assert generate_dataset("qdt/synthetic/random-v0", n_episodes=2).total_episodes == 2


def test_a_killed_generation_blocks_nothing_and_is_tidied_up(minari_root: Path) -> None:
    script = """
import os, signal
from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.recording import Recording

episode = Recording.episode

def episode_or_death(recording, row, seed):
    if row == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return episode(recording, row, seed)

Recording.episode = episode_or_death
generate_dataset("qdt/synthetic/random-v0", n_episodes=5)
"""
    killed = run(script, ROOT, ROOT / "envs")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    half_written = minari_root / ".qdt_rl" / "new" / "data" / "main_data.hdf5"
    assert half_written.stat().st_size > 0
    assert minari.list_local_datasets() == {}
    assert generate_dataset("qdt/synthetic/random-v0", n_episodes=2).total_episodes == 2
    assert list((minari_root / ".qdt_rl").iterdir()) == [minari_root / ".qdt_rl" / "lock"]
    assert list(minari.list_local_datasets()) == ["qdt/synthetic/random-v0"]
