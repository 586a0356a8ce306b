import copy

import pytest
import torch

from qdt_rl.model.dropout import Dropout


def mask(rate, shape, seed=0):
    dropout = Dropout(rate)
    dropout.generator.manual_seed(seed)
    return dropout.mask(torch.zeros(shape))


def dropped(rate):
    """The rate that a random byte can have."""
    return round(rate * 256) / 256


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_every_lane_of_the_random_words_drops_at_the_rate(rate):
    """A word of 64 bits serves eight elements; none of the eight may be biased (5 standard errors)."""
    kept = (mask(rate, (250_000, 8)) > 0).double()
    error = 5 * (rate * (1 - rate) / 250_000) ** 0.5
    torch.testing.assert_close(kept.mean(0), torch.full((8,), 1 - dropped(rate)).double(), atol=error, rtol=0)


def test_neighbouring_elements_are_dropped_independently():
    kept = (mask(0.5, (250_000, 8)) > 0).double()
    correlation = torch.corrcoef(kept.T)
    torch.testing.assert_close(correlation, torch.eye(8).double(), atol=0.01, rtol=0)


def test_survivors_are_scaled_so_that_the_expectation_is_exact():
    assert mask(0.1, (97, 101)).unique().tolist() == [0.0, pytest.approx(1 / (1 - dropped(0.1)))]


def test_a_mask_may_have_any_number_of_elements():
    assert [tuple(mask(0.5, (n,)).shape) for n in range(18)] == [(n,) for n in range(18)]


def test_the_same_seed_gives_the_same_masks_and_torchs_own_generator_is_left_alone():
    before = torch.random.get_rng_state()
    assert torch.equal(mask(0.3, (53,), seed=7), mask(0.3, (53,), seed=7))
    assert not torch.equal(mask(0.3, (53,), seed=7), mask(0.3, (53,), seed=8))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    x = torch.randn(31)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_a_copy_draws_what_the_original_would_have_drawn():
    dropout = Dropout(0.5)
    dropout.mask(torch.zeros(13))
    twin = copy.deepcopy(dropout)
    assert torch.equal(twin.mask(torch.zeros(41)), dropout.mask(torch.zeros(41)))


def test_a_rate_close_to_one_leaves_some():
    assert mask(0.9999, (100_000,)).unique().tolist() == [0.0, 256.0]
