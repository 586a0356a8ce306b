import json

import numpy as np
from scipy import stats

from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories

LENGTHS = (1, 7, 3, 13)
K = 5


def trajectories() -> Trajectories:
    n_steps = sum(LENGTHS)
    identity = np.arange(n_steps, dtype=np.float32)
    return Trajectories(
        observations=np.stack([identity, identity + 0.5], axis=1),
        actions=-np.stack([identity, identity, identity], axis=1) - 1,
        rewards=identity,
        offsets=np.cumsum([0, *LENGTHS]),
    )


def test_every_window_is_a_piece_of_one_episode() -> None:
    data = trajectories()
    windows = WindowSampler(data, K, batch_size=211, seed=0).sample()
    ends = np.repeat(data.offsets[1:], data.episode_lengths)
    timesteps = np.concatenate([np.arange(length) for length in LENGTHS])
    for window in range(211):
        start = int(windows.observations[window, 0, 0])
        length = min(K, ends[start] - start)
        steps = slice(start, start + length)
        assert windows.lengths[window] == length
        np.testing.assert_array_equal(windows.observations[window, :length], data.observations[steps])
        np.testing.assert_array_equal(windows.actions[window, :length], data.actions[steps])
        np.testing.assert_array_equal(windows.returns_to_go[window, :length], data.returns_to_go[steps])
        np.testing.assert_array_equal(windows.timesteps[window, :length], timesteps[steps])
        for padded in windows[:4]:
            assert not padded[window, length:].any()


def test_starts_are_uniform_over_all_steps() -> None:
    data = trajectories()
    windows = WindowSampler(data, K, batch_size=24_000, seed=0).sample()
    counts = np.bincount(windows.observations[:, 0, 0].astype(int), minlength=data.n_steps)
    assert counts.min() > 0
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_seed_decides() -> None:
    first, same, other = (WindowSampler(trajectories(), K, 17, seed).sample() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.observations, same.observations)
    assert (first.observations != other.observations).any()


def test_state_goes_on_where_it_was_taken() -> None:
    sampler = WindowSampler(trajectories(), K, batch_size=3, seed=0)
    sampler.sample()
    state = json.loads(json.dumps(sampler.state))
    expected = [sampler.sample() for _ in range(3)]
    resumed = WindowSampler(trajectories(), K, batch_size=3, seed=99)
    resumed.state = state
    for windows in expected:
        np.testing.assert_array_equal(resumed.sample().observations, windows.observations)


def test_global_generators_are_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    WindowSampler(trajectories(), K, batch_size=3, seed=0).sample()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
