import csv
import json
import shutil

import numpy as np
import pytest

from qdt_envs.controllers import EXPERT
from qdt_envs.reference_scores import measure_returns
from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.minari_reader import load_dataset, read_trajectories
from qdt_rl.errors import CheckpointError, ConfigError, DatasetError, MissingExtraError, TargetReturnWarning
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.experiments.agents import load_agent, load_agents
from qdt_rl.experiments.runs import compare_agents, resume_agent, train_agent

SETTINGS = {"context_length": 2, "batch_size": 3}


@pytest.fixture(scope="module")
def agents(dataset, tmp_path_factory):
    """The files of a dt and a bc of three updates."""
    folder = tmp_path_factory.mktemp("agents")
    train_agent(dataset, "dt", 3, folder / "dt", SETTINGS)
    train_agent(dataset, "bc", 3, folder / "bc", {"batch_size": 3})
    return [folder / "dt.zip", folder / "bc"]


@pytest.fixture(scope="module")
def on_hidden(short_episodes, minari_root, tmp_path_factory):
    """A bc that knows the environment of hidden polarity."""
    dataset = generate_dataset("qdt/synthetic-hidden/random-v0", n_episodes=2)
    folder = tmp_path_factory.mktemp("hidden")
    train_agent(dataset.id, "bc", 1, folder / "bc", {})
    return folder / "bc.zip"


def compared(paths, folder, env_id=None, targets=None, n_episodes=2, seed=0, **options):
    return compare_agents(paths, env_id, targets, n_episodes, seed, folder, **{"references": False} | options)


def test_training_leaves_the_agent_and_its_log(dataset, tmp_path, capsys):
    written = train_agent(dataset, "dt", 20, tmp_path / "new" / "agent", SETTINGS)
    assert written == [tmp_path / "new" / "agent.zip", tmp_path / "new" / "agent.csv"]
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    agent = load_agent(written[0])
    assert (agent.num_timesteps, agent.variant, agent.context_length) == (20, "dt", 2)
    rows = list(csv.DictReader(written[1].read_text().splitlines()))
    assert [row["train/n_updates"] for row in rows] == [str(n) for n in range(2, 21, 2)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"update {n}" for n in range(2, 21, 2)]


@pytest.mark.parametrize("name", ["lr0.1", "agent.csv"])
def test_what_belongs_to_an_agent_bears_its_whole_name(name, dataset, tmp_path):
    written = train_agent(dataset, "bc", 1, tmp_path / name, {"batch_size": 3})
    assert written == [tmp_path / name, tmp_path / f"{name}.csv"]
    assert load_agents(written[:1])[name].num_timesteps == 1
    assert written[1].read_text().startswith("time/updates_per_second,train/")


