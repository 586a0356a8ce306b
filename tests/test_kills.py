"""Dataset generation and grids of experiments, killed at random moments and started again."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import minari
import pytest

from qdt_rl.data.generation import generate_dataset
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grid import run_grid
from qdt_rl.experiments.records import read_records
from tests.data.test_generation import digest
from tests.launcher import Launcher

N_KILLS = 50
DATASET = "qdt/synthetic/expert-v0"
SETTINGS = (("policy_kwargs", {"d_model": 8, "n_heads": 1}), ("context_length", 2), ("precision", "32"))
CELLS = [Cell("test", "qdt", DATASET, seed, 3, SETTINGS, n_episodes=1) for seed in range(3)]
PRELUDE = """
from qdt_rl.data.generation import generate_dataset
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments import cells
from qdt_rl.experiments.grid import run_grid
from qdt_rl.evaluation.result import EvaluationResult
import numpy as np

def evaluate(policy, env_id, target, n_episodes):
    "Tells what the policy does in one step: whole episodes take too long to be killed often."
    action, _ = policy.predict(np.ones(11), target)
    return EvaluationResult(action[:1].astype(float), np.ones(1, np.int64), np.full(1, target))

cells.evaluate = evaluate
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path


@pytest.mark.slow
def test_generation_that_is_killed_fifty_times_leaves_the_old_dataset_or_the_new_one(root: Path) -> None:
    """Each start replaces the dataset by that of another seed."""
    digests = [digest(generate_dataset(DATASET, n_episodes=2, seed=seed, overwrite=True)) for seed in (1, 0)]
    work = f"generate_dataset({DATASET!r}, n_episodes=2, seed=int(folder), overwrite=True)"
    launcher, rng, n_kills, n_starts = Launcher(PRELUDE, work), random.Random(0), 0, 0
    duration, status = launcher.run(Path("1"))
    assert status == 0
    while n_kills < N_KILLS:
        n_starts += 1
        _, status = launcher.run(Path(str(n_starts % 2)), rng.uniform(0, 1.1 * duration))
        n_kills += status == signal.SIGKILL
        if (root / "datasets" / DATASET).exists():  # not between the two renames
            assert digest(minari.load_dataset(DATASET)) in digests
    assert launcher.run(Path("0"))[1] == 0
    launcher.process.communicate()
    assert digest(minari.load_dataset(DATASET)) == digests[1]
    assert [path.name for path in (root / "datasets" / ".qdt_rl").iterdir()] == ["lock"]


@pytest.mark.slow
def test_a_grid_that_is_killed_fifty_times_ends_with_the_same_records(root: Path) -> None:
    generate_dataset(DATASET, n_episodes=2)
    launcher, rng, n_kills = Launcher(PRELUDE, f"run_grid({CELLS!r}, Path(folder), 1)"), random.Random(1), 0
    whole, killed = root / "whole.jsonl.gz", root / "killed.jsonl.gz"
    duration, status = launcher.run(whole)
    assert status == 0
    while n_kills < N_KILLS:
        _, status = launcher.run(killed, rng.uniform(0, 0.8 * duration))
        n_kills += status == signal.SIGKILL
        if status == 0:  # all cells are done, so that another kill would meet no work
            assert told(killed) == told(whole)
            killed.unlink()
    assert launcher.run(killed)[1] == 0
    launcher.process.communicate()
    assert told(killed) == told(whole)


def told(path: Path) -> dict[str, object]:
    """Return what the records say, but for times."""
    records = read_records(path)
    assert all(record["failed"] is None for record in records)
    return {
        record["key"]: (record["loss"], [evaluation["returns"] for evaluation in record["evaluations"]])
        for record in records
    }


def test_ctrl_c_ends_a_grid_and_its_workers_and_it_goes_on(root: Path) -> None:
    generate_dataset(DATASET, n_episodes=2)
    path = root / "records.jsonl.gz"
    cells = [Cell("test", "qdt", DATASET, seed, 3, SETTINGS, n_episodes=1) for seed in range(6)]
    code = (
        "from pathlib import Path\nfrom qdt_rl.experiments.cells import Cell\n"
        f"from qdt_rl.experiments.grid import run_grid\nrun_grid({cells!r}, Path({str(path)!r}), 2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE)
    while not (path.exists() and read_records(path)):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    assert 1 <= len(read_records(path)) < len(cells)
    wait_for_the_end_of(process.pid)
    run_grid(cells, path, 1)
    assert {cell.key() for cell in cells} == told(path).keys()


def wait_for_the_end_of(group: int) -> None:
    """Fail unless all processes of a group end within half a minute."""
    deadline = time.monotonic() + 30
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        pytest.fail("workers outlive the grid that was interrupted")
