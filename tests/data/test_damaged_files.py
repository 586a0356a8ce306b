"""Files of datasets with bits flipped, cut short or made to exhaust memory: refused, or read as valid."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.errors import DatasetError

DATASET_ID = "qdt/synthetic/random-v0"
N_MUTANTS = 300

# HDF5 is a C library: what it makes of a mutant is tried in a process with 8 GB of address space and 10 s of
# a processor.
TRY = """
import resource, signal, sys, warnings
from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.errors import DatasetError
from tests.data.test_damaged_files import mutate, DATASET_ID
from pathlib import Path

root, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for number in range(first, last):
    signal.setitimer(signal.ITIMER_PROF, 10)
    print(number, mutate(root, number), flush=True)
    try:
        data = read_trajectories(load_dataset(DATASET_ID))
    except DatasetError:
        print("refused", flush=True)
    else:
        assert data.n_steps < 10_000
        print("read", flush=True)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of datasets with a small one, of which a copy is kept."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    generate_dataset(DATASET_ID, n_episodes=2)
    for name in ("main_data.hdf5", "metadata.json"):
        shutil.copy(folder(tmp_path) / name, tmp_path / name)
    return tmp_path


def folder(root: Path) -> Path:
    return root / DATASET_ID / "data"


def mutate(root: Path, number: int) -> str:
    """Write mutant ``number`` of the dataset, and say what it is."""
    rng = np.random.default_rng(number)
    whole = bytearray((root / "main_data.hdf5").read_bytes())
    # Two thirds in the bookkeeping, which is small and where the trouble lies, not in the numbers.
    region = min(len(whole), 4096) if number % 3 else len(whole)
    if number % 5 == 0:
        whole = whole[: rng.integers(len(whole))]
        kind = f"cut to {len(whole)}"
    else:
        places = rng.integers(region, size=rng.integers(1, 4))
        for place in places:
            whole[place] ^= 1 << rng.integers(8)
        kind = f"bits flipped at {places}"
    (folder(root) / "main_data.hdf5").write_bytes(whole)
    return kind


@pytest.mark.slow
def test_damaged_files_are_refused_or_read(root: Path) -> None:
    command = [sys.executable, "-c", TRY, str(root), "0", str(N_MUTANTS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    outcomes = Counter(result.stdout.split("\n")[1::2])
    assert result.returncode == 0, (result.stdout[-200:], result.stderr[-2000:])
    assert outcomes["refused"] + outcomes["read"] == N_MUTANTS
    assert outcomes["refused"] > N_MUTANTS / 4
    assert outcomes["read"] > 0


def test_many_names_for_one_array_are_refused(root: Path) -> None:
    """A few bytes a link: a small file would fill any memory."""
    n_links = 500
    with h5py.File(folder(root) / "main_data.hdf5", "a") as file:
        for number in range(2, n_links):
            file[f"episode_{number}"] = file["episode_0"]
    metadata = json.loads((root / "metadata.json").read_text())
    (folder(root) / "metadata.json").write_text(json.dumps(metadata | {"total_episodes": n_links}))
    with pytest.raises(DatasetError, match="or several names stand for one array"):
        read_trajectories(load_dataset(DATASET_ID))


@pytest.mark.parametrize("total", [10**15, 10**6, -1, 1.5, None, "2"])
def test_more_episodes_than_there_is_room_for_are_refused(root: Path, total: object) -> None:
    metadata = json.loads((root / "metadata.json").read_text())
    (folder(root) / "metadata.json").write_text(json.dumps(metadata | {"total_episodes": total}))
    with pytest.raises(DatasetError, match=r"is said to hold .* episodes, for which its [\d,]+ bytes"):
        load_dataset(DATASET_ID)
