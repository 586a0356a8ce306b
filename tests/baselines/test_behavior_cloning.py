import sys
import threading
import warnings
from itertools import pairwise

import minari
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import example, given
from hypothesis import strategies as st
from minari.data_collector import EpisodeBuffer

from qdt_rl.baselines.behavior_cloning import BehaviorCloning, Mlp, MlpConfig
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.errors import ConfigError

S, A = 5, 2


def make_episode(rng, n_steps):
    observations = rng.normal(size=(n_steps + 1, S)).astype(np.float32)
    return EpisodeBuffer(
        observations=observations,
        actions=np.stack(
            [2 * np.tanh(observations[:-1, 0]), np.full(n_steps, 5.5)], axis=1, dtype=np.float32
        ),
        rewards=list(rng.normal(size=n_steps)),
        terminations=[False] * n_steps,
        truncations=[False] * (n_steps - 1) + [True],
        infos={},
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The first action follows the first observation; the second is constant, within its bounds 5 and 6."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari wants metadata that do not matter here
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield minari.create_dataset_from_buffers(
            "tests/tanh-v0",
            [make_episode(rng, n_steps) for n_steps in (211, 307, 401)],
            observation_space=Box(-np.inf, np.inf, (S,), np.float32),
            action_space=Box(np.array([-2, 5], np.float32), np.array([2, 6], np.float32)),
        )


@pytest.fixture(scope="module")
def fitted(dataset):
    return BehaviorCloning(learning_rate=3e-3, warmup_steps=10).fit(dataset, 400)


def returns_only(episode_returns):
    """Episodes of one step each, whose observation is their number."""
    n = len(episode_returns)
    return Trajectories(
        np.arange(n, dtype=np.float32)[:, None],
        np.zeros((n, 1), np.float32),
        np.asarray(episode_returns, np.float32),
        np.arange(n + 1),
    )


def selected(best_fraction, episode_returns):
    chosen = BehaviorCloning(best_fraction=best_fraction)._select(returns_only(episode_returns))
    return chosen.observations[:, 0].astype(int).tolist()


def test_the_network_by_hand():
    """One hidden layer of three ReLUs and a tanh, on standardised observations."""
    mlp = Mlp(MlpConfig(2, 1, hidden_sizes=(3,)))
    first, _, last, _ = mlp.layers
    with torch.no_grad():
        mlp.scaling.observation_mean.copy_(torch.tensor([10.0, 20.0]))
        mlp.scaling.observation_std.copy_(torch.tensor([2.0, 5.0]))
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]))
        first.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
        last.weight.copy_(torch.tensor([[0.25, 0.5, -0.125]]))
        last.bias.fill_(0.125)
    # (14 - 10) / 2 = 2 and (10 - 20) / 5 = -2: hidden 2, relu(-1) = 0, relu(-4) = 0; 0.25 * 2 + 0.125
    expected = np.tanh(0.625)
    action = mlp.imitate(torch.tensor([[14.0, 10.0]]))
    assert action.item() == pytest.approx(expected, rel=1e-6)


def test_returns_actions_and_timesteps_are_not_looked_at():
    mlp, observations = Mlp(MlpConfig(S, A)), torch.randn(3, 1, S)
    for fill in (0.0, 7.0):
        returns_to_go, actions = torch.full((3, 1), fill), torch.full((3, 1, A), fill)
        predicted = mlp(returns_to_go, observations, actions, torch.full((3, 1), int(fill)))
        assert torch.equal(predicted, mlp.imitate(observations))


def test_the_default_size():
    mlp = Mlp(MlpConfig(11, 3))
    expected = 11 * 256 + 256 + 256 * 256 + 256 + 256 * 3 + 3
    assert sum(parameter.numel() for parameter in mlp.parameters()) == expected


