"""Disks that are really full: a small file system in memory, which only root can mount."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import minari
import pytest

from qdt_rl.data.generation import generate_dataset
from qdt_rl.experiments.records import append_record, read_records
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.checkpoints import Checkpoints

DATASET = "qdt/synthetic/expert-v0"
SIZE = 2**26
SPARE = 2**25  # what a dataset's writer leaves
SMALL = {"policy_kwargs": {"d_model": 8, "n_heads": 1, "n_layers": 1}, "context_length": 2, "batch_size": 4}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> QDTPolicy:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        return QDTPolicy(**SMALL, precision="32").fit(generate_dataset(DATASET, n_episodes=1), 1)


def fill(disk: Path, but: int) -> None:
    """Leave about ``but`` bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(bytes(max(0, free - but)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "filler")


def test_an_agent_is_saved_whole_or_not_at_all(disk: Path, policy: QDTPolicy) -> None:
    policy.save(disk / "agent.zip")
    before = (disk / "agent.zip").read_bytes()
    fill(disk, len(before) // 2)
    with pytest.raises(OSError, match="No space left on device"):
        policy.save(disk / "agent.zip")
    assert (disk / "agent.zip").read_bytes() == before
    assert names(disk) == ["agent.zip"]
    QDTPolicy.load(disk / "agent.zip")


def test_the_checkpoint_before_stays(disk: Path, policy: QDTPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(disk.parent / "datasets"))
    dataset = generate_dataset(DATASET, n_episodes=1)
    checkpoints = Checkpoints(disk / "checkpoints", save_freq=1)
    policy.save(disk / "agent.zip")
    fill(disk, 5 * (disk / "agent.zip").stat().st_size // 2)  # a best and a newest
    training = QDTPolicy(**SMALL, precision="32")
    with pytest.raises(OSError, match="No space left on device"):
        training.fit(dataset, 9, callback=checkpoints)
    newest = checkpoints.newest()
    assert newest is not None
    assert QDTPolicy.load(newest).num_timesteps == training.num_timesteps - 1
    (disk / "filler").unlink()
    going_on = QDTPolicy.load(newest)
    going_on.fit(dataset, 9 - going_on.num_timesteps, callback=Checkpoints(disk / "checkpoints", 1))
    whole = QDTPolicy(**SMALL, precision="32").fit(dataset, 9)
    going_on.save(disk / "parts.zip")
    whole.save(disk.parent / "whole.zip")
    assert (disk / "parts.zip").read_bytes() == (disk.parent / "whole.zip").read_bytes()


def test_records_are_those_of_before(disk: Path) -> None:
    path = disk / "records.jsonl.gz"
    append_record(path, {"key": '{"seed": 1}', "noise": os.urandom(100).hex()})
    before = path.read_bytes()
    fill(disk, 4096)
    with pytest.raises(OSError, match="No space left on device"):
        append_record(path, {"key": '{"seed": 2}', "noise": os.urandom(100_000).hex()})
    assert path.read_bytes() == before
    (disk / "filler").unlink()
    append_record(path, {"key": '{"seed": 3}'})
    assert ["noise" in record for record in read_records(path)] == [True, False]


@pytest.mark.parametrize("n_free", [SPARE, SPARE + 2**18, SPARE - 2**24, 2**12])
def test_a_dataset_is_there_whole_or_not_at_all(
    disk: Path, n_free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(disk))
    generate_dataset("qdt/synthetic/random-v0", n_episodes=1)
    fill(disk, n_free)
    with pytest.raises(OSError) as caught:
        generate_dataset(DATASET, n_episodes=20)
    assert caught.value.errno == errno.ENOSPC or "No space left on device" in str(caught.value)
    assert list(minari.list_local_datasets()) == ["qdt/synthetic/random-v0"]
    assert names(disk / ".qdt_rl") == ["lock"]
    (disk / "filler").unlink()
    assert generate_dataset(DATASET, n_episodes=1).total_episodes == 1
