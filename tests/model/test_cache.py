import dataclasses

import numpy as np
import pytest
import torch

from qdt_rl.model.cache import KeyValueCache, keys_and_values
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config

LAYERS, HEADS, D_HEAD, COLUMNS = 2, 3, 5, 11
HIDDEN, SEEN = -np.inf, 0.0


def filled(starts, end, columns=COLUMNS):
    """A cache whose numbers all differ, and whose empty columns hold what memory may hold."""
    shape = (LAYERS, 2, len(starts), HEADS, columns, D_HEAD)
    pairs = torch.arange(np.prod(shape), dtype=torch.float32).view(shape)
    pairs[..., end:, :] = torch.nan
    return KeyValueCache(pairs, np.array(starts), end)


def test_a_mask_by_hand():
    """Two rows that see columns from 1 and from 3 on, and two tokens at 4 and 5."""
    expected = [
        [[SEEN, SEEN, SEEN, SEEN, HIDDEN], [SEEN, SEEN, SEEN, SEEN, SEEN]],
        [[HIDDEN, HIDDEN, SEEN, SEEN, HIDDEN], [HIDDEN, HIDDEN, SEEN, SEEN, SEEN]],
    ]
    mask = filled([1, 3], end=4).mask(2)
    assert mask.dtype == torch.float32
    np.testing.assert_array_equal(mask, np.repeat(expected, HEADS, axis=0))


def test_a_token_that_its_row_does_not_see_sees_itself():
    mask = filled([5, 4], end=4).mask(2)
    np.testing.assert_array_equal(mask[0], [[SEEN, HIDDEN], [HIDDEN, SEEN]])
    np.testing.assert_array_equal(mask[HEADS], [[SEEN, HIDDEN], [SEEN, SEEN]])


def test_rows_that_see_the_same_share_one_mask():
    mask = filled([2, 2, 2], end=4).mask(2)
    np.testing.assert_array_equal(mask, [[SEEN, SEEN, SEEN, HIDDEN], [SEEN, SEEN, SEEN, SEEN]])


def test_storage_is_shared_while_there_is_room():
    model = DecisionTransformer(model_config("dt", 5, 2, d_model=24, n_heads=3)).double()
    empty = KeyValueCache.empty(model, n_rows=2, n_columns=COLUMNS)
    assert (tuple(empty.pairs.shape), empty.pairs.dtype) == ((3, 2, 2, 3, COLUMNS, 8), torch.float64)
    assert (empty.starts.tolist(), empty.end) == ([0, 0], 0)
    last = filled([0, 1], end=COLUMNS - 3)
    assert empty.reserve(3) is empty
    assert last.reserve(3) is last
    assert filled([0, 1], end=COLUMNS - 3).reserve(4).pairs is not last.pairs


@pytest.mark.parametrize("reason", ["no room", "claimed by another"])
def test_a_copy_holds_what_any_row_sees_from_its_first_column_on(reason):
    cache = filled([4, 2], end=COLUMNS - 3)
    if reason != "no room":
        assert cache.reserve(3) is cache
    copy = cache.reserve(4 if reason == "no room" else 3)
    assert (copy.starts.tolist(), copy.end) == ([2, 0], COLUMNS - 5)
    assert copy.pairs.shape == cache.pairs.shape
    assert torch.equal(copy.pairs[..., : copy.end, :], cache.pairs[..., 2 : cache.end, :])
    assert copy.reserve(3) is copy  # claims are of one storage


@pytest.mark.parametrize("lengths", [[3, 1], [6, 2]])
def test_replaced_rows_end_where_the_kept_ones_do(lengths):
    """Rows 0 and 2 of three are replaced, by fewer and by more tokens than the kept one sees."""
    cache = filled([1, 4, 0], end=8)
    pairs = -torch.arange(1.0, 1 + LAYERS * 2 * 2 * HEADS * 6 * D_HEAD).view(LAYERS, 2, 2, HEADS, 6, D_HEAD)
    new = cache.replace_rows(np.array([True, False, True]), pairs, np.array(lengths))
    assert new.end == max(4, lengths[0])
    assert new.starts.tolist() == [new.end - lengths[0], new.end - 4, new.end - lengths[1]]
    for row, source, length in ((0, pairs[:, :, 0], lengths[0]), (2, pairs[:, :, 1], lengths[1])):
        assert torch.equal(new.pairs[:, :, row, :, new.end - length : new.end], source[:, :, :, :length])
    assert torch.equal(new.pairs[:, :, 1, :, new.end - 4 : new.end], cache.pairs[:, :, 1, :, 4:8])
    assert new.pairs[..., : new.end, :].isfinite().all()  # masked, but multiplied


def test_all_rows_may_be_replaced():
    pairs = torch.ones(LAYERS, 2, 2, HEADS, 6, D_HEAD)
    new = filled([0, 0], end=8).replace_rows(np.array([True, True]), pairs, np.array([6, 2]))
    assert (new.starts.tolist(), new.end) == ([0, 4], 6)


def test_a_cache_is_a_value_that_is_compared_by_identity():
    cache = filled([0, 0], end=8)
    assert cache != filled([0, 0], end=8)
    assert {cache: 1}[cache] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        cache.end = 5


def test_keys_and_values_are_those_of_each_layers_normed_input(monkeypatch):
    model = DecisionTransformer(model_config("qdt", 5, 2, d_model=24, n_heads=3)).eval()
    tokens = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0))
    with monkeypatch.context() as patch:
        patch.setattr(model.layers[-1], "complete", None)  # the rest of the last block is not computed
        pairs = keys_and_values(model, tokens)
    assert pairs.shape == (3, 2, 2, 3, 7, 8)
    for layer, block in enumerate(model.layers):
        _, key, value = block.attention.project(block.attention_norm(tokens))
        torch.testing.assert_close(pairs[layer], torch.stack([key, value]))
        tokens = block(tokens)
