"""The ids, their specs, and the checkers of Gymnasium and of Stable-Baselines3."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import qdt_envs

VARIANTS = {
    "QDTSynthetic-v0": (1, False),
    "QDTSyntheticDelayed-v0": (50, False),
    "QDTSyntheticDelayed200-v0": (200, False),
    "QDTSyntheticHidden-v0": (1, True),
}


@pytest.mark.parametrize("env_id", VARIANTS)
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_the_ids_differ_in_delay_and_polarity(make, env_id):
    params = make(env_id).unwrapped.params
    assert (params.reward_delay, params.hidden_polarity) == VARIANTS[env_id]
    assert gymnasium.spec(env_id).max_episode_steps == 1000


@pytest.mark.parametrize("env_id", VARIANTS)
def test_gymnasiums_checker_finds_nothing(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    check_env(gymnasium.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", VARIANTS)
def test_sb3s_checker_finds_nothing(env_id):
    check_env_of_sb3(gymnasium.make(env_id), warn=True, skip_render_check=True)


def test_a_spec_survives_json():
    env = gymnasium.make("QDTSyntheticHidden-v0", noise_std=0.01, max_episode_steps=17)
    text = env.spec.to_json()
    json.loads(text)
    again = gymnasium.make(EnvSpec.from_json(text))
    assert again.unwrapped.params == env.unwrapped.params
    assert again.spec.max_episode_steps == 17
    np.testing.assert_array_equal(again.reset(seed=3)[0], env.reset(seed=3)[0])


def test_a_vector_spec_makes_the_same_batch_again():
    envs = gymnasium.make_vec(
        "QDTSyntheticDelayed-v0", num_envs=3, max_episode_steps=7, autoreset_mode="SameStep"
    )
    again = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert (again.num_envs, again.max_episode_steps) == (3, 7)
    assert again.metadata == envs.metadata
    assert again.params == envs.params


def test_the_prefixed_id_needs_no_import_and_nothing_imports_pygame():
    code = (
        "import sys, gymnasium; env = gymnasium.make('qdt_envs:QDTSyntheticHidden-v0'); env.reset(seed=0);"
        "env.step(env.action_space.sample()); gymnasium.make_vec('qdt_envs:QDTSynthetic-v0', num_envs=2);"
        "print('pygame' in sys.modules)"
    )
    path = qdt_envs.__path__[0] + "/.."
    outcome = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == "False", outcome.stderr


def test_workers_of_sb3_make_it_by_the_prefixed_id():
    env_id = "qdt_envs:QDTSynthetic-v0"
    workers = make_vec_env(env_id, n_envs=2, seed=5, vec_env_cls=SubprocVecEnv)
    try:
        observations = workers.reset()
        for row in range(2):
            np.testing.assert_array_equal(observations[row], gymnasium.make(env_id).reset(seed=5 + row)[0])
        _, rewards, dones, _ = workers.step(np.zeros((2, 3), np.float32))
        assert np.isfinite(rewards).all()
        assert not dones.any()
    finally:
        workers.close()
