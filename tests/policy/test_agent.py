import copy
import csv
import dataclasses
import gc
import itertools
import pickle
import re
import sys
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.config import TrainConfig
from qdt_rl.data.minari_reader import read_trajectories
from qdt_rl.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    DatasetWarning,
    InputError,
    MissingExtraError,
    NotFittedError,
)
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.checkpoints import Checkpoints
from qdt_rl.training import resolve_device

S, A = 3, 2


TRAINING = tuple(field.name for field in dataclasses.fields(TrainConfig))


def new_policy(**settings):
    sizes = {"d_model": 16, "n_heads": 2}
    return QDTPolicy(context_length=5, batch_size=8, policy_kwargs=sizes, precision="32", **settings)


def new_cloning(**settings):
    return BehaviorCloning(hidden_sizes=(7,), batch_size=8, **settings)


@pytest.fixture(scope="module")
def fitted(dataset):
    return new_policy().fit(dataset, n_steps=12)


def state_of(policy):
    return {name: tensor.clone() for name, tensor in policy._dump()[1].items()}


def assert_same_run(first, second):
    assert first._dump()[0] == second._dump()[0]
    left, right = state_of(first), state_of(second)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def play(policy, n_steps=8, n_rows=4, seed=0):
    """The actions of a few steps under made-up observations."""
    rng, state, actions = np.random.default_rng(seed), None, []
    for step in range(n_steps):
        action, state = policy.predict(rng.normal(size=(n_rows, S)), 10.0 - step, state)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_the_same_seed_gives_the_same_bytes(make, dataset):
    assert_same_run(make(seed=3).fit(dataset, 6), make(seed=3).fit(dataset, 6))
    other = make(seed=4).fit(dataset, 6)
    weight = next(iter(other.model.parameters()))
    assert not torch.equal(weight, next(iter(make(seed=3).fit(dataset, 6).model.parameters())))


@pytest.mark.parametrize("make", [new_policy, new_cloning])
@pytest.mark.parametrize("between", ["nothing", "acting", "saving and loading", "pickling", "copying"])
def test_fitting_in_parts_equals_fitting_at_once(make, between, dataset, tmp_path):
    whole = make().fit(dataset, 10)
    parts = make().fit("tests/uniform-v0", 6)
    if between == "acting":
        play(parts)
    elif between == "saving and loading":
        parts.save(tmp_path / "agent.zip")
        parts = type(parts).load(tmp_path / "agent.zip")
    elif between == "pickling":
        parts = pickle.loads(pickle.dumps(parts))
    elif between == "copying":
        parts = copy.deepcopy(parts)
    assert parts.num_timesteps == 6
    parts.fit(dataset, 4)
    assert parts.num_timesteps == 10
    assert_same_run(parts, whole)


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_no_updates_are_a_training_too(make, dataset, tmp_path):
    policy = make().fit(dataset, 0)
    policy.save(tmp_path / "untrained.zip")
    loaded = type(policy).load(tmp_path / "untrained.zip")
    np.testing.assert_array_equal(play(loaded), play(policy))
    assert_same_run(loaded.fit(dataset, 3).fit(dataset, 0), make().fit(dataset, 3))


def test_the_model_drops_nothing_but_while_it_trains(dataset, tmp_path):
    seen = []
    policy = new_policy()
    policy.fit(dataset, 2, callback=lambda *_: seen.append(policy.model.training) or True)
    assert seen == [True, True]
    policy.save(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    for model in (policy.model, loaded.model, loaded.fit(dataset, 1).model, copy.deepcopy(policy).model):
        assert not any(module.training for module in model.modules())


def test_statistics_are_those_of_the_first_dataset(dataset):
    policy = new_policy().fit(dataset.filter_episodes(lambda episode: len(episode) > 20), 1)
    before = {name: buffer.clone() for name, buffer in policy.model.scaling.named_buffers()}
    policy.fit(dataset, 1)
    for name, buffer in policy.model.scaling.named_buffers():
        assert torch.equal(buffer, before[name])


def test_the_best_return_is_that_of_all_data_so_far(dataset):
    returns = sorted(episode.rewards.sum() for episode in dataset)
    worse = dataset.filter_episodes(lambda episode: episode.rewards.sum() < returns[-1])
    policy = new_policy().fit(worse, 1)
    assert policy.best_return == pytest.approx(returns[-2], rel=1e-5)
    for data in (dataset, worse):
        assert policy.fit(data, 1).best_return == pytest.approx(returns[-1], rel=1e-5)


def test_data_of_another_environment_leave_no_scores(dataset):
    policy = new_policy().fit(dataset, 1)
    policy.env_id = "Here-v0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qdt_rl.policy.base.environment_id", lambda _: "There-v0")
        with pytest.warns(DatasetWarning, match="comes from There-v0, but this policy .* of Here-v0"):
            policy.fit(dataset, 1)
    assert (policy.env_id, policy.reference_scores) == (None, None)


