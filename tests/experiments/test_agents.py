import json
import shutil
import zipfile

import numpy as np
import pytest

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.errors import CheckpointError, ConfigError
from qdt_rl.experiments.agents import AGENTS, load_agent, load_agents, make_agent, require_unique
from qdt_rl.policy.agent import QDTPolicy


@pytest.fixture(scope="module")
def files(dataset, tmp_path_factory):
    """One agent of each class, in files of their own."""
    folder = tmp_path_factory.mktemp("agents")
    make_agent("dt", context_length=2, batch_size=3).fit(dataset, 1).save(folder / "dt")
    make_agent("bc-10%", batch_size=3).fit(dataset, 1).save(folder / "bc-10%")
    return folder


def test_names_stand_for_settings():
    for variant in ("dt", "q-attention", "q-feedforward", "qdt", "wide-dt"):
        agent = make_agent(variant, seed=3)
        assert isinstance(agent, QDTPolicy)
        assert (agent.variant, agent.seed) == (variant, 3)
    for name, fraction in (("bc", 1.0), ("bc-10%", 0.1)):
        agent = make_agent(name, learning_rate=0.5)
        assert isinstance(agent, BehaviorCloning)
        assert (agent.best_fraction, agent.train_config.learning_rate) == (fraction, 0.5)
    assert set(AGENTS) == {"dt", "q-attention", "q-feedforward", "qdt", "wide-dt", "bc", "bc-10%"}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"Unknown agent 'dqt'; the agents are dt, q-attention, .*bc-10%"):
        make_agent("dqt")
    with pytest.raises(ConfigError, match="bc has no setting context_length; it has hidden_sizes, best_fr"):
        make_agent("bc", context_length=5)
    with pytest.raises(ConfigError, match="dt has no setting variant; it has context_length"):
        make_agent("dt", variant="qdt")


def test_files_are_read_by_the_class_that_wrote_them(files):
    agents = load_agents([files / "dt", files / "bc-10%.zip"])
    assert {name: type(agent) for name, agent in agents.items()} == {
        "dt": QDTPolicy,
        "bc-10%": BehaviorCloning,
    }
    assert agents["bc-10%"].best_fraction == 0.1
    assert agents["dt"].variant == "dt"


def test_two_files_of_one_name_are_refused(files, tmp_path):
    shutil.copy(files / "dt.zip", tmp_path)
    with pytest.raises(
        ConfigError, match="dt would stand for two agents, which are named by their files; ren"
    ):
        load_agents([files / "dt", tmp_path / "dt.zip"])
    with pytest.raises(ConfigError, match="a, c would stand for two agents"):
        require_unique(["c", "a", "b", "a", "c"])


def test_foreign_files_are_refused(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no agent at .*absent\.zip"):
        load_agent(tmp_path / "absent")
    (tmp_path / "text.zip").write_text("This is no archive.")
    with pytest.raises(CheckpointError, match=r"text\.zip is not an agent of this library, or it is damaged"):
        load_agent(tmp_path / "text.zip")


@pytest.mark.parametrize("unknown", ["FuturePolicy", ["FuturePolicy"]])
def test_an_agent_of_an_unknown_class_is_refused(unknown, files, tmp_path):
    with zipfile.ZipFile(files / "dt.zip") as known, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for name in known.namelist():
            content = known.read(name)
            if name.endswith(".json"):
                content = json.dumps({**json.loads(content), "class": unknown}).encode()
            new.writestr(name, content)
    with pytest.raises(
        CheckpointError, match=r"new\.zip holds a .*'FuturePolicy'.*, which this version does not k"
    ):
        load_agent(tmp_path / "new.zip")


def test_a_loaded_agent_acts_as_the_one_that_was_saved(dataset, files):
    saved = make_agent("dt", context_length=2, batch_size=3).fit(dataset, 1)
    observation = np.linspace(-1, 1, 11, dtype=np.float32)
    expected, _ = saved.predict(observation, 100.0)
    np.testing.assert_array_equal(load_agent(files / "dt").predict(observation, 100.0)[0], expected)
