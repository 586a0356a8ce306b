"""The same seed gives the same bytes, in two processes that order their sets differently."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from hashlib import sha256
from pathlib import Path

import torch

torch.set_num_threads(1)
from qdt_rl import BehaviorCloning, QDTPolicy, evaluate, generate_dataset
from qdt_rl.experiments.runs import train_agent

sys.stdout, out = sys.stderr, sys.stdout
dataset = generate_dataset("qdt/synthetic-hidden/medium-replay-v0", n_episodes=2, seed=3)
told = {}
for path in sorted(dataset.storage.data_path.iterdir()):
    told[path.name] = sha256(path.read_bytes()).hexdigest()
small = {"policy_kwargs": {"d_model": 16, "n_heads": 2}, "context_length": 4, "batch_size": 8, "seed": 1}
for precision in ("32", "bf16-mixed"):
    policy = QDTPolicy(**small, precision=precision).fit(dataset, 12)
    policy.save(f"{precision}.zip")
    told[f"training {precision}"] = sha256(Path(f"{precision}.zip").read_bytes()).hexdigest()
BehaviorCloning(seed=1).fit(dataset, 12).save("bc.zip")
told["cloning"] = sha256(Path("bc.zip").read_bytes()).hexdigest()
for n_envs in (1, 3, 6):
    result = evaluate(QDTPolicy.load("32.zip"), "QDTSyntheticHidden-v0", -4500.0, 6, n_envs=n_envs)
    told[f"evaluation {n_envs}"] = result.returns.tolist()
train_agent(dataset.id, "dt", 10, Path("agent.zip"), small)
told["command line"] = sha256(Path("agent.zip").read_bytes()).hexdigest()
json.dump(told, out)
"""

KINDS = (
    "main_data.hdf5",
    "metadata.json",
    "training 32",
    "training bf16-mixed",
    "cloning",
    "command line",
    "evaluation 1",
    "evaluation 3",
    "evaluation 6",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str | list[float]]]:
    """What two processes tell."""
    results = []
    for hash_seed in ("1", "2"):
        folder = tmp_path_factory.mktemp("process")
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "MINARI_DATASETS_PATH": str(folder / "datasets")}
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_same_bytes(kind: str, told: list[dict[str, str | list[float]]]) -> None:
    first, second = told
    assert first.keys() == second.keys() == set(KINDS)
    assert first[kind] == second[kind]


@pytest.mark.slow
def test_other_numbers_of_environments_agree_to_rounding(told: list[dict[str, str | list[float]]]) -> None:
    one, three, six = (told[0][f"evaluation {n}"] for n in (1, 3, 6))
    assert one == pytest.approx(six, rel=1e-3)
    assert three == pytest.approx(six, rel=1e-3)