def test_a_callback_that_cannot_begin_leaves_evaluation_mode(dataset, tmp_path):
    (tmp_path / "step-000000000009.zip").touch()
    policy = new_policy().fit(dataset, 1)
    with pytest.raises(ConfigError):
        policy.fit(dataset, 1, callback=Checkpoints(tmp_path))
    assert not policy.model.training


def test_only_the_episodes_of_a_filtered_dataset_are_used(dataset):
    few = dataset.filter_episodes(lambda episode: episode.rewards.sum() < 0)
    policy = new_policy().fit(few, 1)
    assert policy.best_return == pytest.approx(max(episode.rewards.sum() for episode in few), rel=1e-5)
    observations = np.concatenate([episode.observations[:-1] for episode in few])
    np.testing.assert_allclose(policy.model.scaling.observation_mean, observations.mean(0), atol=1e-5)


def test_the_dataset_says_what_scores_mean(fitted):
    assert fitted.reference_scores == (-10.0, 30.0)


def test_max_timestep_is_the_longest_episode_but_at_least_a_thousand(fitted, linear_control):
    assert fitted.model.config.max_timestep == 1000
    longest = int(read_trajectories(linear_control).episode_lengths.max())
    assert longest > 1000
    assert new_policy().fit(linear_control, 0).model.config.max_timestep == longest


def test_acting_does_not_change_the_state_and_calls_are_pure(fitted):
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(7, 4, S))
    first, state = fitted.predict(observations[0], 5.0)
    kept = copy.deepcopy(state)
    second, _ = fitted.predict(observations[1], 4.0, state)
    fitted.predict(observations[2], 0.0, state)
    again, _ = fitted.predict(observations[1], 4.0, state)
    from_copy, _ = fitted.predict(observations[1], 4.0, kept)
    np.testing.assert_array_equal(second, again)
    np.testing.assert_allclose(second, from_copy, atol=1e-6)
    np.testing.assert_array_equal(fitted.predict(observations[0], 5.0)[0], first)


def test_a_batch_agrees_with_its_rows(fitted):
    rng = np.random.default_rng(0)
    states, batch_state = [None] * 3, None
    for _ in range(12):
        observations, targets = rng.normal(size=(3, S)), rng.normal(size=3) * 10
        batch, batch_state = fitted.predict(observations, targets, batch_state)
        for row in range(3):
            action, states[row] = fitted.predict(observations[row], targets[row], states[row])
            np.testing.assert_allclose(action, batch[row], atol=1e-5 * 4)


def test_episode_start_forgets_the_rows_it_names(fitted):
    rng = np.random.default_rng(0)
    state = None
    for _ in range(4):
        _, state = fitted.predict(rng.normal(size=(2, S)), 3.0, state)
    observations = rng.normal(size=(2, S))
    actions, _ = fitted.predict(observations, 3.0, state, episode_start=np.array([False, True]))
    kept, _ = fitted.predict(observations, 3.0, state)
    fresh, _ = fitted.predict(observations, 3.0)
    np.testing.assert_allclose(actions[0], kept[0], atol=1e-6)
    np.testing.assert_allclose(actions[1], fresh[1], atol=1e-6)
    assert abs(kept[1] - fresh[1]).max() > 1e-4


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_actions_are_in_the_action_space(make, dataset):
    policy = make().fit(dataset, 3)
    with torch.no_grad():
        list(policy.model.parameters())[-1].add_(100)  # drive the head to its bounds
    action, _ = policy.predict(np.zeros(S), 1.0)
    assert action.shape == (A,)
    assert action.dtype == policy.action_space.dtype
    assert policy.action_space.contains(action)
    np.testing.assert_array_equal(action, policy.action_space.high)


def test_a_dict_observation_carries_its_target(fitted):
    observation = np.ones((2, S))
    plain, _ = fitted.predict(observation, [3.0, 4.0])
    for return_to_go in (np.array([3.0, 4.0]), np.array([[3.0], [4.0]])):
        carried, _ = fitted.predict({"observation": observation, "return_to_go": return_to_go})
        np.testing.assert_array_equal(carried, plain)


def test_a_loaded_policy_acts_as_the_saved_one(fitted, tmp_path):
    fitted.save(tmp_path / "agent")
    loaded = QDTPolicy.load(tmp_path / "agent")
    np.testing.assert_array_equal(play(loaded), play(fitted))
    assert loaded.observation_space == fitted.observation_space
    assert loaded.action_space == fitted.action_space
    assert (loaded.best_return, loaded.reference_scores) == (fitted.best_return, fitted.reference_scores)
    assert loaded.variant == "qdt"


