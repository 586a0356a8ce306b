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
from qdt_rl.experiments.records import read_records
from tests.data.test_generation import digest

N_KILLS = 50
DATASET = "qdt/synthetic/expert-v0"
SETTINGS = (("policy_kwargs", {"d_model": 8, "n_heads": 1}), ("context_length", 2), ("precision", "32"))
CELLS = [Cell("test", "qdt", DATASET, seed, 3, SETTINGS, n_episodes=1) for seed in range(3)]
LAUNCHER = """
import os, sys
from pathlib import Path
import lightning_fabric, lightning_fabric.plugins
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
for line in sys.stdin:
    folder = line.strip()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            WORK
            code = 0
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Launcher:
    """A process with everything imported, which starts the work in a fork of its own."""

    def __init__(self, work: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LAUNCHER.replace("WORK", work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, kill_after: float | None = None) -> tuple[float, int]:
        """Work in ``folder``; return the seconds that it took and how it ended: 0, or the signal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(folder, file=self.process.stdin, flush=True)
        pid, start = int(self.process.stdout.readline()), time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        return time.perf_counter() - start, status


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path


@pytest.mark.slow
def test_generation_that_is_killed_fifty_times_leaves_the_old_dataset_or_the_new_one(root: Path) -> None:
    """Each start replaces the dataset by that of another seed."""
    digests = [digest(generate_dataset(DATASET, n_episodes=2, seed=seed, overwrite=True)) for seed in (1, 0)]
    work = f"generate_dataset({DATASET!r}, n_episodes=2, seed=int(folder), overwrite=True)"
    launcher, rng, n_kills, n_starts = Launcher(work), random.Random(0), 0, 0
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
    launcher, rng, n_kills = Launcher(f"run_grid({CELLS!r}, Path(folder), 1)"), random.Random(1), 0
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
    cells = [Cell("test", "qdt", DATASET, seed, 3, SETTINGS, n_episodes=1) for seed in range(40)]
    code = (
        "from pathlib import Path\nfrom qdt_rl.experiments.cells import Cell\n"
        f"from qdt_rl.experiments.grid import run_grid\nrun_grid({cells!r}, Path({str(path)!r}), 2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE)
    while not (path.exists() and read_records(path)):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    before = path.read_bytes()
    assert 1 <= len(read_records(path)) < 40
    time.sleep(1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 0)
        assert path.read_bytes() == before, "no worker writes"
