"""Where a run logs, and where it goes on logging after it was killed or saved."""

import copy
import json
import tempfile
import zipfile

import numpy as np
import pytest
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qdt_rl.errors import CheckpointError, ConfigError
from qdt_rl.experiments.runs import resume_agent
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.agent_file import read_agent, write_agent
from qdt_rl.policy.checkpoints import Checkpoints


def new_policy(folder, seed=0):
    sizes = {"d_model": 16, "n_heads": 2}
    return QDTPolicy(
        context_length=5,
        batch_size=8,
        policy_kwargs=sizes,
        precision="32",
        seed=seed,
        tensorboard_log=None if folder is None else str(folder),
    )


def fit(policy, dataset, n_steps, **arguments):
    policy.fit(dataset, n_steps, log_interval=1, **arguments)
    policy.logger.close()
    return policy


def losses(folder):
    """Return what TensorBoard shows: updates and losses. Files of one second may be read in any order."""
    events = sorted(
        EventAccumulator(str(folder)).Reload().Scalars("train/loss"), key=lambda event: event.step
    )
    return [event.step for event in events], np.array([event.value for event in events])


def runs(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_run_has_a_folder_of_its_own(dataset, tmp_path):
    policy = new_policy(tmp_path).fit(dataset, 2, log_interval=1)
    fit(policy, dataset, 2)
    fit(new_policy(tmp_path), dataset, 1)
    assert runs(tmp_path) == ["QDTPolicy_1", "QDTPolicy_2"]
    assert losses(tmp_path / "QDTPolicy_1")[0] == [1, 2, 3, 4]
    assert losses(tmp_path / "QDTPolicy_2")[0] == [1]


def test_another_folder_for_the_log_is_kept_and_heeded(dataset, tmp_path):
    """Whoever trains somebody else's agent names a folder of his own."""
    policy = new_policy(tmp_path / "theirs").fit(dataset, 1, log_interval=1)
    policy.tensorboard_log = tmp_path / "theirs"  # the same: the run goes on
    fit(policy, dataset, 1)
    policy.tensorboard_log = tmp_path / "ours"
    policy.save(tmp_path / "agent.zip")
    for mine in (policy, QDTPolicy.load(tmp_path / "agent.zip")):
        assert mine.tensorboard_log == str(tmp_path / "ours")
        fit(mine, dataset, 1)
    assert runs(tmp_path / "theirs") == ["QDTPolicy_1"]
    assert losses(tmp_path / "theirs" / "QDTPolicy_1")[0] == [1, 2]
    assert losses(tmp_path / "ours" / "QDTPolicy_1")[0] == [3]
    policy.set_logger(configure(None, []))
    given, policy.tensorboard_log = policy.logger, None
    assert policy.logger is given
    with pytest.raises(ConfigError, match="tensorboard_log must be a folder or None, but 3 was given"):
        policy.tensorboard_log = 3


@pytest.mark.parametrize("between", ["loading", "copying"])
def test_a_run_goes_on_in_its_own_folder_though_another_is_newer(between, dataset, tmp_path):
    """Six updates were logged when it was killed, and the newest checkpoint is of four."""
    logs, whole = tmp_path / "logs", tmp_path / "whole"
    checkpoints = Checkpoints(tmp_path / "checkpoints", save_freq=4)
    killed = fit(new_policy(logs), dataset, 6, callback=checkpoints)
    fit(new_policy(logs, seed=1), dataset, 1)
    if between == "loading":
        fit(QDTPolicy.load(checkpoints.newest()), dataset, 4)
    else:
        fit(copy.deepcopy(killed), dataset, 2)
    fit(new_policy(whole), dataset, 8)
    assert runs(logs) == ["QDTPolicy_1", "QDTPolicy_2"]
    steps, values = losses(logs / "QDTPolicy_1")
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(values, losses(whole / "QDTPolicy_1")[1])
    assert losses(logs / "QDTPolicy_2")[0] == [1]


def test_the_command_line_goes_on_with_it_too(dataset, tmp_path):
    logs = tmp_path / "logs"
    fit(new_policy(logs), dataset, 2).save(tmp_path / "agent.zip")
    fit(new_policy(logs, seed=1), dataset, 1)
    resume_agent(tmp_path / "agent.zip", dataset.id, 3, tmp_path / "agent.zip")
    assert losses(logs / "QDTPolicy_1")[0] == [1, 2, 3, 4, 5]
    assert losses(logs / "QDTPolicy_2")[0] == [1]
    assert (tmp_path / "agent-from-2.csv").is_file()


def test_an_older_file_that_names_no_run_begins_a_folder(dataset, tmp_path):
    policy = fit(new_policy(tmp_path / "logs"), dataset, 2)
    policy.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        content = json.loads(archive.read("agent.json"))
    assert content.pop("tensorboard_run") == "QDTPolicy_1"
    write_agent(tmp_path / "old.zip", content, read_agent(tmp_path / "agent.zip")[1])
    fit(QDTPolicy.load(tmp_path / "old.zip"), dataset, 1)
    assert losses(tmp_path / "logs" / "QDTPolicy_2")[0] == [3]


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", "", "a" * 101, 3, ["x"], "a b"])
def test_a_file_cannot_lead_the_log_out_of_its_folder(name, dataset, tmp_path):
    fit(new_policy(None), dataset, 1).save(tmp_path / "agent.zip")
    content, tensors = read_agent(tmp_path / "agent.zip")
    write_agent(tmp_path / "hostile.zip", {**content, "tensorboard_run": name}, tensors)
    with pytest.raises(CheckpointError, match="is no name of a run's log"):
        QDTPolicy.load(tmp_path / "hostile.zip")


def test_a_run_without_a_log_leaves_nothing_among_temporary_files(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fit(new_policy(None), dataset, 2)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
    policy = new_policy(None)
    policy.verbose = 1
    fit(policy, dataset, 1)
    assert "gradient_norm" in capsys.readouterr().out
    policy.verbose = 0
    fit(policy, dataset, 1)
    assert capsys.readouterr().out == ""
    policy.verbose = 1  # SB3 heeds it in every learn
    policy.save(tmp_path / "agent.zip")
    fit(QDTPolicy.load(tmp_path / "agent.zip"), dataset, 1)
    assert "gradient_norm" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="verbose must be a whole number, but 'loud' was given"):
        policy.verbose = "loud"