def test_auto_is_the_same_device_for_loading_as_for_fitting(fitted, tmp_path, monkeypatch):
    """On a machine that is told that it has Apple's, and says where the model was to go."""
    fitted.save(tmp_path / "agent.zip")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(CheckpointError, match="mps"):
        QDTPolicy.load(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.model.norm.weight.device.type == "cpu"


def test_the_same_policy_saves_the_same_bytes(fitted, tmp_path):
    for name in ("first.zip", "second.zip"):
        fitted.save(tmp_path / name)
    QDTPolicy.load(tmp_path / "first.zip").save(tmp_path / "third.zip")
    first, second, third = ((tmp_path / f"{name}.zip").read_bytes() for name in ("first", "second", "third"))
    assert first == second == third


def test_a_policy_that_was_never_fitted_says_so(tmp_path):
    with pytest.raises(NotFittedError, match=r"cannot act yet: call fit\(dataset\) first"):
        new_policy().predict(np.zeros(S), 1.0)
    with pytest.raises(NotFittedError, match="cannot give parameters yet"):
        new_policy().get_parameters()
    with pytest.raises(NotFittedError, match="cannot name its spaces yet"):
        new_policy().get_env()
    with pytest.raises(NotFittedError, match="cannot be saved yet"):
        new_policy().save(tmp_path / "agent.zip")


def test_every_random_stream_follows_the_seed(dataset):
    """Weights, dropout masks and windows: three streams, none the same for two seeds."""
    (content, tensors), (other_content, other_tensors) = (
        new_policy(seed=seed).fit(dataset, 1)._dump() for seed in (1, 2)
    )
    assert content["sampler"]["state"]["inc"] != other_content["sampler"]["state"]["inc"]
    assert not torch.equal(tensors["generator.0"], other_tensors["generator.0"])
    assert not torch.equal(
        tensors["model.embedding.timestep.weight"], other_tensors["model.embedding.timestep.weight"]
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_state_or_a_policy_may_be_copied_at_any_step(fitted, copied):
    """The context of a row is part of the state, not of whoever computes it."""
    rng, states = np.random.default_rng(0), [None, None, None]
    twin = copied(fitted)
    for step in range(14):
        observation, target = rng.normal(size=(2, S)), 5.0 - step
        starts = np.array([False, step == 6])
        expected, states[0] = fitted.predict(observation, target, states[0], starts)
        from_copy, states[1] = fitted.predict(observation, target, copied(states[1]), starts)
        of_either, states[2] = (fitted, twin)[step % 2].predict(observation, target, states[2], starts)
        np.testing.assert_allclose(from_copy, expected, atol=4e-6)
        np.testing.assert_allclose(of_either, expected, atol=4e-6)
    assert len(pickle.dumps(states[0])) < 5_000


def test_the_window_may_be_switched_between_steps(dataset):
    policy = new_policy().fit(dataset, 12)
    expected = new_policy(sliding_window=True).fit(dataset, 12)
    policy.predict(np.zeros(S), 1.0)
    policy.sliding_window = True
    np.testing.assert_array_equal(play(policy), play(expected))
    policy.sliding_window = False
    assert not np.array_equal(play(policy), play(expected))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), None])
def test_the_window_that_was_switched_is_kept(copied, fitted, tmp_path):
    policy = copy.deepcopy(fitted)
    policy.sliding_window = np.bool_(True)
    policy.save(tmp_path / "agent.zip")
    twin = copied(policy) if copied else QDTPolicy.load(tmp_path / "agent.zip")
    assert twin.sliding_window is True
    assert twin.settings == policy.settings != fitted.settings
    np.testing.assert_array_equal(play(twin), play(policy))
    with pytest.raises(ConfigError, match="sliding_window must be True or False, but 'no' was given"):
        policy.sliding_window = "no"
    assert policy.sliding_window is True


def test_weights_set_after_loading_are_trained_on(fitted, dataset, tmp_path):
    fitted.save(tmp_path / "agent.zip")
    loaded, other = QDTPolicy.load(tmp_path / "agent.zip"), new_policy(seed=5).fit(dataset, 1)
    loaded.set_parameters(other.get_parameters())
    loaded.fit(dataset, 1)
    for got, expected in zip(loaded.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)


def test_actions_that_would_not_be_finite_are_refused(fitted):
    with pytest.raises(
        InputError, match="The actions are not finite: the observation or the target return is far"
    ):
        fitted.predict(np.full(S, 3e38), 3e38)


def test_an_error_in_a_callback_closes_the_progress_bar_and_leaves_a_policy_that_trains_on(dataset):
    policy = new_policy()

    def fail(locals_, _):
        if policy.num_timesteps == 3:
            raise KeyError("a callback of the user's")
        return True

    with pytest.raises(KeyError):
        policy.fit(dataset, 10, callback=fail, progress_bar=True)
    policy.fit(dataset, 3)
    assert_same_run(policy, new_policy().fit(dataset, 6))


