"""Agents that were saved once, in every format version since 2: they stay loadable, and act as they did.

``UPDATE_GOLDEN=1`` writes the files of the present version, where there are none.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.agent_file import FORMAT_VERSION

FOLDER = Path(__file__).parents[1] / "golden"
CLASSES = {"qdt": QDTPolicy, "bc": BehaviorCloning}
FILES = sorted(FOLDER.glob("*.zip"))
OBSERVATIONS = np.linspace(-1, 1, 12).reshape(2, 2, 3)


def actions(policy):
    """Return what two episodes do in two steps."""
    state, chosen = None, []
    for step in OBSERVATIONS:
        action, state = policy.predict(step, np.array([1.0, -1.0]), state)
        chosen.append(action.tolist())
    return chosen


@pytest.mark.skipif("UPDATE_GOLDEN" not in os.environ, reason="writes the files")
@pytest.mark.parametrize("name", CLASSES)
def test_write(name, dataset):
    small = {
        "policy_kwargs": {"d_model": 4, "n_heads": 1, "n_layers": 1, "max_timestep": 8},
        "precision": "32",
    }
    settings = small | {"context_length": 2} if name == "qdt" else {"hidden_sizes": (4,)}
    path = FOLDER / f"{name}-v{FORMAT_VERSION}.zip"
    if not path.exists():
        policy = CLASSES[name](**settings, device="cpu").fit(dataset, 2)
        policy.save(path)
        path.with_suffix(".json").write_text(json.dumps(actions(policy)) + "\n")


def test_every_version_since_the_second_has_its_files():
    names = {f"{name}-v{version}.zip" for name in CLASSES for version in range(2, FORMAT_VERSION + 1)}
    assert {path.name for path in FILES} == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_acts_and_trains_on(path, dataset, tmp_path):
    policy = CLASSES[path.stem.split("-")[0]].load(path, device="cpu")
    np.testing.assert_allclose(actions(policy), json.loads(path.with_suffix(".json").read_text()), atol=1e-5)
    assert policy.num_timesteps == 2
    assert policy.fit(dataset, 1).num_timesteps == 3
    policy.save(tmp_path / "again.zip")
