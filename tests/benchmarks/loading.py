"""A million steps from Minari to arrays: by ``read_trajectories``, and by plain h5py, episode by episode."""

import json
import sys
from pathlib import Path

import h5py
import minari
import numpy as np
from minari import MinariDataset

from qdt_rl import generate_dataset, read_trajectories
from tests.benchmarks.protocol import Job, peak_memory

DATASET_ID = "qdt/synthetic/random-v0"


def ensure_dataset(dataset_id: str, n_episodes: int) -> MinariDataset:
    """Return the dataset of that many episodes, generated where Minari's folder has no such one yet."""
    if dataset_id in minari.list_local_datasets():
        dataset = minari.load_dataset(dataset_id)
        if dataset.total_episodes == n_episodes:
            return dataset
    return generate_dataset(dataset_id, n_episodes=n_episodes, overwrite=True)


def read_ours(dataset: MinariDataset) -> list[np.ndarray]:
    """Read with this library, which checks the values and adds returns-to-go."""
    data = read_trajectories(dataset)
    return [data.observations, data.actions, data.rewards, data.offsets, data.returns_to_go]


def read_plain(dataset: MinariDataset) -> list[np.ndarray]:
    """Read the same arrays with h5py, one episode after the other, as one would write it down first."""
    folder = Path(dataset.storage.data_path)
    observations, actions, rewards = [], [], []
    with h5py.File(folder / "main_data.hdf5", "r") as file:
        for episode in range(len(file)):
            group = file[f"episode_{episode}"]
            observations.append(group["observations"][:-1].astype(np.float32, copy=False))
            actions.append(group["actions"][:].astype(np.float32, copy=False))
            rewards.append(group["rewards"][:].astype(np.float32))
    return [np.concatenate(parts) for parts in (observations, actions, rewards)]


READERS = {"ours": read_ours, "h5py": read_plain}


def job(reader: str, n_episodes: int) -> Job:
    """Time one reader; the file is in the page cache after the first reading."""
    dataset = ensure_dataset(DATASET_ID, n_episodes)

    def run(n: int) -> None:
        for _ in range(n):
            READERS[reader](dataset)

    return Job(run)


def resident_memory() -> float:
    """Return the resident size of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Read once, in a process of its own, and print what that took of memory, in MB."""
    reader, n_episodes = sys.argv[1], int(sys.argv[2])
    dataset = ensure_dataset(DATASET_ID, n_episodes)
    before = resident_memory()
    arrays = READERS[reader](dataset)
    report = {"peak": peak_memory() - before, "arrays": sum(array.nbytes for array in arrays) / 2**20}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