def test_weights_set_after_loading_are_saved(fitted, dataset, tmp_path):
    fitted.save(tmp_path / "before.zip")
    loaded, other = QDTPolicy.load(tmp_path / "before.zip"), new_policy(seed=5).fit(dataset, 1)
    loaded.set_parameters(other.get_parameters())
    loaded.save(tmp_path / "after.zip")
    np.testing.assert_array_equal(play(QDTPolicy.load(tmp_path / "after.zip")), play(other))


def test_weights_set_by_hand_are_the_ones_that_act(fitted, dataset):
    policy, other = copy.deepcopy(fitted), new_policy(seed=5).fit(dataset, 1)
    before = play(policy)
    policy.set_parameters(other.get_parameters())
    np.testing.assert_array_equal(play(policy), play(other))
    assert not np.array_equal(play(policy), before)


def test_weights_that_are_put_in_place_of_others_are_trained_on(fitted, dataset, tmp_path):
    """As ``load_state_dict(assign=True)`` does: the optimiser still knows those before."""
    policy, twin = copy.deepcopy(fitted), copy.deepcopy(fitted)
    policy.fit(dataset, 1)
    twin.fit(dataset, 1)
    copied = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    policy.model.load_state_dict(copied, assign=True)
    assert_same_run(policy.fit(dataset, 3), twin.fit(dataset, 3))
    policy.model.head.action.bias = torch.nn.Parameter(torch.ones(A))
    policy.save(tmp_path / "agent.zip")
    np.testing.assert_array_equal(play(QDTPolicy.load(tmp_path / "agent.zip")), play(policy))


