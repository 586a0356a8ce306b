import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.errors import ConfigError
from qdt_rl.evaluation.rollout import evaluate

OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, (7, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def sac():
    return SB3Policy.learn("SAC", "Pendulum-v1", 150, seed=5)


def test_it_acts_as_its_model_whatever_the_target(sac):
    actions, state = sac.predict(OBSERVATIONS, target_return=-100.0)
    np.testing.assert_array_equal(actions, sac.model.predict(OBSERVATIONS, deterministic=True)[0])
    np.testing.assert_array_equal(actions, sac.predict(OBSERVATIONS, 3.0, state, np.ones(7, bool))[0])
    by_dict, _ = sac.predict({"observation": OBSERVATIONS, "return_to_go": np.zeros((7, 1))})
    np.testing.assert_array_equal(actions, by_dict)
    one, _ = sac.predict(OBSERVATIONS[2])
    np.testing.assert_allclose(one, actions[2], rtol=1e-5)
    assert (actions.shape, one.shape) == ((7, 1), (1,))


def test_the_same_seed_trains_the_same_agent(sac):
    again, other = (SB3Policy.learn("SAC", "Pendulum-v1", 150, seed=seed) for seed in (5, 6))
    np.testing.assert_array_equal(sac.predict(OBSERVATIONS)[0], again.predict(OBSERVATIONS)[0])
    assert not np.isclose(sac.predict(OBSERVATIONS)[0], other.predict(OBSERVATIONS)[0]).any()


def test_training_leaves_the_global_generators_as_they_were():
    def draws():
        states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        return states[0], states[1].tolist(), states[2].tolist()

    before = draws()
    SB3Policy.learn("SAC", "Pendulum-v1", 3)
    assert draws() == before


def test_ppo_learns_to_balance_and_is_evaluated_like_the_rest():
    untrained = SB3Policy(PPO("MlpPolicy", "CartPole-v1", seed=1, device="cpu"))
    trained = SB3Policy.learn("PPO", "CartPole-v1", 4096, seed=1)
    assert evaluate(untrained, "CartPole-v1", 500.0, 11).mean < 20
    assert evaluate(trained, "CartPole-v1", 500.0, 11).mean > 200  # 436 when this was written


def test_observations_are_normalised_as_in_training():
    venv = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0))
    model = PPO("MlpPolicy", venv, n_steps=32, seed=0, device="cpu").learn(64)
    expected, _ = model.predict(venv.normalize_obs(OBSERVATIONS), deterministic=True)
    np.testing.assert_array_equal(SB3Policy(model).predict(OBSERVATIONS, 3.0)[0], expected)
    assert not np.allclose(model.predict(OBSERVATIONS, deterministic=True)[0], expected)
    with pytest.raises(ConfigError, match=r"an SB3 algorithm .* but 'ActorCriticPolicy' was given"):
        SB3Policy(model.policy)  # which knows of no statistics
    venv.norm_obs = False
    unchanged, _ = model.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_array_equal(SB3Policy(model).predict(OBSERVATIONS)[0], unchanged)


def test_an_error_leaves_no_bar_behind(monkeypatch):
    """Its thread would go on drawing, and the next bar be refused."""
    ended = []

    def ticks(items, *_):
        try:
            yield from items
        finally:
            ended.append(True)

    def fail(self, total_timesteps, callback):
        callback()
        raise RuntimeError("in the middle")

    monkeypatch.setattr("qdt_rl.baselines.sb3.track", ticks)
    monkeypatch.setattr(PPO, "learn", fail)
    with pytest.raises(RuntimeError, match="in the middle") as caught:
        SB3Policy.learn("PPO", "Pendulum-v1", 5)
    assert ended
    del caught  # whose frames held the generator until here


def test_save_and_load_are_sb3s(sac, tmp_path):
    sac.model.save(tmp_path / "model.zip")
    loaded = SB3Policy(type(sac.model).load(tmp_path / "model.zip", device="cpu"))
    np.testing.assert_array_equal(loaded.predict(OBSERVATIONS)[0], sac.predict(OBSERVATIONS)[0])


def test_recurrent_models_get_their_state_and_episode_starts():
    class Recurrent(PPO):
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return observation, (state, episode_start, deterministic)

    policy = SB3Policy(Recurrent("MlpPolicy", "CartPole-v1", device="cpu"))
    starts = np.array([True, False])
    assert policy.predict(OBSERVATIONS[:2], 1.0, "state", starts, False)[1] == ("state", starts, False)


@pytest.mark.parametrize(
    ("algorithm", "env_id", "total_timesteps", "message"),
    [
        ("DQN", "CartPole-v1", 1, r"algorithm must be one of \['PPO', 'SAC'\], but 'DQN' was given"),
        ("PPO", "CartPole-v1", 0, "total_timesteps must be a whole number of at least 1, but 0 was"),
        ("PPO", "CartPole-v1", 2048.5, "total_timesteps must be a whole number .*, but 2048.5 was given"),
        ("PPO", "NoSuch-v0", 1, "an environment that can be made, but 'NoSuch-v0' was given: Environment"),
        ("PPO", "a:b:c", 1, "an environment that can be made, but 'a:b:c' was given"),
        ("PPO", "Blackjack-v1", 1, "PPO cannot act in this environment: .*Tuple"),
        ("SAC", "CartPole-v1", 1, "SAC cannot act in this environment: The algorithm only supports"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_arguments(algorithm, env_id, total_timesteps, message):
    with pytest.raises(ConfigError, match=message):
        SB3Policy.learn(algorithm, env_id, total_timesteps)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_a_seed_that_numpys_old_generator_cannot_take(seed):
    with pytest.raises(ConfigError, match=rf"seed must be a whole number from 0 to 2³² − 1, but {seed} was"):
        SB3Policy.learn("PPO", "CartPole-v1", 1, seed=seed)


def test_the_environment_is_closed_after_training(monkeypatch):
    closed = []
    monkeypatch.setattr(gym.Wrapper, "close", lambda self: closed.append(self))
    SB3Policy.learn("SAC", "Pendulum-v1", 1)
    assert closed
