"""Checkpoints where they meet other runs and other callbacks; kills are in ``tests/experiments``."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback, EvalCallback, EveryNTimesteps

from qdt_rl.errors import ConfigError
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.callbacks import offline_env
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


def test_a_copy_of_the_best_that_somebody_keeps_is_left_alone(dataset, tmp_path):
    new_policy().fit(dataset, 2, callback=Checkpoints(tmp_path, save_freq=1))
    best = Checkpoints(tmp_path).best()
    copies = [tmp_path / name for name in (f"{best.stem} copy.zip", "best-000000000002-nan.zip")]
    for copy in copies:
        copy.write_bytes(best.read_bytes())
    QDTPolicy.load(Checkpoints(tmp_path).newest()).fit(
        dataset, 2, callback=Checkpoints(tmp_path, save_freq=1)
    )
    Checkpoints(tmp_path).remove()
    assert sorted(tmp_path.iterdir()) == sorted(copies)


@pytest.mark.parametrize("loss", [0.25, 1e-7, 3.0, 1.5e22])
def test_the_best_is_found_whatever_its_loss(loss, dataset, tmp_path):
    checkpoints = Checkpoints(tmp_path, save_freq=1)
    new_policy().fit(dataset, 1, callback=checkpoints)
    checkpoints.best().rename(found := tmp_path / f"best-000000000001-{loss!r}.zip")
    assert checkpoints.best() == found


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


@pytest.fixture
def handler():
    """A handler of Ctrl-C that is not Python's own."""
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    yield signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, previous)


def press_at(n_updates):
    """Return a callback that presses Ctrl-C before the one after it sees an update."""

    def press(locals_, _):
        if locals_["self"].num_timesteps == n_updates:
            signal.raise_signal(signal.SIGINT)
        return True

    return ConvertCallback(press)


def test_several_in_one_training_give_ctrl_c_back(handler, dataset, tmp_path):
    several = [Checkpoints(tmp_path / name, save_freq=100) for name in "ab"]
    policy = new_policy().fit(dataset, 2, callback=several)
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        policy.fit(dataset, 9, callback=[press_at(5), *several])
    assert signal.getsignal(signal.SIGINT) is handler
    assert QDTPolicy.load(several[0].newest()).num_timesteps == 5


@pytest.mark.parametrize("n_steps", [4, 9])
def test_ctrl_c_after_its_own_last_step_is_heeded(n_steps, handler, dataset, tmp_path):
    checkpoints, policy = Checkpoints(tmp_path, save_freq=100), new_policy()
    with pytest.raises(KeyboardInterrupt):
        policy.fit(dataset, n_steps, callback=[checkpoints, press_at(4)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert QDTPolicy.load(checkpoints.newest()).num_timesteps == min(n_steps, 5)
    assert policy.fit(dataset, 1, callback=checkpoints).num_timesteps == min(n_steps, 5) + 1


def test_the_same_one_serves_again_in_another_thread(handler, dataset, tmp_path):
    checkpoints = Checkpoints(tmp_path, save_freq=1)
    policy = new_policy().fit(dataset, 1, callback=checkpoints)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(policy.fit, dataset, 1, callback=checkpoints).result()
    assert QDTPolicy.load(checkpoints.newest()).num_timesteps == 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_training_that_never_began_leaves_ctrl_c_alone(handler, dataset, tmp_path):
    class Broken(BaseCallback):
        def _on_training_start(self):
            raise KeyError("a callback of the user's")

        def _on_step(self):
            raise AssertionError

    with pytest.raises(KeyError):
        new_policy().fit(dataset, 2, callback=[Checkpoints(tmp_path), Broken()])
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_that_was_ignored_stays_ignored(handler, dataset, tmp_path):
    """As for a command that a script starts with ``&``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen = []

    def look(locals_, _):
        seen.append(signal.getsignal(signal.SIGINT))
        return True

    new_policy().fit(dataset, 3, callback=[Checkpoints(tmp_path), ConvertCallback(look)])
    assert {*seen, signal.getsignal(signal.SIGINT)} == {signal.SIG_IGN}


def test_the_best_goes_only_when_the_better_one_is_on_disk(dataset, tmp_path, monkeypatch):
    checkpoints, policy = Checkpoints(tmp_path, save_freq=1), new_policy()
    policy.fit(dataset, 1, callback=checkpoints)
    (tmp_path / checkpoints.best().name).rename(tmp_path / "best-000000000001-1000000.0.zip")
    before = contents(tmp_path)

    def fail(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(policy, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        policy.fit(dataset, 1, callback=checkpoints)
    assert contents(tmp_path) == before
    assert QDTPolicy.load(checkpoints.best()).num_timesteps == 1


def test_a_new_folder_takes_no_file_of_a_neighbour_for_its_leftover(dataset, tmp_path):
    """``mine-2.zip`` is being written by another process while checkpoints begin in ``mine``."""
    others = tmp_path / f".mine-2.zip-{'0' * 32}.unfinished"
    others.touch()
    new_policy().fit(dataset, 1, callback=Checkpoints(tmp_path / "mine"))
    assert others.exists()


@pytest.mark.parametrize("names", [("callback_after_eval",), ("callback_on_new_best",), ()])
def test_checkpoints_inside_another_callback_are_refused(names, dataset, tmp_path):
    """SB3 would not show it every update, nor tell it when the training ends."""
    inner = Checkpoints(tmp_path / "folder")
    outer = EveryNTimesteps(1, inner)
    for name in names:
        space = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))
        outer = EvalCallback(offline_env(*space), **{name: inner}, verbose=0)
    policy = new_policy()
    with pytest.raises(ConfigError, match=f"give it to fit itself, .* not to a {type(outer).__name__}"):
        policy.fit(dataset, 1, callback=[outer])
    assert not policy.is_fitted
    assert not list(tmp_path.iterdir())


def test_a_handler_that_came_during_the_training_stays(handler, dataset, tmp_path):
    def take_over(locals_, _):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return True

    new_policy().fit(dataset, 2, callback=[Checkpoints(tmp_path), ConvertCallback(take_over)])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
