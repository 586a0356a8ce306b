from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdt_rl.data.trajectories import Trajectories
from qdt_rl.errors import DatasetError


def arrays(lengths: tuple[int, ...] = (3, 2), **replaced: Any) -> dict[str, Any]:
    n_steps = sum(lengths)
    fields = {
        "observations": np.arange(7 * n_steps, dtype=np.float32).reshape(n_steps, 7),
        "actions": np.arange(3 * n_steps, dtype=np.float32).reshape(n_steps, 3),
        "rewards": np.arange(n_steps, dtype=np.float32),
        "offsets": np.cumsum([0, *lengths]),
    }
    return fields | replaced


def test_returns_to_go_by_hand() -> None:
    data = Trajectories(**arrays(rewards=np.array([1, -2, 4, 0.5, 8], np.float32)))
    np.testing.assert_array_equal(data.returns_to_go, np.array([3, 2, 4, 8.5, 8], np.float32))
    np.testing.assert_array_equal(data.episode_returns, [3, 8.5])
    np.testing.assert_array_equal(data.episode_lengths, [3, 2])
    assert (data.n_episodes, data.n_steps) == (2, 5)
    assert data.returns_to_go.dtype == np.float32
    assert data.episode_returns.dtype == np.float64


REWARDS = st.lists(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(REWARDS)
@settings(max_examples=60)
def test_returns_to_go_equal_the_slow_sum(episodes: list[list[float]]) -> None:
    rewards = np.concatenate(episodes).astype(np.float32)
    data = Trajectories(**arrays(tuple(map(len, episodes)), rewards=rewards))
    slow = []
    for episode in episodes:
        for step in range(len(episode)):
            total = np.float64(0)
            for reward in reversed(episode[step:]):
                total += np.float64(reward)
            slow.append(np.float32(total))
    # Exactly: a large episode leaves no rounding in a small one.
    np.testing.assert_array_equal(data.returns_to_go, np.array(slow, np.float32))


def test_returns_are_summed_in_double_precision() -> None:
    rewards = np.array([2**24] + [1] * 5, np.float32)  # in float32, 2^24 + 1 is 2^24
    data = Trajectories(**arrays((6,), rewards=rewards))
    assert data.episode_returns[0] == 2**24 + 5
    assert data.returns_to_go[0] == np.float32(2**24 + 5)


def test_returns_to_go_of_a_long_episode_by_hand() -> None:
    data = Trajectories(**arrays((1, 1000), rewards=np.ones(1001, np.float32)))
    np.testing.assert_array_equal(data.returns_to_go, [1, *range(1000, 0, -1)])


def test_equality_is_identity() -> None:
    data = Trajectories(**arrays())
    assert data != Trajectories(**arrays())
    assert {data: 1}[data] == 1


def test_select_copies_whole_episodes_in_the_order_given() -> None:
    data = Trajectories(**arrays((3, 2, 4)))
    chosen = data.select(np.array([2, 0, 2]))
    steps = [5, 6, 7, 8, 0, 1, 2, 5, 6, 7, 8]
    np.testing.assert_array_equal(chosen.offsets, [0, 4, 7, 11])
    for field in ("observations", "actions", "rewards", "returns_to_go"):
        np.testing.assert_array_equal(getattr(chosen, field), getattr(data, field)[steps])


def test_select_refuses_no_episodes() -> None:
    with pytest.raises(DatasetError, match="At least one episode is needed"):
        Trajectories(**arrays()).select(np.array([], np.int64))


def with_value(field: str, index: Any, value: float) -> dict[str, Any]:
    fields = arrays()
    fields[field][index] = value
    return fields


BAD = {
    "dtype": (
        arrays(rewards=np.arange(5.0)),
        "rewards must be a 1-dimensional float32 array, but is a 1-dimensional float64 array",
    ),
    "ndim": (
        arrays(actions=np.zeros(5, np.float32)),
        "actions must be a 2-dimensional float32 array, but is a 1-dimensional float32 array",
    ),
    "too many dimensions": (
        arrays(rewards=np.zeros((5, 1), np.float32)),
        "rewards must be a 1-dimensional float32 array, but is a 2-dimensional float32 array",
    ),
    "no columns": (
        arrays(actions=np.zeros((5, 0), np.float32)),
        r"actions must have at least one column, but has the shape \(5, 0\)",
    ),
    "offsets' dtype": (
        arrays(offsets=np.array([0, 3, 5], np.int32)),
        "offsets must be a 1-dimensional int64 array, but is a 1-dimensional int32 array",
    ),
    "not contiguous": (
        arrays(observations=np.zeros((7, 5), np.float32).T),
        r"observations must be C-contiguous: pass np.ascontiguousarray\(observations\)",
    ),
    "lengths": (
        arrays(actions=np.zeros((4, 3), np.float32)),
        "must have one row per step, but have 5, 4 and 5 rows",
    ),
    "no episode": (arrays(offsets=np.array([0])), r"At least one episode is needed, but offsets is \[0\]"),
    "first offset": (
        arrays(offsets=np.array([1, 3, 5])),
        "must run from 0 to the number of steps, 5, but runs from 1 to 5",
    ),
    "list": (arrays(rewards=[0.0] * 5), "rewards must be a NumPy array of float32, but is a list"),
    "last offset": (
        arrays(offsets=np.array([0, 3, 4])),
        "must run from 0 to the number of steps, 5, but runs from 0 to 4",
    ),
    "empty episode": (
        arrays(offsets=np.array([0, 3, 3, 5])),
        "no episode may be empty, but episode 1 runs from 3 to 3",
    ),
    "the first of two": (arrays(offsets=np.array([0, 0, 5, 5])), "but episode 0 runs from 0 to 0"),
    "falling": (arrays(offsets=np.array([0, 4, 3, 5])), "but episode 1 runs from 4 to 3"),
    "observation": (
        with_value("observations", (4, 6), np.nan),
        r"Episode 1, step 1: observations\[6\] is nan, but must be a finite float32 number",
    ),
    "action": (with_value("actions", (2, 1), np.inf), r"Episode 0, step 2: actions\[1\] is inf"),
    "reward": (with_value("rewards", 3, -np.inf), r"Episode 1, step 0: rewards is -inf"),
    "return": (
        arrays(rewards=np.array([0, 3e38, 3e38, 1, 1], np.float32)),
        r"Episode 0, step 0: returns_to_go is inf, .* \(those beyond ±3.4e38 turn into inf\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_invariants_are_named(case: str) -> None:
    fields, message = BAD[case]
    with pytest.raises(DatasetError, match=message):
        Trajectories(**fields)
