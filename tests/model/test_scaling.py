import numpy as np
import pytest
import torch

from qdt_rl.model.scaling import Scaling


def fitted():
    scaling = Scaling(2, 2)
    observations = np.array([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0], [7.0, 5.0]], np.float32)
    returns_to_go = np.array([-8.0, 2.0, 4.0, 0.0], np.float32)
    scaling.fit(observations, returns_to_go, np.array([-2.0, 0.0]), np.array([2.0, 10.0]))
    return scaling


def test_observations_are_standardised_and_a_constant_feature_is_only_centred():
    scaled = fitted().observations(torch.tensor([[4.0, 5.0], [9.0, 6.5]]))
    torch.testing.assert_close(scaled, torch.tensor([[0.0, 0.0], [5 / 5**0.5, 1.5]]))


def test_a_feature_that_varies_by_very_little_is_seen():
    observations = np.array([[0.0], [1e-7]], np.float32)
    scaling = Scaling(1, 1)
    scaling.fit(observations, np.ones(2, np.float32), np.array([-1.0]), np.array([1.0]))
    torch.testing.assert_close(
        scaling.observations(torch.from_numpy(observations)), torch.tensor([[-1.0], [1.0]])
    )


def test_a_feature_that_varies_little_is_standardised_all_the_same():
    """A ten-thousandth of its mean, over enough steps for float32 sums to lose it."""
    observations = np.tile(np.array([[1e4 - 1], [1e4 + 1]], np.float32), (50_000, 1))
    scaling = Scaling(1, 1)
    scaling.fit(observations, np.ones(100_000, np.float32), np.array([-1.0]), np.array([1.0]))
    assert (scaling.observation_mean.item(), scaling.observation_std.item()) == (1e4, 1.0)


@pytest.mark.parametrize(
    "feature",
    [
        np.array([0.0, 0.0, 1e-45, 0.0]),  # its deviation is no number of float32's
        np.array([6e-17, 0.0, -1e-16, 0.0]),  # as cosines of a right angle are
        np.nextafter(np.full(4, 0.1, np.float32), np.array([0, 1, 0, 1], np.float32)),
        1000 + 1e-4 * np.arange(4),
    ],
)
def test_a_feature_that_varies_by_rounding_alone_is_only_centred(feature):
    """Divided by its deviation, a first real change would drown all other features, or be no number."""
    observations = feature.astype(np.float32)[:, None]
    scaling = Scaling(1, 1)
    scaling.fit(observations, np.ones(4, np.float32), np.array([-1.0]), np.array([1.0]))
    assert scaling.observation_std.item() == 1.0
    changed = torch.from_numpy(observations + np.float32(2.0))
    torch.testing.assert_close(scaling.observations(changed), torch.full((4, 1), 2.0), atol=1e-3, rtol=0)


def test_a_large_constant_feature_is_not_divided_by_its_rounding_error():
    scaling = Scaling(1, 1)
    observations = np.full((1000, 1), 1e7, np.float32)
    scaling.fit(observations, np.ones(1000, np.float32), np.array([-1.0]), np.array([1.0]))
    assert scaling.observation_std.item() == 1.0


def test_actions_map_their_box_to_minus_one_and_one_and_back():
    scaling = fitted()
    actions = torch.tensor([[-2.0, 0.0], [0.0, 5.0], [2.0, 10.0], [3.0, 7.5]])
    scaled = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [1.5, 0.5]])
    torch.testing.assert_close(scaling.actions(actions), scaled)
    torch.testing.assert_close(scaling.unscale_actions(scaled), actions)


def test_returns_to_go_are_divided_by_the_largest_magnitude():
    torch.testing.assert_close(fitted().returns_to_go(torch.tensor([-8.0, 2.0])), torch.tensor([-1.0, 0.25]))


def test_returns_that_are_all_zero_are_left_alone():
    scaling = Scaling(1, 1)
    scaling.fit(np.ones((3, 1), np.float32), np.zeros(3, np.float32), np.array([-1.0]), np.array([1.0]))
    assert scaling.return_scale.item() == 1.0
