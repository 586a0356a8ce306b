"""Runs that are killed, interrupted or out of disk, against one that never was."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset
from qdt_rl.errors import ConfigError
from qdt_rl.experiments.agents import load_agent
from qdt_rl.experiments.runs import checkpoints_folder, resume_agent, train_agent
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.checkpoints import Checkpoints
from tests.launcher import Launcher

N_KILLS, N_STEPS = 50, 40
DATASET = "qdt/synthetic/expert-v0"
SETTINGS = {
    "policy_kwargs": {"d_model": 8, "n_heads": 1, "n_layers": 1},
    "context_length": 2,
    "batch_size": 4,
    "precision": "32",
    "device": "cpu",
}
SMALL = {name: value for name, value in SETTINGS.items() if name != "device"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        generate_dataset(DATASET, n_episodes=1)
        yield


PRELUDE = f"""
from qdt_rl.experiments.runs import train_agent
import qdt_rl.training, qdt_rl.policy.callbacks, qdt_rl.progress

DATASET, N_STEPS, SMALL = {DATASET!r}, {N_STEPS!r}, {SMALL!r}
"""
WORK = """
sys.stdout = open(os.devnull, "w")
try:
    train_agent(DATASET, "qdt", N_STEPS, Path(folder, "agent"), SMALL)
except OSError as error:
    Path(folder, "error").write_text(str(error))
