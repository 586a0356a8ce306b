import io
import json

import numpy as np
import pytest
from rich.console import Console

from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.experiments.agents import load_agent
from qdt_rl.experiments.comparison import spread_targets
from qdt_rl.experiments.quickstart import DATASET, run_quickstart

N_STEPS, N_EPISODES, SEED = 2, 6, 3


def run(folder, seed=SEED):
    """Return the files written, and what was told."""
    console = Console(file=io.StringIO(), width=200)
    written = run_quickstart(folder, N_STEPS, N_EPISODES, seed, console)
    return {path.name: path for path in written}, console.file.getvalue()


@pytest.fixture(scope="module")
def first(short_episodes, minari_root, tmp_path_factory):
    return run(tmp_path_factory.mktemp("quickstart"))


def read(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)  # strict: no NaN


def test_everything_that_was_promised_is_there(first):
    files, _ = first
    folder = files["manifest.json"].parent
    assert sorted(files.values()) == sorted(folder.iterdir())
    tables = [
        f"{name}.{suffix}"
        for name in ("scores", "requested_returns")
        for suffix in ("json", "csv", "md", "png")
    ]
    assert sorted(files) == sorted(["qdt.zip", "dt.zip", "bc.zip", *tables, "manifest.json"])


def test_the_scores_are_those_of_the_saved_agents(first):
    files, _ = first
    best = read_trajectories(load_dataset(DATASET)).episode_returns.max()
    scores = {record["agent"]: record for record in read(files["scores.json"])}
    assert list(scores) == ["qdt", "dt", "bc", "random", "expert"]
    for name in ("qdt", "dt", "bc"):
        result = evaluate(load_agent(files[f"{name}.zip"]), "QDTSynthetic-v0", best, N_EPISODES)
        assert scores[name]["returns"] == result.returns.tolist()
        assert scores[name]["normalized_score"] == pytest.approx(result.normalized_scores.mean())
    assert {record["target_return"] for record in scores.values()} == {best}
    assert scores["random"]["mean"] < scores["expert"]["mean"]


def test_each_agent_is_asked_for_five_returns_on_episodes_of_their_own(first):
    """Six episodes shared out over five targets: two each, rounded up, after those of the comparison."""
    files, _ = first
    targets = spread_targets(read_trajectories(load_dataset(DATASET)).episode_returns, 5)
    requested = read(files["requested_returns.json"])
    assert [(record["agent"], record["target_return"]) for record in requested] == [
        (name, target) for name in ("qdt", "dt", "bc") for target in targets
    ]
    assert {(record["seed"], len(record["returns"])) for record in requested} == {(N_EPISODES, 2)}


def test_the_manifest_says_what_it_takes_to_run_it_again(first):
    files, _ = first
    manifest = read(files["manifest.json"])
    assert manifest["dataset"] == {"id": DATASET, "n_episodes": 200, "seed": SEED}
    assert manifest["n_steps"] == N_STEPS
    for name in ("qdt", "dt", "bc"):
        agent = load_agent(files[f"{name}.zip"])
        stated = manifest["agents"][name]
        assert (agent.seed, agent.train_config.learning_rate) == (SEED, stated["learning_rate"])
        assert agent.context_length == stated.get("context_length", 1)
        assert agent.num_timesteps == N_STEPS
    phases = ["dataset", "training qdt", "training dt", "training bc", "evaluation", "requested returns"]
    assert list(manifest["seconds"]) == phases
    assert {"python", "torch", "gymnasium", "minari", "stable-baselines3"} <= set(manifest["versions"])


def test_what_is_told(first):
    _, told = first
    assert f"Generating {DATASET} …" in told
    assert "It is there already" not in told
    for name in ("qdt", "dt", "bc"):
        assert f"Training {name}, 2 updates …" in told
    assert "6 episodes, asked for the best return in the data" in told
    assert "2 episodes for each return asked for" in told


def test_a_second_run_finds_the_dataset_and_gives_the_same_files(first, tmp_path):
    files, told = run(tmp_path)
    assert f"It is there already: 200 episodes, seed {SEED}." in told
    assert "Note:" not in told
    for name, path in first[0].items():
        if name != "manifest.json":  # which holds how long it took
            assert files[name].read_bytes() == path.read_bytes(), name


def test_a_dataset_that_is_another_is_used_and_named(short_episodes, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    generate_dataset(DATASET, n_episodes=7, seed=41)
    files, told = run(tmp_path / "out")
    assert "It is there already: 7 episodes, seed 41." in told
    assert "Note: a new one would have 200 episodes, seed 3. To have it:" in told
    assert f"qdt-rl data generate {DATASET} --seed 3 --overwrite" in told
    assert read(files["manifest.json"])["dataset"] == {"id": DATASET, "n_episodes": 7, "seed": 41}


def test_targets_are_within_the_data(first):
    returns = read_trajectories(load_dataset(DATASET)).episode_returns
    asked = {record["target_return"] for record in read(first[0]["requested_returns.json"])}
    assert np.quantile(returns, 0.1) == pytest.approx(min(asked))
    assert returns.max() == pytest.approx(max(asked))
