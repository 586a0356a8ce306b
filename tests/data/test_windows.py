import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdt_rl.data.windows import take_windows

N, S, A = 13, 5, 3


def steps() -> dict[str, np.ndarray]:
    """N steps whose every number is unique."""
    identity = np.arange(N, dtype=np.float32)
    return {
        "observations": 100 + identity[:, None] + np.float32(0.125) * np.arange(S, dtype=np.float32),
        "actions": -100 - identity[:, None] - np.float32(0.125) * np.arange(A, dtype=np.float32),
        "returns_to_go": 1000 + identity,
        "timesteps": 7 + np.arange(N),
    }


def test_by_hand() -> None:
    windows = take_windows(**steps(), starts=np.array([11, 0]), lengths=np.array([2, 3]), context_length=3)
    np.testing.assert_array_equal(windows.returns_to_go, [[1011, 1012, 0], [1000, 1001, 1002]])
    np.testing.assert_array_equal(windows.timesteps, [[18, 19, 0], [7, 8, 9]])
    np.testing.assert_array_equal(windows.observations[0, :, 2], [111.25, 112.25, 0])
    np.testing.assert_array_equal(windows.actions[0, :, 2], [-111.25, -112.25, 0])
    np.testing.assert_array_equal(windows.lengths, [2, 3])


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int]:
    context = draw(st.integers(1, 7))
    starts = draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=5))
    return [(start, draw(st.integers(1, min(context, N - start)))) for start in starts], context


@given(cuts())
@settings(max_examples=100)
def test_equals_the_slow_version(drawn: tuple[list[tuple[int, int]], int]) -> None:
    pieces, context = drawn
    starts, lengths = np.array(pieces).T
    fast = take_windows(**steps(), starts=starts, lengths=lengths, context_length=context)
    for name, values in steps().items():
        slow = np.zeros((len(pieces), context, *values.shape[1:]), values.dtype)
        for window, (start, length) in enumerate(pieces):
            for position in range(length):
                slow[window, position] = values[start + position]
        assert getattr(fast, name).dtype == values.dtype
        np.testing.assert_array_equal(getattr(fast, name), slow)


def test_the_source_is_neither_changed_nor_shared() -> None:
    source = steps()
    windows = take_windows(**source, starts=np.array([12]), lengths=np.array([1]), context_length=4)
    windows.observations[:] = -1
    for name, values in steps().items():
        np.testing.assert_array_equal(source[name], values)


def test_a_window_beyond_the_last_step_is_refused() -> None:
    with pytest.raises(IndexError):
        take_windows(**steps(), starts=np.array([11]), lengths=np.array([3]), context_length=3)


def test_adjoining_windows_hold_every_step_exactly_once() -> None:
    starts = np.arange(0, N, 4)
    windows = take_windows(**steps(), starts=starts, lengths=np.minimum(4, N - starts), context_length=4)
    is_real = np.arange(4) < windows.lengths[:, None]
    for name, values in steps().items():
        np.testing.assert_array_equal(getattr(windows, name)[is_real], values)
        assert not getattr(windows, name)[~is_real].any()
