"""Acting for hours, in a process of its own: ``python -m tests.load.soak``, from the repository's root.

Plays 10,000 episodes of 100 steps in ``QDTSynthetic-v0`` with ``predict``, a million calls, and then as many
with ``evaluate``; prints the memory of the process every 1,000 episodes, in MB.
"""

import argparse
import gc
import os
import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import gymnasium as gym
import torch

from qdt_rl.data.generation import generate_dataset
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.policy.agent import QDTPolicy

EPISODE_LENGTH = 100


def main() -> None:
    """Play, and print memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--episodes", type=int, default=10_000)
    n_episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    policy = small_policy()
    for name, play in (("predict", by_predict), ("evaluate", by_evaluate)):
        for n_played in play(policy):
            if n_played % (n_episodes // 10) == 0:
                gc.collect()
                print(f"{name}: {n_played} episodes, {resident_memory():.2f} MB", flush=True)
            if n_played == n_episodes:
                break


def small_policy() -> QDTPolicy:
    """Return a policy whose calls are short, so that many fit a test."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        dataset = generate_dataset("qdt/synthetic/medium-v0", n_episodes=2)
        model = {"d_model": 16, "n_heads": 2, "n_layers": 1}
        return QDTPolicy(context_length=6, policy_kwargs=model).fit(dataset, n_steps=3)


def by_predict(policy: QDTPolicy) -> Iterator[int]:
    """Play episodes step by step, and yield how many are played."""
    env = gym.make("QDTSynthetic-v0", max_episode_steps=EPISODE_LENGTH)
    for episode in count():
        yield episode
        observation, _ = env.reset(seed=episode)
        state, return_to_go, is_over = None, 100.0, False
        while not is_over:
            action, state = policy.predict(observation, return_to_go, state)
            observation, reward, _, is_over, _ = env.step(action)
            return_to_go -= float(reward)


def by_evaluate(policy: QDTPolicy) -> Iterator[int]:
    """Play episodes ten at a time, and yield how many are played."""
    env = gym.make_vec("QDTSynthetic-v0", 10, max_episode_steps=EPISODE_LENGTH)
    for n_played in count(step=10):
        yield n_played
        evaluate(policy, env, -3000.0, 10, seed=n_played)


def resident_memory() -> float:
    """Return the memory that this process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