def test_training_on_gives_the_very_file_that_training_at_once_gives(dataset, tmp_path):
    train_agent(dataset, "dt", 5, tmp_path / "whole", SETTINGS)
    train_agent(dataset, "dt", 3, tmp_path / "part", SETTINGS)
    first_log = (tmp_path / "part.csv").read_bytes()
    written = resume_agent(tmp_path / "part", dataset, 2, tmp_path / "part")
    assert written == [tmp_path / "part.zip", tmp_path / "part-from-3.csv"]
    assert (tmp_path / "part.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()
    assert (tmp_path / "part.csv").read_bytes() == first_log, "an earlier log is not lost"
    rows = list(csv.DictReader(written[1].read_text().splitlines()))
    assert [row["train/n_updates"] for row in rows] == ["4", "5"]


def test_training_that_cannot_begin_leaves_nothing(dataset, tmp_path):
    out = tmp_path / "new" / "agent.zip"
    with pytest.raises(DatasetError, match="There is no dataset 'qdt/absent-v0'"):
        train_agent("qdt/absent-v0", "dt", 1, out, {})
    with pytest.raises(ConfigError, match="Unknown agent 'x'"):
        train_agent(dataset, "x", 1, out, {})
    with pytest.raises(ConfigError, match=r"learning_rate must be a positive number, but -1\.0"):
        train_agent(dataset, "dt", 1, out, {"learning_rate": -1.0})
    with pytest.raises(CheckpointError, match="There is no agent at"):
        resume_agent(tmp_path / "absent", dataset, 1, out)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Nothing can be written to"):
        train_agent(dataset, "dt", 1, tmp_path / "file" / "agent", {})


def test_a_comparison_is_what_evaluating_each_agent_gives(dataset, agents, tmp_path):
    """By default: in the data's environment, at the best return in the data, on the data's scale."""
    scores, written = compared(agents, tmp_path / "out", n_episodes=5, seed=7)
    best = float(read_trajectories(load_dataset(dataset)).episode_returns.max())
    assert [(score.agent, score.target_return) for score in scores] == [("dt", best), ("bc", best)]
    for path, score in zip(agents, scores, strict=True):
        result = evaluate(load_agent(path), "QDTSynthetic-v0", best, 5, seed=7)
        np.testing.assert_array_equal(score.result.returns, result.returns)
        assert score.result.normalized_score == pytest.approx(result.normalized_scores.mean())
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["scores.json", "scores.csv", "scores.md", "scores.png"]
    assert [record["returns"] for record in json.loads(written[0].read_text())] == [
        score.result.returns.tolist() for score in scores
    ]


def test_a_return_beyond_the_data_is_warned_of_where_it_is_heeded(agents, tmp_path):
    with pytest.warns(TargetReturnWarning, match="but the best episode in the data achieved") as warned:
        compared(agents, tmp_path, targets=[1e4])
    assert len(warned) == 1, "bc does not heed it"


def test_several_targets_are_asked_once_each_and_drawn_together(agents, tmp_path):
    scores, written = compared(agents[1:], tmp_path, targets=[-3.5, 1e4, -3.5])
    assert [score.target_return for score in scores] == [-3.5, 1e4]
    drawn = ["scores_-3.5.png", "scores_10000.png", "requested_returns.png"]
    assert [path.name for path in written if path.suffix == ".png"] == drawn


@pytest.mark.parametrize("env_id", ["QDTSynthetic-v0", "QDTSyntheticHidden-v0"])
def test_references_are_random_actions_and_the_expert_that_is_shown_the_polarity(
    env_id, agents, on_hidden, tmp_path
):
    """Played independently by the environment's own package, which shows it to every behaviour policy."""
    path = on_hidden if "Hidden" in env_id else agents[1]
    scores, _ = compared([path], tmp_path, n_episodes=6, seed=3, references=True)
    by_name = {score.agent: score for score in scores}
    assert list(by_name) == ["bc", "random", "expert"]
    expected = measure_returns(EXPERT, env_id, 6, seed=3)
    np.testing.assert_allclose(by_name["expert"].result.returns, expected, rtol=1e-6)
    assert by_name["random"].result.mean < by_name["expert"].result.mean


def test_the_expert_is_of_our_environments_only(short_episodes, minari_root, agents, tmp_path):
    foreign = "qdt_rl_tests/Lucky-v0"
    with pytest.raises(
        ConfigError,
        match=r"dt was trained with observations .*\(11,\), float32\), but the environment has Box",
    ):
        compared(agents[:1], tmp_path, foreign, references=True)
    scores, _ = compared(agents[1:], tmp_path, "qdt_rl_tests/SameSpaces-v0", references=True)
    assert [score.agent for score in scores] == ["bc", "random"]


def test_online_agents_stand_beside_the_others(agents, tmp_path):
    scores, _ = compared(agents[1:], tmp_path, online=["PPO"], online_steps=1)
    assert [score.agent for score in scores] == ["bc", "PPO"]
    assert scores[1].n_parameters == 10_119


def test_names_must_tell_agents_apart(agents, tmp_path):
    shutil.copy(agents[0], tmp_path / "random.zip")
    shutil.copy(agents[0], tmp_path / "PPO.zip")
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="dt would stand for two agents"):
        compared([agents[0], agents[0]], out)
    with pytest.raises(ConfigError, match="random would stand for two agents"):
        compared([tmp_path / "random.zip"], out, references=True)
    with pytest.raises(ConfigError, match="PPO would stand for two agents"):
        compared([tmp_path / "PPO"], out, online=["PPO"])
    with pytest.raises(ConfigError, match="SAC would stand for two agents"):
        compared(agents[:1], out, online=["SAC", "SAC"])
    assert not out.exists()
    scores, _ = compared([tmp_path / "random.zip"], out)
    assert [score.agent for score in scores] == ["random"]


def test_agents_that_disagree_on_the_scale_keep_their_own(dataset, agents, tmp_path):
    policy = load_agent(agents[1])
    low, high = policy.reference_scores
    policy.reference_scores = (-1.0, 1.0)
    policy.save(tmp_path / "other.zip")
    for paths in ([agents[0], tmp_path / "other.zip"], [tmp_path / "other.zip", agents[0]]):
        scores, _ = compared(paths, tmp_path / "out", references=True)
        found = {score.agent: score for score in scores}
        assert found["other"].result.normalized_score == pytest.approx(
            100 * (found["other"].result.mean + 1) / 2
        )
        assert found["dt"].result.normalized_score == pytest.approx(
            100 * (found["dt"].result.mean - low) / (high - low)
        )
        assert found["random"].result.normalized_score is None


def test_the_environment_must_be_clear(agents, on_hidden, tmp_path):
    out = tmp_path / "out"
    shutil.copy(on_hidden, tmp_path / "hidden.zip")
    paths = [agents[0], tmp_path / "hidden.zip"]
    message = "recorded in QDTSynthetic-v0, QDTSyntheticHidden-v0; name one of them with --env"
    with pytest.raises(ConfigError, match=message):
        compared(paths, out)
    with pytest.raises(ConfigError, match="'Absent-v0' was given"):
        compared(paths, out, "Absent-v0")
    with pytest.raises(
        MissingExtraError, match=r"needs a package that is not installed\. install what is missing"
    ):
        compared(paths, out, "qdt_rl_tests/NeedsPackage-v0")
    assert not out.exists()
    scores, _ = compared(paths, out, "QDTSyntheticHidden-v0")
    assert {score.env_id for score in scores} == {"QDTSyntheticHidden-v0"}


def test_agents_without_an_environment_need_one_to_be_named(agents, tmp_path, monkeypatch):
    def load_without_environment(paths, device):
        agent = load_agent(paths[0])
        agent.env_id = None
        return {"dt": agent}

    monkeypatch.setattr("qdt_rl.experiments.runs.load_agents", load_without_environment)
    with pytest.raises(ConfigError, match="The agents' datasets name no environment; name one with --env"):
        compared(agents[:1], tmp_path / "out")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(agents, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("qdt_rl.experiments.runs.compare", lambda *_, **__: pytest.fail("evaluated first"))
    with pytest.raises(ConfigError, match="Nothing can be written to"):
        compared(agents, tmp_path / "file" / "out")