def test_a_part_of_the_model_may_be_frozen(dataset, tmp_path):
    policy = new_policy().fit(dataset, 0)
    policy.model.embedding.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in policy.model.embedding.state_dict().items()}
    policy.fit(dataset, 3).save(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    assert_same_run(loaded, policy)
    loaded.model.embedding.requires_grad_(False)  # which a file does not say
    assert_same_run(loaded.fit(dataset, 2), policy.fit(dataset, 2))
    for name, tensor in loaded.model.embedding.state_dict().items():
        assert torch.equal(tensor, before[name])
    for twin in (loaded, policy):  # moments begin where training begins
        twin.model.embedding.requires_grad_(True)
    assert_same_run(loaded.fit(dataset, 2), policy.fit(dataset, 2))


def test_gradients_of_the_users_own_are_not_trained_in(dataset):
    policy, twin = new_policy().fit(dataset, 2), new_policy().fit(dataset, 2)
    sum(parameter.square().sum() for parameter in policy.model.parameters()).backward()
    assert_same_run(policy.fit(dataset, 1), twin.fit(dataset, 1))
    sum(parameter.square().sum() for parameter in policy.model.parameters()).backward()
    for each in (policy, twin):
        each.model.embedding.requires_grad_(False)  # which AdamW would move by the gradient that it has
    assert_same_run(policy.fit(dataset, 1), twin.fit(dataset, 1))


def test_gradients_of_an_update_that_was_interrupted_are_not_trained_in(dataset, monkeypatch):
    policy, twin = new_policy().fit(dataset, 2), new_policy().fit(dataset, 2)
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.utils, "clip_grad_norm_", raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            policy.fit(dataset, 1)
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    policy._run._sampler_state = twin._run._sampler_state  # the windows of that update are not drawn again
    for mine, its in zip(policy._run._trainer._dropouts, twin._run._trainer._dropouts, strict=True):
        mine.generator.set_state(its.generator.get_state())
    assert_same_run(policy.fit(dataset, 1), twin.fit(dataset, 1))


def raise_keyboard_interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_another_model_is_not_taken_up(make, dataset):
    """It would act, while the run went on training the old one, and no file of the two could be loaded."""
    policy = make().fit(dataset, 1)
    with pytest.raises(AttributeError, match=r"property 'model' of .* has no setter"):
        policy.model = copy.deepcopy(policy.model)
    with pytest.raises(NotFittedError):
        _ = make().model
    assert not hasattr(make(), "model")


def test_a_part_of_another_shape_is_refused_before_it_is_trained_or_saved(dataset, tmp_path):
    policy = new_policy().fit(dataset, 2)
    whole, wider = policy.model.head.action, torch.nn.Linear(16, A + 1)
    policy.model.head.action = wider
    uses = (lambda: policy.fit(dataset, 1), lambda: policy.save(tmp_path / "agent.zip"))
    for use in uses:
        with pytest.raises(ConfigError, match=r"built with: head\.action\.bias, head\.action\.weight\. "):
            use()
    policy.model.head.action = whole
    policy.model.double()
    for use in uses:
        with pytest.raises(ConfigError, match=r"other parts than it was built with: .* and more"):
            use()
    policy.model.float()
    assert not list(tmp_path.iterdir())
    assert_same_run(policy.fit(dataset, 1), new_policy().fit(dataset, 3))


def test_a_saved_run_knows_how_long_a_part_was_frozen(dataset, tmp_path):
    """AdamW corrects its moments by a parameter's own steps, of which a frozen one has fewer."""
    policy = new_policy().fit(dataset, 0)
    policy.model.embedding.requires_grad_(False)
    policy.fit(dataset, 5)
    policy.model.embedding.requires_grad_(True)
    policy.fit(dataset, 2).save(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    assert_same_run(loaded, policy)
    assert_same_run(loaded.fit(dataset, 2), policy.fit(dataset, 2))


def test_a_model_of_which_nothing_may_be_trained_is_not(dataset):
    policy = new_policy().fit(dataset, 1)
    policy.model.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"Every parameter of the model is frozen; call requires_grad_\(\)"):
        policy.fit(dataset, 1)
    assert policy.fit(dataset, 0).num_timesteps == 1
    policy.model.requires_grad_(True)
    assert_same_run(policy.fit(dataset, 1), new_policy().fit(dataset, 2))


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_the_default_dtype_of_torch_changes_nothing(make, dataset, tmp_path):
    expected = make().fit(dataset, 3)
    expected.save(tmp_path / "expected.zip")
    torch.set_default_dtype(torch.float64)
    try:
        policy = make().fit(dataset, 3)
        policy.save(tmp_path / "agent.zip")
        played = play(type(policy).load(tmp_path / "expected.zip"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "agent.zip").read_bytes() == (tmp_path / "expected.zip").read_bytes()
    np.testing.assert_array_equal(played, play(expected))


@pytest.mark.parametrize("make", [new_policy, new_cloning])
def test_weights_that_are_not_finite_are_told_from_bad_input(make, dataset):
    policy = make().fit(dataset, 1)
    before, parameters = state_of(policy), copy.deepcopy(policy.get_parameters())
    name, tensor = next((n, t) for n, t in parameters["policy"].items() if n.endswith("weight"))
    tensor[0, 0] = np.nan
    with pytest.raises(InputError, match=rf"{re.escape(name)} holds values that are not finite"):
        policy.set_parameters(parameters)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(policy).items())
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.fill_(np.nan)
    with pytest.raises(InputError, match=r"far too large, or the weights have diverged\."):
        policy.predict(np.zeros(S), 0.0)


def test_a_policy_keeps_no_data(dataset, monkeypatch):
    held = []
    read = read_trajectories

    def remember(given):
        held.append(weakref.ref(trajectories := read(given)))
        return trajectories

    monkeypatch.setattr("qdt_rl.policy.base.read_trajectories", remember)
    policy = new_policy().fit(dataset, 2)
    gc.collect()
    assert [reference() for reference in held] == [None]
    assert_same_run(policy.fit(dataset, 2), new_policy().fit(dataset, 4))


def test_a_first_training_that_cannot_begin_leaves_a_policy_that_is_not_fitted(dataset, monkeypatch):
    def fail(*_):
        raise MemoryError

    policy = new_policy()
    with monkeypatch.context() as patch:
        patch.setattr("qdt_rl.policy.run.Trainer", fail)
        with pytest.raises(MemoryError):
            policy.fit(dataset, 1)
    assert not policy.is_fitted
    assert_same_run(policy.fit(dataset, 2), new_policy().fit(dataset, 2))


def test_a_training_that_is_refused_leaves_the_policy_as_it_was(dataset, tmp_path):
    """A folder of checkpoints that another run has gone further in."""
    new_policy().fit(dataset, 3, callback=Checkpoints(tmp_path, save_freq=3))
    policy = new_policy(seed=1)
    with pytest.raises(ConfigError, match="is a checkpoint after 3 updates"):
        policy.fit(dataset, 1, callback=Checkpoints(tmp_path))
    assert (policy.is_fitted, policy.best_return, policy.env_id) == (False, None, None)
    with pytest.raises(NotFittedError):
        policy.predict(np.zeros(S), 0.0)
    assert_same_run(policy.fit(dataset, 2), new_policy(seed=1).fit(dataset, 2))
    policy.best_return = -1e6
    with pytest.raises(ConfigError, match="is a checkpoint after 3 updates"):
        policy.fit(dataset, 1, callback=Checkpoints(tmp_path))
    assert policy.best_return == -1e6
    policy.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="Every parameter of the model is frozen"):
        policy.fit(dataset, 1)
    assert policy.best_return == -1e6
    policy.model.requires_grad_(True)
    policy.fit(dataset, 1)
    assert policy.best_return == read_trajectories(dataset).episode_returns.max()
    assert_same_run(policy, new_policy(seed=1).fit(dataset, 3))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (new_policy, ("variant", "context_length", "train_config", "seed", *TRAINING)),
        (new_cloning, ("hidden_sizes", "best_fraction", "context_length", "train_config", "seed", *TRAINING)),
    ],
)
def test_what_a_policy_was_made_with_cannot_be_changed(make, names):
    """A file would say another thing than what was trained."""
    policy = make(seed=3)
    assert policy.seed == 3
    for name in names:
        with pytest.raises(AttributeError, match=f"property '{name}' of .* has no setter"):
            setattr(policy, name, getattr(policy, name))
    changed = {"learning_rate": 0.5, "batch_size": 3, "weight_decay": 0.25, "max_grad_norm": 2.0}
    changed |= {"warmup_steps": 7, "precision": "bf16-mixed"}
    assert {name: getattr(type(policy)(**changed), name) for name in TRAINING} == changed