"""


@pytest.fixture(scope="module")
def launcher(data):
    launcher = Launcher(PRELUDE, WORK)
    yield launcher
    launcher.process.communicate()


def checkpoints_of(folder):
    return checkpoints_folder(folder / "agent.zip", load_dataset(DATASET))


def train(folder):
    train_agent(DATASET, "qdt", N_STEPS, folder / "agent", SMALL)


def rows(folder):
    """Return the log, but for the times."""
    with (folder / "agent.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


@pytest.fixture
def folders(tmp_path, data):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "killed"


@pytest.mark.slow
def test_a_run_that_is_killed_fifty_times_ends_with_the_same_bytes(launcher, folders):
    """Every start goes on from the newest checkpoint, so that runs end between the kills, and begin anew."""
    whole, killed = folders
    launcher.run(whole)
    start = time.perf_counter()
    assert launcher.run(whole)[1] == 0
    duration = time.perf_counter() - start
    checkpoints = Checkpoints(checkpoints_of(killed))
    rng, n_kills, n_resumed = random.Random(0), 0, 0
    while n_kills < N_KILLS:
        newest = checkpoints.newest()
        if newest is not None:
            n_resumed += 1
            assert load_agent(newest).num_timesteps % 4 == 0  # whole
        _, status = launcher.run(killed, rng.uniform(0, 0.8 * duration))
        n_kills += status == signal.SIGKILL
    assert launcher.run(killed)[1] == 0
    assert n_resumed > N_KILLS / 5, "the kills must fall behind checkpoints too"
    assert (killed / "agent.zip").read_bytes() == (whole / "agent.zip").read_bytes()
    assert rows(killed) == rows(whole)
    assert sorted(path.name for path in killed.iterdir()) == ["agent.csv", "agent.zip"]


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(launcher, folders):
    """A limit on the size of files stands for the disk: writing fails in the midst of a file."""
    whole, killed = folders
    policy = QDTPolicy("qdt", **SETTINGS).fit(DATASET, 4)
    checkpoint = checkpoints_of(killed) / "step-000000000004.zip"
    policy.save(checkpoint)
    before = checkpoint.read_bytes()
    launcher.run(killed, max_file_size=len(before) // 2)
    assert "File too large" in (killed / "error").read_text()
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    assert checkpoint.read_bytes() == before
    train(killed)
    train(whole)
    assert (killed / "agent.zip").read_bytes() == (whole / "agent.zip").read_bytes()


def test_ctrl_c_saves_the_update_under_way_and_the_run_goes_on_from_it(folders, monkeypatch):
    whole, killed = folders
    train(whole)
    seen = []

    def press(self):
        seen.append(self.model.num_timesteps)
        if len(seen) == 7:
            signal.raise_signal(signal.SIGINT)
        return original(self)

    original = Checkpoints._on_step
    monkeypatch.setattr(Checkpoints, "_on_step", press)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(killed)
    assert signal.getsignal(signal.SIGINT) is handler
    assert load_agent(Checkpoints(checkpoints_of(killed)).newest()).num_timesteps == 7
    train(killed)
    assert seen[7] == 8
    assert (killed / "agent.zip").read_bytes() == (whole / "agent.zip").read_bytes()
    assert signal.getsignal(signal.SIGINT) is handler


def test_checkpoints_of_another_run_are_not_taken_up(folders):
    _, killed = folders
    QDTPolicy("qdt", **SETTINGS).fit(DATASET, 4).save(checkpoints_of(killed) / "step-000000000004.zip")
    with pytest.raises(ConfigError, match="is a checkpoint of another run, after 4 updates"):
        train_agent(DATASET, "dt", N_STEPS, killed / "agent", SMALL)
    with pytest.raises(ConfigError, match="is a checkpoint of another run, after 4 updates"):
        train_agent(DATASET, "qdt", 3, killed / "agent", SMALL)


@pytest.fixture
def other_data(data):
    """Lets a test make the dataset anew; afterwards it is what it was."""
    yield
    generate_dataset(DATASET, n_episodes=1, overwrite=True)


@pytest.mark.usefixtures("other_data")
def test_checkpoints_of_a_run_on_other_data_are_not_taken_up(folders, capsys):
    """The agent's file and settings are the same, and so may be the dataset's id: its seed is another."""
    whole, killed = folders
    train(whole)
    generate_dataset(DATASET, n_episodes=1, seed=1, overwrite=True)
    policy = QDTPolicy("qdt", **SETTINGS).fit(DATASET, 4)
    policy.save(others := checkpoints_of(killed) / "step-000000000004.zip")
    generate_dataset(DATASET, n_episodes=1, overwrite=True)
    train(killed)
    assert (killed / "agent.zip").read_bytes() == (whole / "agent.zip").read_bytes()
    assert others.exists()
    assert "going on" not in capsys.readouterr().out
    QDTPolicy("qdt", **SETTINGS).fit(DATASET, 4).save(checkpoints_of(killed) / "step-000000000004.zip")
    train(killed)
    assert f"{killed / 'agent.zip'}: going on after update 4\n" in capsys.readouterr().out


@pytest.mark.usefixtures("other_data")
def test_a_folder_of_checkpoints_is_the_same_in_every_process():
    """Minari gives authors as a set, whose order the hash seed of a process decides."""
    load_dataset(DATASET).storage.update_metadata({"author": {"Ada", "Bob", "Cid", "Dan"}})
    code = (
        "from pathlib import Path; from qdt_rl.data.minari_reader import load_dataset;"
        "from qdt_rl.experiments.runs import checkpoints_folder;"
        f"print(checkpoints_folder(Path('agent.zip'), load_dataset({DATASET!r})))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(3)
    }
    assert len(found) == 1


def test_training_on_does_not_replace_a_checkpoint(folders, monkeypatch):
    _, killed = folders
    checkpoint = checkpoints_of(killed) / "step-000000000004.zip"
    QDTPolicy("qdt", **SETTINGS).fit(DATASET, 4).save(checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(ConfigError, match="is a checkpoint, and would be replaced; name another file with"):
        resume_agent(checkpoint, DATASET, 2, checkpoint)
    monkeypatch.chdir(checkpoint.parent)
    with pytest.raises(ConfigError, match="is a checkpoint, and would be replaced; name another file with"):
        resume_agent(Path(checkpoint.name), DATASET, 2, checkpoint.with_suffix(""))
    assert checkpoint.read_bytes() == before
    resume_agent(checkpoint, DATASET, 2, killed / "other")
    assert load_agent(killed / "other").num_timesteps == 6
    resume_agent(killed / "other", DATASET, 1, killed / "other")
    assert load_agent(killed / "other").num_timesteps == 7


def test_the_newest_and_the_best_are_kept(data, tmp_path):
    checkpoints = Checkpoints(tmp_path, save_freq=2, n_kept=2)
    losses = iter([5.0, 5.0, 1.0, 1.0, 3.0, 3.0, 0.5, 1.5])  # means 5, 1, 3, 1: the later one is no better

    class Losses(Checkpoints):
        def _on_step(self):
            self.locals["update"] = self.locals["update"]._replace(loss=next(losses))
            return super()._on_step()

    checkpoints = Losses(tmp_path, save_freq=2, n_kept=2)
    QDTPolicy("dt", **SETTINGS).fit(DATASET, 8, callback=checkpoints)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best-000000000004-1.0.zip", "step-000000000006.zip", "step-000000000008.zip"]
    assert load_agent(checkpoints.best()).num_timesteps == 4
    assert checkpoints.newest().name == "step-000000000008.zip"
    (tmp_path / "mine").touch()
    checkpoints.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "mine").unlink()
    checkpoints.remove()
    assert not tmp_path.exists()


def test_the_best_is_found_again_after_a_kill(data, tmp_path):
    """A policy that goes on from a checkpoint finds the best of before, and keeps it unless it is beaten."""
    whole = Checkpoints(tmp_path / "whole", save_freq=2)
    QDTPolicy("dt", **SETTINGS).fit(DATASET, 12, callback=whole)
    part = Checkpoints(tmp_path / "part", save_freq=2)
    QDTPolicy("dt", **SETTINGS).fit(DATASET, 7, callback=part)
    going_on = Checkpoints(tmp_path / "part", save_freq=2)
    policy = QDTPolicy.load(going_on.newest(), device="cpu")
    policy.fit(DATASET, 12 - policy.num_timesteps, callback=going_on)
    assert going_on.best().name == whole.best().name
    assert going_on.best().read_bytes() == whole.best().read_bytes()


@pytest.mark.parametrize("wrong", [{"save_freq": 0}, {"n_kept": 0}, {"save_freq": 1.5}])
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be a whole number of at least 1"):
        Checkpoints(tmp_path, **wrong)
