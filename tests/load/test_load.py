"""Many calls, many threads, many processes, many environments."""

import multiprocessing
import re
import subprocess
import sys
import threading
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.policy.agent import QDTPolicy
from tests.load.soak import small_policy

N_STEPS = 12  # the context is renewed twice


@pytest.fixture(scope="module")
def policy() -> QDTPolicy:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", "")
        return small_policy()


def play(policy: QDTPolicy, seed: int) -> np.ndarray:
    """Return the actions of an episode whose observations are noise."""
    observations = np.random.default_rng(seed).normal(size=(N_STEPS, 11))
    actions, state = [], None
    for observation in observations:
        action, state = policy.predict(observation, 100.0, state)
        actions.append(action)
    return np.array(actions)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own count of memory")
def test_memory_stays_flat() -> None:
    """The soak test, shortened: what grows by a kilobyte and a half an episode would show."""
    command = [sys.executable, "-m", "tests.load.soak", "--episodes", "300"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in ("predict", "evaluate"):
        figures = [re.fullmatch(rf"{name}: \d+ episodes, ([\d.]+) MB", line) for line in lines]
        memory = [float(figure[1]) for figure in figures if figure]
        assert len(memory) == 11
        assert memory[-1] - memory[3] < 0.3, memory  # the first episodes fill caches of Python's and torch's


def test_64_threads_share_one_policy(policy: QDTPolicy) -> None:
    expected = [play(policy, seed) for seed in range(64)]
    start, results = threading.Barrier(64), {}

    def work(seed: int) -> None:
        start.wait()
        results[seed] = play(policy, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 64
    for seed, actions in results.items():
        np.testing.assert_array_equal(actions, expected[seed])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_workers_share_one_policy(policy: QDTPolicy) -> None:
    """A policy that has acted is inherited by processes, and goes on acting there."""
    expected = [play(policy, seed) for seed in range(8)]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    workers = [
        context.Process(target=lambda seed=seed: results.put((seed, play(policy, seed)))) for seed in range(8)
    ]
    for worker in workers:
        worker.start()
    received = dict(results.get() for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    for seed, actions in received.items():
        np.testing.assert_array_equal(actions, expected[seed])


def test_10_000_environments_side_by_side(policy: QDTPolicy) -> None:
    """Each row is what it would be among ten: to rounding, since products of other sizes round otherwise."""
    crowd, few = (
        evaluate(
            policy,
            gym.make_vec("QDTSynthetic-v0", n_envs, max_episode_steps=N_STEPS),
            -3000.0,
            n_envs,
            seed=5,
        )
        for n_envs in (10_000, 10)
    )
    assert crowd.returns.shape == (10_000,)
    np.testing.assert_array_equal(crowd.lengths, N_STEPS)
    np.testing.assert_allclose(crowd.returns[:10], few.returns, rtol=1e-4)
    assert len(np.unique(crowd.returns)) > 9_900