def test_scores_and_ids_that_no_file_may_hold_are_refused_when_it_is_written(fitted, tmp_path):
    for name, value in (("reference_scores", (100.0, 0.0)), ("env_id", "antigravity:Env-v0")):
        policy = copy.deepcopy(fitted)
        setattr(policy, name, value)
        with pytest.raises(CheckpointError):
            policy.save(tmp_path / "agent.zip")
    assert not list(tmp_path.iterdir())
    policy.env_id, policy.reference_scores = "Env-v0", (np.float32(0.0), np.int64(7))
    policy.best_return = np.float32(3.0)
    policy.save(tmp_path / "agent.zip")
    assert QDTPolicy.load(tmp_path / "agent.zip").reference_scores == (0.0, 7.0)


def test_acting_is_in_bfloat16_only_where_that_was_asked_for_by_name(dataset, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    sizes = {"context_length": 5, "policy_kwargs": {"d_model": 16, "n_heads": 2}}
    exact, auto, rounded = (
        play(QDTPolicy(precision=precision, **sizes).fit(dataset, 0))
        for precision in ("32", "auto", "bf16-mixed")
    )
    np.testing.assert_array_equal(auto, exact)
    assert not np.array_equal(rounded, exact)


def test_a_parameter_whose_gradient_has_been_zero_goes_on_from_a_file(dataset, tmp_path):
    """With one timestep no action is seen: its embedding is trained, by zeros, and not frozen."""
    make = partial(QDTPolicy, context_length=1, batch_size=8, policy_kwargs={"d_model": 8, "n_heads": 1})
    policy = make(precision="32").fit(dataset, 2)
    assert not state_of(policy)["optimizer.exp_avg_sq.embedding.action.weight"].any()
    policy.save(tmp_path / "agent.zip")
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    assert_same_run(loaded, policy)
    assert_same_run(loaded.fit(dataset, 2), policy.fit(dataset, 2))


def test_parameters_are_taken_from_an_agents_file(fitted, dataset, tmp_path):
    other = new_policy(seed=5).fit(dataset, 2)
    other.save(tmp_path / "agent.zip")
    policy = copy.deepcopy(fitted)
    policy.set_parameters(tmp_path / "agent")
    np.testing.assert_array_equal(play(policy), play(other))
    assert policy.num_timesteps == 12
    policy = copy.deepcopy(fitted)
    with (tmp_path / "agent.zip").open("rb") as file:
        policy.set_parameters(file)
    np.testing.assert_array_equal(play(policy), play(other))
    with pytest.raises(CheckpointError, match="There is no agent at"):
        policy.set_parameters(str(tmp_path / "absent"))
    np.testing.assert_array_equal(play(policy), play(other))


def test_weights_that_change_their_place_in_memory_are_the_ones_that_act(fitted):
    """``vector_to_parameters`` writes by way of ``.data``, which torch does not count as a version."""
    policy, before = copy.deepcopy(fitted), play(fitted)
    weights = torch.nn.utils.parameters_to_vector(policy.model.parameters()).detach()
    for scale in (1.5, 2.0, 1.0):
        torch.nn.utils.vector_to_parameters(weights * scale, policy.model.parameters())
        twin = copy.deepcopy(policy)
        np.testing.assert_array_equal(play(policy), play(twin))
        assert np.array_equal(play(policy), before) == (scale == 1.0)


@pytest.mark.parametrize("make", [new_policy, new_cloning])
@pytest.mark.parametrize("again", ["loading", "pickling", "copying"])
def test_a_policy_that_comes_in_inference_mode_acts_and_trains_on(make, again, dataset, tmp_path):
    policy = make().fit(dataset, 2)
    policy.save(tmp_path / "agent.zip")
    with torch.inference_mode():
        if again == "loading":
            twin = type(policy).load(tmp_path / "agent.zip")
        else:
            twin = copy.deepcopy(policy) if again == "copying" else pickle.loads(pickle.dumps(policy))
        np.testing.assert_array_equal(play(twin), play(policy))
    assert_same_run(twin.fit(dataset, 2), policy.fit(dataset, 2))


def test_parameters_that_do_not_fit_are_refused_whole(fitted, dataset):
    policy, before = copy.deepcopy(fitted), play(fitted)
    parameters = new_policy(seed=5).fit(dataset, 1).get_parameters()
    parameters["policy"]["head.action.weight"] = torch.zeros(7, 7)
    with pytest.raises(InputError, match=r"(?s)do not fit the model: .*head\.action\.weight"):
        policy.set_parameters(parameters)
    misspelt = {"policy": {"head.acton.bias": torch.zeros(A), "head.action.bias": torch.ones(A)}}
    with pytest.raises(InputError, match=r"it has no head\.acton\.bias"):
        policy.set_parameters(misspelt, exact_match=False)
    np.testing.assert_array_equal(play(policy), before)
    for given, told in (({"actor": {}}, r"\['actor'\]"), (None, "NoneType"), ([], "list")):
        with pytest.raises(InputError, match=f"Expected a dict with 'policy' alone, but got {told}"):
            policy.set_parameters(given)
    with pytest.raises(InputError, match="do not fit the model"):
        policy.set_parameters({"policy": None})


def test_a_state_of_another_policy_or_batch_is_refused(fitted, dataset):
    _, state = fitted.predict(np.zeros((2, S)), 1.0)
    with pytest.raises(InputError, match="This state holds 2 episodes, but 3 observations came"):
        fitted.predict(np.zeros((3, S)), 1.0, state)
    with pytest.raises(InputError, match="This state was made by another policy"):
        new_policy().fit(dataset, 1).predict(np.zeros((2, S)), 1.0, state)
    with pytest.raises(InputError, match="state must be what predict returned, or None, but is a dict"):
        fitted.predict(np.zeros((2, S)), 1.0, {})


def test_a_dataset_of_other_spaces_is_refused(fitted, other_spaces):
    with pytest.raises(DatasetError, match=r"this\s+policy was fitted to .* fit a new policy"):
        fitted.fit(other_spaces, 1)


def test_a_missing_dataset_is_named(minari_root):
    with pytest.raises(DatasetError, match="There is no dataset 'tests/absent-v0'"):
        new_policy().fit("tests/absent-v0", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QDTPolicy(variant="qtd"), "Unknown variant 'qtd'; the variants are dt, q-attention"),
        (lambda: QDTPolicy(policy_kwargs={"heads": 2}), "Unknown model setting heads"),
        (
            lambda: QDTPolicy(policy_kwargs={"context_length": 3}),
            "Give context_length as an argument of its own",
        ),
        (lambda: QDTPolicy(context_length=0), "context_length must be a whole number of at least 1"),
        (lambda: QDTPolicy(learning_rate=-1.0), "learning_rate must be a positive number, but -1.0"),
        (lambda: QDTPolicy(learning_rate=10**400), "learning_rate must be a positive number, but 1000"),
        (lambda: QDTPolicy(learning_rate="3e-4"), "learning_rate must be a positive number, but '3e-4'"),
        (lambda: QDTPolicy(policy_kwargs={"observation_size": 11}), "Unknown model setting observation_size"),
        (lambda: QDTPolicy(seed=True), "seed must be a whole number of at least 0, but True"),
        (lambda: QDTPolicy(sliding_window="no"), "sliding_window must be True or False, but 'no' was given"),
        (lambda: QDTPolicy(seed=-1), "seed must be a whole number of at least 0, but -1"),
        (lambda: QDTPolicy(device="cuda:0"), r"device must be .* without an index, but 'cuda:0'"),
        (lambda: QDTPolicy(device="abacus"), r"device must be 'auto', 'cpu', or a .*but 'abacus'"),
        (lambda: BehaviorCloning(best_fraction=0.0), r"best_fraction must be in \(0, 1\], but 0.0"),
        (lambda: BehaviorCloning(best_fraction="all"), r"best_fraction must be in \(0, 1\], but 'all'"),
    ],
)
def test_settings_are_checked_before_any_data_is_read(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_numbers_of_numpy_are_as_good_as_pythons(dataset, tmp_path):
    """As in ``for seed in np.arange(5)``."""
    sizes = {"d_model": np.uint8(16), "n_heads": np.int32(2)}
    counts = {"context_length": np.int64(5), "batch_size": np.int64(8), "seed": np.arange(5)[3]}
    policy = QDTPolicy(**counts, policy_kwargs=sizes, learning_rate=np.float32(3e-4), precision="32")
    policy.fit(dataset, np.int64(4), log_interval=np.int64(2))
    policy.save(tmp_path / "agent.zip")
    plain = new_policy(seed=3, learning_rate=float(np.float32(3e-4))).fit(dataset, 4)
    assert_same_run(policy, plain)
    assert_same_run(QDTPolicy.load(tmp_path / "agent.zip").fit(dataset, 3), plain.fit(dataset, 3))


def test_numbers_of_numpy_are_as_good_as_pythons_in_cloning(dataset, tmp_path):
    policy = BehaviorCloning(hidden_sizes=np.array([7]), best_fraction=np.float32(0.5), batch_size=8)
    policy.fit(dataset, 2).save(tmp_path / "agent.zip")
    assert_same_run(
        BehaviorCloning.load(tmp_path / "agent.zip"), new_cloning(best_fraction=0.5).fit(dataset, 2)
    )


def test_counts_of_fit_are_checked(dataset):
    with pytest.raises(ConfigError, match="n_steps must be a whole number of at least 0, but -1 was given"):
        new_policy().fit(dataset, -1)
    with pytest.raises(ConfigError, match=r"log_interval must be a whole number of at least 1, but 1\.5"):
        new_policy().fit(dataset, 1, log_interval=1.5)


def test_cloning_learns_from_the_best_episodes_alone(dataset):
    """Twelve episodes: a quarter of them are three."""
    returns = sorted((float(episode.rewards.sum()) for episode in dataset), reverse=True)
    policy = new_cloning(best_fraction=0.25).fit(dataset, 1)
    best = dataset.filter_episodes(lambda episode: episode.rewards.sum() >= returns[2] - 1e-6)
    assert best.total_episodes == 3
    observations = np.concatenate([episode.observations[:-1] for episode in best])
    np.testing.assert_allclose(policy.model.scaling.observation_mean, observations.mean(0), atol=1e-5)


def test_cloning_learns_a_linear_controller(linear_control):
    policy = BehaviorCloning(hidden_sizes=(64,), learning_rate=1e-2).fit(linear_control, 400)
    chosen, _ = policy.predict(linear_control[0].observations[:-1])
    assert np.abs(chosen - linear_control[0].actions).mean() < 0.05


def test_acting_in_the_middle_of_fit_changes_nothing_in_the_training(dataset):
    """And acts with the weights of that moment, without dropout."""
    seen = []

    def act(locals_, _):
        policy = locals_["self"]
        seen.append(play(policy))
        np.testing.assert_array_equal(seen[-1], play(policy))
        return True

    watched = new_policy().fit(dataset, 6, callback=act)
    assert_same_run(watched, new_policy().fit(dataset, 6))
    assert len(seen) == 6
    assert all(not np.array_equal(before, after) for before, after in itertools.pairwise(seen))


def test_the_log_has_the_means_since_the_last_entry(dataset, tmp_path):
    policy, updates = new_policy(), []
    policy.set_logger(configure(str(tmp_path), ["csv"]))
    policy.fit(
        dataset, 5, callback=lambda locals_, _: updates.append(locals_["update"]) or True, log_interval=2
    )
    policy.logger.close()
    rows = list(csv.DictReader((tmp_path / "progress.csv").read_text().splitlines()))
    assert [int(row["train/n_updates"]) for row in rows] == [2, 4]
    for name in ("loss", "gradient_norm", "learning_rate"):
        values = [getattr(update, name) for update in updates]
        logged = [float(row[f"train/{name}"]) for row in rows]
        assert logged == pytest.approx([np.mean(values[0:2]), np.mean(values[2:4])])


def test_a_missing_tensorboard_is_named_where_it_is_needed(fitted, dataset, tmp_path, monkeypatch):
    """A trained agent acts without it."""
    logged = new_policy(tensorboard_log=str(tmp_path)).fit(dataset, 12)
    logged.save(tmp_path / "agent.zip")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("qdt_rl.policy.sb3_face.find_spec", lambda name: None)
    loaded = QDTPolicy.load(tmp_path / "agent.zip")
    np.testing.assert_array_equal(play(loaded), play(fitted))
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        loaded.fit(dataset, 1)
    assert loaded.num_timesteps == 12


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_missing_device_is_not_blamed_on_the_file(fitted, tmp_path):
    fitted.save(tmp_path / "agent.zip")
    with pytest.raises(ConfigError, match=r"device must be 'auto', 'cpu', or a .*but 'cuda' was given"):
        QDTPolicy.load(tmp_path / "agent.zip", device="cuda")
    for cpu in (QDTPolicy.load(tmp_path / "agent.zip", device=torch.device("cpu")), new_policy(device="cpu")):
        assert cpu.device == torch.device("cpu")
    assert new_policy().device.type == resolve_device("auto"), (
        "a device, as SB3's is, and not what was asked for"
    )
    with pytest.raises(ConfigError, match=r"without an index, but 'cpu:1' was given"):
        new_policy(device=torch.device("cpu:1"))