def test_initial_weights_follow_from_the_seed_and_leave_torchs_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (Mlp(MlpConfig(S, A), seed).layers[0].weight for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_are_torchs_defaults_for_the_seed():
    widths = (S, 7, 13, A)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = [torch.nn.Linear(i, o) for i, o in pairwise(widths)]
    layers = Mlp(MlpConfig(S, A, hidden_sizes=(7, 13)), seed=3).layers
    found = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    for got, wanted in zip(found, expected, strict=True):
        assert torch.equal(got.weight, wanted.weight)
        assert torch.equal(got.bias, wanted.bias)


def test_a_thread_that_draws_meanwhile_draws_the_same_numbers():
    """And the weights are the same too: torch's global generator is not borrowed."""
    expected, ended = Mlp(MlpConfig(S, A), seed=3).layers[0].weight, threading.Event()

    def build():
        while not ended.is_set():
            built.append(torch.equal(Mlp(MlpConfig(S, A), seed=3).layers[0].weight, expected))

    built, thread, generator = [], threading.Thread(target=build), torch.Generator()
    before = torch.get_rng_state()
    generator.set_state(before)
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        while thread.is_alive() and len(built) < 100:
            assert torch.equal(torch.rand(5), torch.rand(5, generator=generator))
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(switch_interval)
        torch.set_rng_state(before)
    assert len(built) >= 100
    assert all(built)


def test_the_best_episodes_in_their_own_order():
    returns = [3.0, -1.0, 7.0, 5.0, 5.0]
    assert selected(0.2, returns) == [2]
    assert selected(0.21, returns) == [2, 3], "rounded up; of equal returns the earlier"
    assert selected(0.6, returns) == [2, 3, 4]
    assert selected(1.0, returns) == [0, 1, 2, 3, 4]
    assert selected(0.001, returns) == [2]


@example(percent=7, hundreds=1)
@given(percent=st.integers(1, 100), hundreds=st.integers(1, 5))
def test_a_percentage_of_hundreds_is_exact(percent, hundreds):
    """0.07 * 100 is 7.000000000000001 in floating point, and seven episodes all the same."""
    returns = np.arange(100 * hundreds)
    assert len(selected(percent / 100, returns)) == percent * hundreds


def test_it_imitates_in_the_units_and_bounds_of_the_actions(fitted, dataset):
    observations = np.random.default_rng(1).normal(size=(307, S)).astype(np.float32)
    actions, _ = fitted.predict(observations)
    assert actions.dtype == np.float32
    assert np.abs(actions[:, 0] - 2 * np.tanh(observations[:, 0])).mean() < 0.1
    np.testing.assert_allclose(actions[:, 1], 5.5, atol=0.05)


def test_the_target_and_the_history_change_nothing(fitted):
    observations = np.random.default_rng(2).normal(size=(3, S))
    expected, state = fitted.predict(observations)
    for target in (-1e6, 0.0, [1.0, 2.0, 3.0]):
        np.testing.assert_array_equal(fitted.predict(observations, target, state)[0], expected)
    for row in range(3):
        np.testing.assert_allclose(fitted.predict(observations[row])[0], expected[row], atol=4e-5)


def test_hidden_sizes_survive_saving(dataset, tmp_path):
    BehaviorCloning(hidden_sizes=(7, 13), batch_size=4).fit(dataset, 1).save(tmp_path / "bc")
    loaded = BehaviorCloning.load(tmp_path / "bc")
    assert loaded.hidden_sizes == loaded.model.config.hidden_sizes == (7, 13)


def test_hidden_sizes_may_come_one_by_one(dataset, tmp_path):
    policy = BehaviorCloning(hidden_sizes=map(int, ["7", "13"]), batch_size=4).fit(dataset, 1)
    policy.save(tmp_path / "bc")
    assert policy.hidden_sizes == BehaviorCloning.load(tmp_path / "bc").hidden_sizes == (7, 13)
    assert MlpConfig(1, 1, iter([7, 13])).hidden_sizes == (7, 13)


def test_a_fraction_selects_alike_before_and_after_saving(dataset, tmp_path):
    """float32's 0.1 is 0.10000000149 in float64: a tenth of 100 and a bit, which is 11."""
    policy = BehaviorCloning(best_fraction=np.float32(0.1), batch_size=4).fit(dataset, 0)
    policy.save(tmp_path / "bc")
    for either in (policy, BehaviorCloning.load(tmp_path / "bc")):
        assert either.best_fraction == 0.10000000149011612
        assert type(either.best_fraction) is float


@pytest.mark.parametrize("sizes", [(0,), (7, 2.5), (-1,), (True,)])
def test_hidden_sizes_are_checked_before_any_data_is_read(sizes):
    with pytest.raises(ConfigError, match="hidden_sizes must be whole numbers of at least 1, but "):
        BehaviorCloning(hidden_sizes=sizes)


def test_one_hidden_size_is_no_tuple_of_them():
    with pytest.raises(ConfigError, match="hidden_sizes must be a tuple of whole numbers, but 256 was given"):
        BehaviorCloning(hidden_sizes=256)


@pytest.mark.parametrize("sizes", [{"observation_size": 0}, {"action_size": 0}])
def test_spaces_without_a_dimension_are_refused(sizes):
    with pytest.raises(ConfigError, match=f"{next(iter(sizes))} must be a whole number of at least 1, but 0"):
        MlpConfig(**{"observation_size": S, "action_size": A, **sizes})


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_the_fraction_is_checked(fraction):
    with pytest.raises(ConfigError, match=r"best_fraction must be in \(0, 1\], but "):
        BehaviorCloning(best_fraction=fraction)
