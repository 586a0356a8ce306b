"""Checkpoints where they meet other runs and other callbacks; kills are in ``tests/experiments``."""

import pytest

from qdt_rl.errors import ConfigError
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.checkpoints import Checkpoints


def new_policy(seed=0):
    sizes = {"d_model": 8, "n_heads": 1, "n_layers": 1}
    return QDTPolicy(context_length=2, batch_size=2, policy_kwargs=sizes, precision="32", seed=seed)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_folder_that_holds_a_later_update_is_refused_and_left_as_it_is(n_before, dataset, tmp_path):
    """Its later files would be the newest, and each new one the first to go."""
    new_policy().fit(dataset, 3, callback=Checkpoints(tmp_path, save_freq=1, n_kept=1))
    before, policy = contents(tmp_path), new_policy(seed=1)
    if n_before:
        policy.fit(dataset, n_before)
    with pytest.raises(ConfigError, match=r"000003\.zip is a checkpoint after 3 updates, but .* taken "):
        policy.fit(dataset, 3, callback=Checkpoints(tmp_path, save_freq=1, n_kept=1))
    assert contents(tmp_path) == before
    assert policy.num_timesteps == n_before


def test_a_new_run_forgets_the_best_of_one_that_was_killed_before_its_first_step_file(dataset, tmp_path):
    new_policy().fit(dataset, 1, callback=Checkpoints(tmp_path, save_freq=1))
    best = Checkpoints(tmp_path).best()
    best.rename(tmp_path / "best-000000000001-0.0.zip")
    Checkpoints(tmp_path).newest().unlink()
    new_policy().fit(dataset, 2, callback=Checkpoints(tmp_path, save_freq=2))
    assert sorted(name[:17] for name in contents(tmp_path)) == ["best-000000000002", "step-000000000002"]


def test_a_run_that_has_ended_is_called_again_and_changes_nothing(dataset, tmp_path):
    def run():
        checkpoints = Checkpoints(tmp_path, save_freq=2)
        newest = checkpoints.newest()
        policy = QDTPolicy.load(newest) if newest else new_policy()
        return policy.fit(dataset, n_steps=4 - policy.num_timesteps, callback=checkpoints)

    run()
    before = contents(tmp_path)
    assert run().num_timesteps == 4
    assert contents(tmp_path) == before
