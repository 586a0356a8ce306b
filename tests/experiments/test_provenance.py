import json
import platform
import subprocess

import numpy as np
import pytest
import torch

from qdt_rl.data.trajectories import Trajectories
from qdt_rl.experiments.provenance import checked_out_commit, fingerprint, provenance


@pytest.fixture
def checkout(tmp_path):
    """A repository of one commit; returns its folder and the commit."""

    def git(*arguments):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.hooksPath="]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "module.py").write_text("one = 1\n")
    git("add", "module.py")
    git("commit", "--quiet", "--message", "Add a module")
    return tmp_path, git("rev-parse", "HEAD")


def test_versions_are_those_that_run():
    stated = json.loads(json.dumps(provenance(), allow_nan=False))
    assert stated["versions"]["python"] == platform.python_version()
    assert stated["versions"]["torch"] == torch.__version__
    assert stated["versions"]["numpy"] == np.__version__
    assert stated["processor"].endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    assert set(stated) == {"versions", "processor", "commit"}


def test_a_clean_checkout_is_its_commit(checkout):
    folder, commit = checkout
    (folder / "notes.txt").write_text("Not part of the project.")
    assert checked_out_commit(folder) == commit


def test_a_changed_checkout_is_marked(checkout):
    folder, commit = checkout
    (folder / "module.py").write_text("one = 2\n")
    assert checked_out_commit(folder) == f"{commit}+"


def test_a_package_inside_another_projects_checkout_has_no_commit(checkout):
    folder, _ = checkout
    (folder / "site-packages").mkdir()
    assert checked_out_commit(folder / "site-packages") is None


def test_without_git_there_is_no_commit(checkout, tmp_path_factory, monkeypatch):
    folder, _ = checkout
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
    assert checked_out_commit(tmp_path_factory.mktemp("plain")) is None
    monkeypatch.setenv("PATH", "")
    assert checked_out_commit(folder) is None


def test_a_fingerprint_tells_data_apart():
    def make(offsets=(0, 2, 5), n_actions=2, **last):
        arrays = {"observations": np.ones((5, 3)), "actions": np.ones((5, n_actions)), "rewards": np.ones(5)}
        for name, value in last.items():
            arrays[name][-1] = value
        return Trajectories(*(array.astype(np.float32) for array in arrays.values()), np.array(offsets))

    others = [make(offsets=(0, 3, 5)), make(n_actions=1)]
    near = np.nextafter(np.float32(1), np.float32(2))
    others += [make(**{name: near}) for name in ("observations", "actions", "rewards")]
    found = {fingerprint(data) for data in (make(), *others)}
    assert len(found) == 6
    assert fingerprint(make()) == fingerprint(make())
    assert all(len(digits) == 12 for digits in found)
