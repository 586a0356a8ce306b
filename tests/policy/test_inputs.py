import numpy as np
import pytest
import torch

from qdt_rl.errors import InputError
from qdt_rl.policy.inputs import read_input

S = 3


def read(observation=None, target_return=1.0, episode_start=None):
    return read_input(
        np.zeros((2, S)) if observation is None else observation, target_return, episode_start, S
    )


def test_one_observation_and_a_batch_are_told_apart():
    one, batch = read([1, 2, 3]), read(np.ones((5, S), np.float64))
    assert (one.is_batch, one.observations.tolist()) == (False, [[1.0, 2.0, 3.0]])
    assert (batch.is_batch, batch.observations.shape) == (True, (5, S))
    assert batch.observations.dtype == np.float32


def test_a_scalar_target_is_for_every_row():
    assert read(target_return=2).target_returns.tolist() == [2.0, 2.0]
    assert read(target_return=[2, 3]).target_returns.tolist() == [2.0, 3.0]
    assert read(target_return=None).target_returns is None


def test_episode_starts_are_none_one_or_a_row_each():
    assert read().episode_start.tolist() == [False, False]
    assert read(episode_start=True).episode_start.tolist() == [True, True]
    assert read(episode_start=np.array([1, 0])).episode_start.tolist() == [True, False]


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4), r"Expected an observation of shape \(3,\) or \(n, 3\), but one of shape \(4,\) came"),
        (np.zeros((2, 3, 3)), r"but one of shape \(2, 3, 3\) came"),
        (np.float64(1.0), r"but one of shape \(\) came"),
        ([["a", "b", "c"]], "The observation must be an array of numbers, but has dtype <U1"),
        ([None, 1.0, 2.0], "The observation must be an array of numbers, but has dtype object"),
        (np.ones(3, bool), "The observation must be an array of numbers, but has dtype bool"),
        (
            [[1.0, 2.0, 3.0], [1.0]],
            "The observation must be an array of numbers, but its rows differ in length",
        ),
        (np.array([[0, 1, 2], [3, np.nan, 5]]), r"must be finite in float32, but is nan at index \(1, 1\)"),
        (np.array([0, 1, np.inf]), r"must be finite in float32, but is inf at index \(2,\)"),
        (np.array([0, 1, 1e39]), r"must be finite in float32, but is 1e\+39 at index \(2,\)"),
        (np.zeros((0, 3)), "Expected at least one observation, but an empty batch came"),
        (torch.zeros(3, requires_grad=True), "The observation must be an array of numbers: Can't call numpy"),
        (
            {"observation": np.zeros(3)},
            r"must have the keys \['observation', 'return_to_go'\], but has \['obs",
        ),
    ],
)
def test_observations_that_do_not_fit_are_refused(observation, message):
    with pytest.raises(InputError, match=message):
        read(observation)


@pytest.mark.parametrize(
    ("target_return", "message"),
    [
        (np.nan, "The target return must be finite in float32, but is nan"),
        ([1.0, -np.inf], r"The target return must be finite in float32, but is -inf at index \(1,\)"),
        (
            [1.0, 2.0, 3.0],
            r"The target return must be one value or one for each of 2 rows, but has shape \(3,\)",
        ),
        (
            np.zeros((1, 2)),
            r"The target return must be one value or one for each of 2 rows, but has shape \(1, 2\)",
        ),
        ("much", "The target return must be an array of numbers, but has dtype <U4"),
    ],
)
def test_targets_that_do_not_fit_are_refused(target_return, message):
    with pytest.raises(InputError, match=message):
        read(target_return=target_return)


def test_episode_starts_that_do_not_fit_are_refused():
    with pytest.raises(
        InputError, match=r"episode_start must be one value or one for each of 2 rows, but has shape"
    ):
        read(episode_start=[True, False, True])
    with pytest.raises(InputError, match=r"episode_start must hold truth values, but \[0.5, 1\] came"):
        read(episode_start=[0.5, 1])
    with pytest.raises(InputError, match="episode_start must hold truth values, but its rows differ in"):
        read(episode_start=[[True], [True, False]])


def test_two_targets_at_once_are_refused():
    with pytest.raises(InputError, match="carries its own target: leave target_return out"):
        read({"observation": np.zeros(3), "return_to_go": 1.0}, target_return=1.0)
