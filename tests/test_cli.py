"""The command line as a newcomer meets it: through ``main``, or as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import pytest
from gymnasium.envs.registration import registry

import qdt_rl
from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.cli import main
from qdt_rl.data.generation import generate_dataset, generation_seed
from qdt_rl.data.minari_reader import load_dataset
from qdt_rl.errors import ConfigError
from qdt_rl.experiments import running
from qdt_rl.experiments.agents import AGENTS
from qdt_rl.experiments.cells import Cell

DATASET = "qdt/synthetic/medium-expert-v0"
SMALL = ("--context-length", "2", "--batch-size", "3")


class Outcome(NamedTuple):
    """What a command left: its exit code, and the two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run_command(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(end.value.code or 0, captured.out, captured.err)

    return run_command


@pytest.fixture(scope="module", autouse=True)
def short_episodes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry["QDTSynthetic-v0"], "max_episode_steps", 20)
        yield


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Minari folder with one dataset of five episodes, made by the command line."""
    root = tmp_path_factory.mktemp("minari") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        with pytest.raises(SystemExit, match="0"):
            main(["data", "generate", DATASET, "--episodes", "5", "--seed", "2"])
    return root


@pytest.fixture
def home(datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with that Minari folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bc(home: Path, run: Callable[..., Outcome]) -> Path:
    assert run("train", DATASET, "--agent", "bc", "--steps", 1).code == 0
    return Path("runs/bc.zip")


def as_process(*arguments: str, **given: str) -> subprocess.Popen[str]:
    """Start a command as a user does, in ``home``."""
    return subprocess.Popen(
        [sys.executable, "-m", "qdt_rl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **given},
    )


COMMANDS = [
    (),
    ("quickstart",),
    ("data",),
    ("data", "list"),
    ("data", "generate"),
    ("data", "show"),
    ("train",),
    ("evaluate",),
    ("compare",),
    ("experiment",),
    ("experiment", "list"),
    ("experiment", "run"),
    ("experiment", "report"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, run):
    for option in ("--help", "-h"):
        outcome = run(*command, option)
        assert (outcome.code, outcome.err) == (0, "")
        assert "Usage:" in outcome.out


def test_the_help_names_every_agent(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = run("train", "--help").out.replace(",", " ").replace(". ", " ").split()
    assert set(AGENTS) <= set(words)


def test_the_version_is_told(run):
    assert run("--version").out.split() == ["qdt-rl", qdt_rl.__version__]


def test_datasets_are_generated_listed_and_shown(run, home, datasets, tmp_path, monkeypatch):
    assert f"{DATASET}" in run("data", "list").out
    assert "here, 5 episodes" in run("data", "list").out
    shown = run("data", "show", DATASET)
    assert shown.code == 0
    for text in ("QDTSynthetic-v0", "20 to 20", "100"):
        assert text in shown.out
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "absent"))
    assert "here" not in run("data", "list").out
    made = run("data", "generate", DATASET, "qdt/synthetic/random-v0", "--episodes", 3)
    assert made.out.splitlines() == [
        f"{DATASET}: 3 episodes, 60 steps",
        "qdt/synthetic/random-v0: 3 episodes, 60 steps",
    ]
    assert run("data", "generate", DATASET, "--episodes", 4, "--overwrite").out.startswith(f"{DATASET}: 4 ep")


def test_agents_are_trained_resumed_evaluated_and_compared(run, home):
    assert run("train", DATASET, "--agent", "dt", "--steps", 2, *SMALL).out.splitlines()[-2:] == [
        "Wrote runs/dt.zip",
        "Wrote runs/dt.csv",
    ]
    assert run("train", DATASET, "--resume", "runs/dt", "--steps", 1).out.splitlines()[-2:] == [
        "Wrote runs/dt.zip",
        "Wrote runs/dt-from-2.csv",
    ]
    trained = run("train", DATASET, "--agent", "bc", "--steps", 1, "--seed", 5, "--out", "mine/[b]bc")
    assert trained.out.splitlines()[-2:] == ["Wrote mine/[b]bc.zip", "Wrote mine/[b]bc.csv"]
    evaluated = run("evaluate", "runs/dt", "--episodes", 2, "--target", 50, "--target", -10, "--seed", 3)
    assert [line for line in evaluated.out.splitlines() if line.startswith("Wrote")] == [
        f"Wrote runs/evaluation/{name}"
        for name in (
            "scores.json",
            "scores.csv",
            "scores.md",
            "scores_50.png",
            "scores_-10.png",
            "requested_returns.png",
        )
    ]
    records = json.loads(Path("runs/evaluation/scores.json").read_text())
    assert [(r["agent"], r["target_return"], r["seed"]) for r in records] == [("dt", 50, 3), ("dt", -10, 3)]
    compared = run("compare", "runs/dt.zip", "mine/[b]bc", "--episodes", 2, "--out", "runs/both")
    assert compared.code == 0
    records = json.loads(Path("runs/both/scores.json").read_text())
    assert [record["agent"] for record in records] == ["dt", "[b]bc", "random", "expert"]
    assert "[b]bc" in compared.out
    alone = run(
        "compare", "runs/dt.zip", "--no-references", "--online", "PPO", "--online-steps", 1, "--episodes", 1
    )
    assert alone.code == 0
    records = json.loads(Path("runs/comparison/scores.json").read_text())
    assert [record["agent"] for record in records] == ["dt", "PPO"]
    assert {record["low"] for record in records} == {None}


def test_quickstart(run, home, monkeypatch):
    monkeypatch.setattr("qdt_rl.experiments.quickstart.N_DATA_EPISODES", 5)
    outcome = run("quickstart", "--steps", 1, "--episodes", 2, "--seed", 2)
    assert outcome.code == 0
    assert "It is there already: 5 episodes, seed 2." in outcome.out
    lines = outcome.out.splitlines()
    written = sorted(line.removeprefix("Wrote ") for line in lines if line.startswith("Wrote"))
    assert written == sorted(str(path) for path in Path("runs/quickstart").iterdir())
    assert {Path(path).name for path in written} >= {"scores.md", "scores.png", "requested_returns.png"}


class HandedOverError(Exception):
    """What a command handed over."""


HANDED = [
    (
        ("quickstart", "--steps", 7, "--episodes", 3, "--seed", 5, "--device", "cpu", "--out", "there"),
        "qdt_rl.experiments.quickstart.run_quickstart",
        {"folder": Path("there"), "n_steps": 7, "n_episodes": 3, "seed": 5, "device": "cpu"},
    ),
    (
        ("train", "a/b-v0", "--agent", "dt", "--steps", 7, "--seed", 5, "--batch-size", 3, "--out", "there"),
        "qdt_rl.experiments.runs.train_agent",
        {
            "dataset_id": "a/b-v0",
            "name": "dt",
            "n_steps": 7,
            "path": Path("there"),
            "settings": {"seed": 5, "batch_size": 3, "device": "auto"},
        },
    ),
    (
        ("train", "a/b-v0", "--resume", "here.zip", "--steps", 7, "--device", "cpu"),
        "qdt_rl.experiments.runs.resume_agent",
        {
            "resumed": Path("here.zip"),
            "dataset_id": "a/b-v0",
            "n_steps": 7,
            "path": Path("here.zip"),
            "device": "cpu",
        },
    ),
    (
        (
            *("evaluate", "a.zip", "--env", "E-v0", "--target", 2, "--target", 1, "--episodes", 3),
            *("--seed", 5, "--device", "cpu", "--out", "there"),
        ),
        "qdt_rl.experiments.runs.compare_agents",
        {
            "paths": [Path("a.zip")],
            "env_id": "E-v0",
            "target_returns": [2.0, 1.0],
            "n_episodes": 3,
            "seed": 5,
            "folder": Path("there"),
            "references": False,
            "online": (),
            "online_steps": 0,
            "device": "cpu",
        },
    ),
    (
        (
            *("compare", "a.zip", "b.zip", "--env", "E-v0", "--target", 2, "--episodes", 3, "--seed", 5),
            *("--online", "PPO", "--online-steps", 11, "--device", "cpu", "--out", "there"),
        ),
        "qdt_rl.experiments.runs.compare_agents",
        {
            "paths": [Path("a.zip"), Path("b.zip")],
            "env_id": "E-v0",
            "target_returns": [2.0],
            "n_episodes": 3,
            "seed": 5,
            "folder": Path("there"),
            "references": True,
            "online": ["PPO"],
            "online_steps": 11,
            "device": "cpu",
        },
    ),
    (
        ("experiment", "run", "folded", "--backend", "dask", "--jobs", 3, "--out", "there"),
        "qdt_rl.experiments.running.run_experiment",
        {"name": "folded", "folder": Path("there"), "n_jobs": 3, "backend": "dask"},
    ),
    (
        ("experiment", "report", "folded", "--out", "there"),
        "qdt_rl.experiments.reports.writing.write_report",
        {"name": "folded", "folder": Path("there")},
    ),
]


@pytest.mark.parametrize(("arguments", "callee", "expected"), HANDED, ids=[a[0][0] for a in HANDED])
def test_options_are_handed_over(arguments, callee, expected, home, monkeypatch):
    module, _, name = callee.rpartition(".")
    function = getattr(import_module(module), name)

    def receive(*args, **kwargs):
        raise HandedOverError(signature(function).bind(*args, **kwargs).arguments)

    monkeypatch.setattr(callee, receive)
    with pytest.raises(HandedOverError) as handed:
        main([str(argument) for argument in arguments])
    (given,) = handed.value.args
    given.pop("console", None)
    assert given == expected


WRONG = [
    (("train", "qdt/absent-v0"), "There is no dataset 'qdt/absent-v0' in "),
    (("train", DATASET, "--agent", "dqt"), "Unknown agent 'dqt'; the agents are dt, "),
    (("train", DATASET, "--agent", "bc", "--context-length", 2), "bc has no setting context_length; it has "),
    (
        ("train", DATASET, "--learning-rate", -1),
        "learning_rate must be a positive number, but -1.0 was given.",
    ),
    (("train", DATASET, "--out", "file/agent"), "Nothing can be written to file: File exists."),
    (("train", DATASET, "--resume", "absent.zip"), "There is no agent at absent.zip."),
    (("data", "show", "qdt/absent-v0"), "There is no dataset 'qdt/absent-v0' in "),
    (("data", "generate", "qdt/absent-v0"), "'qdt/absent-v0' cannot be generated. What can: "),
    (("data", "generate", DATASET), f"'{DATASET}' exists already in "),
    (("evaluate", "absent.zip"), "There is no agent at absent.zip."),
    (("evaluate", "file"), "There is no agent at file.zip."),
    (("evaluate", "text.zip"), "text.zip is not an agent of this library, or it is damaged: "),
    (("compare", "a.zip", "b/a.zip"), "a would stand for two agents, which are named by their files; "),
    (("quickstart", "--out", "file/runs"), "Nothing can be written to file/runs: Not a directory."),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=[" ".join(map(str, arguments)) for arguments, _ in WRONG]
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, message, run, home):
    Path("file").touch()
    Path("text.zip").write_text("This is no archive.")
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"Error: {message}")
    assert outcome.err.count("\n") == 1
    assert sorted(path.name for path in home.iterdir()) == ["file", "text.zip"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--env", "Absent-v0"),
            "env must be the id of a registered environment, but 'Absent-v0' was given: ",
        ),
        (
            ("--env", "CartPole-v1"),
            "bc was trained with observations from Box([",
        ),
        (
            ("--env", "a:b:c"),
            "env must be a Gymnasium id, 'id' or 'package:id', but 'a:b:c' was given.",
        ),
        (
            ("--online", "PPO", "--online-steps", "1", "--seed", "4294967296"),
            "seed must be a whole number from 0 to 2³² − 1, but 4294967296 was given.",
        ),
        (
            ("--target", "nan"),
            "target_return must be a finite number, or one for each episode (64), but nan ",
        ),
        (("--online", "DQN"), "algorithm must be one of ['PPO', 'SAC'], but 'DQN' was given."),
        (("--out", "runs/bc.zip"), "Nothing can be written to runs/bc.zip: File exists."),
    ],
)
def test_a_comparison_that_cannot_be_made(options, message, run, bc):
    outcome = run("compare", bc, *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"Error: {message}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("quickstart",),
        ("train", DATASET),
        ("train", DATASET, "--resume", "runs/bc.zip"),
        ("evaluate", "runs/bc.zip"),
        ("compare", "runs/bc.zip"),
    ],
    ids=" ".join,
)
def test_every_command_that_trains_or_acts_takes_a_device(command, run, bc):
    outcome = run(*command, "--device", "tpu")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: device must be 'auto', 'cpu', or ")
    assert run("evaluate", bc, "--device", "cpu", "--episodes", 1).code == 0


@pytest.mark.parametrize(
    "given",
    [
        ("--agent", "bc"),
        ("--seed", "0"),
        ("--context-length", "9"),
        ("--learning-rate", "1"),
        ("--batch-size", "4"),
    ],
    ids=lambda given: given[0],
)
def test_settings_are_not_ignored_when_an_agent_is_trained_on(given, run, bc):
    before = bc.read_bytes()
    outcome = run("train", DATASET, "--resume", bc, *given)
    assert outcome.code == 1
    assert outcome.err == (f"Error: --resume goes on with the agent's own settings: leave out {given[0]}.\n")
    assert bc.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", DATASET, "--steps", "many"), "--steps"),
        (("train", DATASET, "--steps", "0"), "--steps"),
        (("evaluate", "a.zip", "--episodes", "-1"), "--episodes"),
        (("evaluate", "a.zip", "--target", "much"), "--target"),
        (("compare",), "agent"),
        (("train",), "dataset"),
        (("fit",), "No such command 'fit'"),
        (("train", DATASET, "--lr", "1"), "No such option: --lr"),
    ],
)
def test_a_wrong_option_is_named(arguments, message, run):
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message.lower() in outcome.err.lower()  # typer's versions differ in the case of arguments


def test_an_error_of_the_file_system_is_one_line(run, bc, monkeypatch):
    def fill_up(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("qdt_rl.experiments.tables.write_whole", fill_up)
    outcome = run("evaluate", bc, "--episodes", 1)
    assert outcome.code == 1
    assert outcome.err == "Error: runs/evaluation/scores.json: No space left on device.\n"


def test_memory_that_ran_out_is_one_line(run, bc, monkeypatch):
    def exhaust(*_, **__):
        raise MemoryError

    monkeypatch.setattr("qdt_rl.experiments.runs.compare_agents", exhaust)
    assert run("compare", bc).err == "Error: MemoryError.\n"


def test_a_warning_is_one_line(run, bc, monkeypatch):
    def warn(*_, **__):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("Look\n  here.", UserWarning, stacklevel=1)
        raise ConfigError("It ends.")

    monkeypatch.setattr("qdt_rl.experiments.runs.compare_agents", warn)
    assert run("compare", bc).err == "Warning: Look here.\nError: It ends.\n"


def test_an_experiment_of_which_cells_failed_is_an_error(run, home, monkeypatch):
    cells = [Cell("test", agent, DATASET, 0, n_steps=1, n_episodes=1) for agent in ("bc", "absent")]
    monkeypatch.setattr("qdt_rl.experiments.running.find_grid", lambda name: tuple(cells))
    monkeypatch.setattr("qdt_rl.experiments.running._ensure_dataset", lambda dataset_id: None)
    for _ in range(2):
        outcome = run("experiment", "run", "test", "--out", "records", "--jobs", "1")
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.startswith("Error: 1 of 2 cells have failed, and are run again by the next call; ")
        assert "The last: qdt_rl.errors.ConfigError: Unknown agent 'absent'" in outcome.err
    monkeypatch.setattr("qdt_rl.experiments.running.GRIDS", {"test": tuple(cells)})
    listed = run("experiment", "list", "--out", "records").out.splitlines()[3].split()
    assert listed[1::2] == ["test", "2", "1", "1"]
    cells.pop()  # of the grid, whose record stays
    monkeypatch.setattr("qdt_rl.experiments.running.GRIDS", {"test": tuple(cells)})
    assert run("experiment", "list", "--out", "records").out.splitlines()[3].split()[1::2] == [
        "test",
        "1",
        "1",
        "0",
    ]
    outcome = run("experiment", "run", "test", "--out", "records")
    assert (outcome.code, outcome.out) == (0, "Wrote records/test.jsonl.gz\n")


def test_an_experiment_generates_its_data_and_refuses_others_of_the_name(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr("qdt_rl.experiments.running._N_EPISODES", 3)
    cell = Cell("test", "bc", DATASET, 0, n_steps=1, n_episodes=1)
    monkeypatch.setattr("qdt_rl.experiments.running.find_grid", lambda name: (cell,))
    arguments = ("experiment", "run", "test", "--jobs", "1", "--out")
    assert run(*arguments, tmp_path / "first").code == 0
    dataset = load_dataset(DATASET)
    assert (dataset.total_episodes, generation_seed(dataset)) == (3, 0)
    assert run(*arguments, tmp_path / "second").code == 0
    for other in ({"n_episodes": 2, "seed": 0}, {"n_episodes": 3, "seed": 1}):
        generate_dataset(DATASET, overwrite=True, **other)
        outcome = run(*arguments, tmp_path / "third")
        assert outcome.code == 1
        assert "is there, but is not the one of 3 episodes and seed 0 that the experiment" in outcome.err
    assert running._SEED == 0


def test_the_data_of_the_experiments_are_200_episodes():
    assert running._N_EPISODES == 200


def test_ids_are_whole_in_a_narrow_terminal(run, home, monkeypatch):
    monkeypatch.setattr("qdt_rl.console.console._width", 50)
    listed = run("data", "list").out
    assert "…" not in listed
    assert max(map(len, listed.splitlines())) <= 50


def test_a_pipe_gets_neither_colours_nor_progress_bars(home):
    process = as_process("train", DATASET, "--agent", "bc", "--steps", "2")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert out.splitlines()[-2:] == ["Wrote runs/bc.zip", "Wrote runs/bc.csv"]


def test_a_reader_that_has_seen_enough_gets_no_traceback(home):
    process = as_process("data", "list", PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def test_ctrl_c_ends_training_cleanly(home):
    """The old file stays, the log holds whole lines, and a checkpoint has the update under way."""
    Path("agent.zip").write_bytes(b"old")
    process = as_process(
        "train", DATASET, "--agent", "bc", "--steps", "2000000", "--out", "agent", PYTHONUNBUFFERED="1"
    )
    assert process.stdout is not None
    process.stdout.readline()  # training is under way
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "Interrupted.\n")
    (checkpoints,) = home.glob("agent-checkpoints-*")
    assert sorted(path.name for path in home.iterdir()) == [
        checkpoints.name,
        "agent.csv",
        "agent.zip",
    ]
    newest = max(checkpoints.glob("step-*.zip"))
    assert BehaviorCloning.load(newest).num_timesteps == int(newest.stem.removeprefix("step-"))
    assert Path("agent.zip").read_bytes() == b"old"
    header, *rows = Path("agent.csv").read_text().splitlines()
    assert {row.count(",") for row in rows} == {header.count(",")}
