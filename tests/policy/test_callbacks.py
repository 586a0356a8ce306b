"""SB3's own callbacks and evaluation, unmodified, on an offline agent."""

import gymnasium as gym
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnNoModelImprovement,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from qdt_rl.baselines.behavior_cloning import BehaviorCloning
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.vec_env import ReturnConditionedVecEnv

TARGET = -400.0


@pytest.fixture(scope="module")
def pendulum(minari_root, write_buffers):
    env = gym.make("Pendulum-v1", max_episode_steps=40)
    env.action_space.seed(0)
    buffers = []
    for episode in range(5):
        observations, actions, rewards, truncated = [env.reset(seed=episode)[0]], [], [], False
        while not truncated:
            actions.append(env.action_space.sample())
            observation, reward, _, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        buffers.append(
            EpisodeBuffer(
                observations=np.stack(observations),
                actions=np.stack(actions),
                rewards=rewards,
                terminations=[False] * 40,
                truncations=[False] * 39 + [True],
                infos={},
            )
        )
    return write_buffers("tests/pendulum-v0", buffers, env.observation_space, env.action_space)


def new_policy(**settings):
    sizes = {"d_model": 16, "n_heads": 2, "dropout": 0.0}
    return QDTPolicy(context_length=5, batch_size=8, policy_kwargs=sizes, precision="32", **settings)


def new_env(n_envs=2, seed=0):
    env = make_vec_env("Pendulum-v1", n_envs, seed=seed, env_kwargs={"max_episode_steps": 40})
    return ReturnConditionedVecEnv(env, TARGET)


def test_eval_callback_evaluates_logs_and_keeps_the_best(pendulum, tmp_path):
    callback = EvalCallback(
        new_env(),
        n_eval_episodes=3,
        eval_freq=5,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    policy = new_policy().fit(pendulum, 10, callback=callback)
    found = np.load(tmp_path / "evaluations.npz")
    assert found["timesteps"].tolist() == [5, 10]
    assert found["results"].shape == (2, 3)
    assert (found["ep_lengths"] == 40).all()
    best = QDTPolicy.load(tmp_path / "best_model.zip")
    assert best.num_timesteps == [5, 10][int(found["results"].mean(1).argmax())]
    assert policy.num_timesteps == 10


def test_evaluating_in_the_middle_changes_nothing_in_the_training(pendulum):
    watched = new_policy().fit(pendulum, 8, callback=EvalCallback(new_env(), eval_freq=3, verbose=0))
    alone = new_policy().fit(pendulum, 8)
    for (name, got), expected in zip(
        watched.model.state_dict().items(), alone.model.state_dict().values(), strict=True
    ):
        assert got.equal(expected), name


def test_checkpoints_can_be_loaded_and_trained_on(pendulum, tmp_path):
    whole = new_policy().fit(pendulum, 8, callback=CheckpointCallback(save_freq=4, save_path=str(tmp_path)))
    resumed = QDTPolicy.load(tmp_path / "rl_model_4_steps.zip").fit(pendulum, 4)
    for got, expected in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert got.equal(expected)


class StopAt(BaseCallback):
    def __init__(self, update):
        super().__init__()
        self.update, self.ended = update, False

    def _on_step(self):
        assert self.num_timesteps == self.model.num_timesteps == self.n_calls
        assert self.training_env.num_envs == 1
        return self.num_timesteps < self.update

    def _on_training_end(self):
        self.ended = True


def test_a_callback_may_stop_training_and_go_on(pendulum):
    callback = StopAt(3)
    policy = new_policy().fit(pendulum, 8, callback=callback)
    assert (policy.num_timesteps, callback.ended) == (3, True)
    whole = new_policy().fit(pendulum, 8)
    policy.fit(pendulum, 5)
    for got, expected in zip(policy.model.parameters(), whole.model.parameters(), strict=True):
        assert got.equal(expected)


def test_lists_functions_and_events_are_callbacks(pendulum):
    seen = []
    every_second = EveryNTimesteps(2, StopAt(100))
    every_second.callback._on_step = lambda: seen.append(every_second.num_timesteps) or True
    new_policy().fit(pendulum, 4, callback=[every_second])
    new_policy().fit(pendulum, 4, callback=CallbackList([StopAt(9)]))
    policy = new_policy().fit(pendulum, 4)
    policy.fit(pendulum, 1, callback=lambda locals_, _: seen.append(locals_["total_timesteps"]) or True)
    assert seen == [2, 4, 5]


def test_training_stops_without_improvement(pendulum):
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=1, min_evals=1, verbose=0)
    callback = EvalCallback(new_env(), n_eval_episodes=2, eval_freq=2, callback_after_eval=stop, verbose=0)
    policy = new_policy(learning_rate=1e-12).fit(pendulum, 40, callback=callback)
    assert policy.num_timesteps < 40


def test_sb3s_evaluate_policy_runs_an_agent_and_a_clone(pendulum):
    for policy in (new_policy(), BehaviorCloning(hidden_sizes=(4,))):
        returns, lengths = evaluate_policy(
            policy.fit(pendulum, 2), new_env(n_envs=2), n_eval_episodes=3, return_episode_rewards=True
        )
        assert lengths == [40] * 3
        assert all(-1000 < episode_return < 0 for episode_return in returns)


def test_rows_that_have_finished_their_share_do_not_disturb_the_others(pendulum):
    """SB3 leaves episode_start true for such rows; three episodes on two environments leave one idle."""
    policy = new_policy().fit(pendulum, 2)
    returns, _ = evaluate_policy(policy, new_env(2, seed=7), n_eval_episodes=3, return_episode_rewards=True)
    first, _ = evaluate_policy(policy, new_env(1, seed=7), n_eval_episodes=1, return_episode_rewards=True)
    second, _ = evaluate_policy(policy, new_env(1, seed=8), n_eval_episodes=2, return_episode_rewards=True)
    assert returns == pytest.approx([first[0], second[0], second[1]], rel=1e-4)


def test_there_is_no_training_environment_to_step(pendulum):
    env = new_policy().fit(pendulum, 1).get_env()
    assert env.observation_space["observation"] == pendulum.observation_space
    assert env.action_space == pendulum.action_space
    with pytest.raises(NotImplementedError, match="An offline agent has no training environment"):
        env.reset()
