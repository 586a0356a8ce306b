"""A dataset that this project did not make, in the folder that QDT_REALDATA names."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.data.summary import summarise_dataset

REALDATA = os.environ.get("QDT_REALDATA")


@pytest.mark.skipif(REALDATA is None, reason="QDT_REALDATA does not name a folder with real datasets")
def test_hopper(minari_root: Path) -> None:
    shutil.copytree(Path(str(REALDATA)) / "minari", minari_root, dirs_exist_ok=True)
    dataset = load_dataset("mujoco/hopper/trpo-replay-v0")
    data, summary = read_trajectories(dataset), summarise_dataset(dataset)
    assert (data.n_episodes, data.n_steps) == (summary.n_episodes, summary.n_steps) == (966, 199_957)
    assert round(summary.return_mean) == 625
    assert round(summary.return_std) == 743
    assert round(summary.return_max) == 3394
    np.testing.assert_allclose(data.episode_returns.max(), summary.return_max, rtol=1e-12)
    assert summary.reference_scores == (-20.272305, 3234.3)
    for position in (0, 500, 965):
        episode = dataset[position]
        steps = slice(*data.offsets[position : position + 2])
        np.testing.assert_array_equal(data.observations[steps], episode.observations[:-1].astype(np.float32))
        np.testing.assert_array_equal(data.actions[steps], episode.actions)
