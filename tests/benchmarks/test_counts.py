"""What makes the library fast, held by counts and not by clocks: these cannot fail for a busy machine."""

import sys
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from qdt_rl.config import TrainConfig
from qdt_rl.data.generation import generate_dataset
from qdt_rl.data.sampler import WindowSampler
from qdt_rl.data.trajectories import Trajectories
from qdt_rl.model.stepper import Stepper
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import VARIANTS, model_config
from qdt_rl.policy.acting import Actor
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.history import History
from qdt_rl.training import Trainer
from tests.benchmarks.products import Product, RecordProducts

S, A, K, D, H, L, HIDDEN, CHANNELS = 5, 2, 7, 24, 3, 3, 29, 3
SIZES = {"d_model": D, "n_heads": H, "n_layers": L, "context_length": K}


def config(variant):
    hidden_size = CHANNELS * HIDDEN if variant == "wide-dt" else HIDDEN
    return model_config(variant, S, A, hidden_size=hidden_size, **SIZES)


def trajectories():
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, 41, 3, 97])
    n_steps = int(offsets[-1])
    return Trajectories(
        rng.normal(size=(n_steps, S)).astype(np.float32),
        rng.uniform(-1, 1, size=(n_steps, A)).astype(np.float32),
        rng.normal(size=n_steps).astype(np.float32),
        offsets,
    )


def products_of_a_step(variant: str, precision: str, batch_size: int) -> list[Product]:
    trainer = Trainer(DecisionTransformer(config(variant)), TrainConfig(precision=precision), device="cpu")
    windows = WindowSampler(trajectories(), K, batch_size, seed=0).sample()
    with RecordProducts() as record:
        trainer.update(windows)
    return record.products


def multiplications(products: list[Product]) -> int:
    return sum(product.multiplications for product in products)


def expected_multiplications(variant: str, batch_size: int) -> int:
    """By hand. Backward costs twice forward, but for the embeddings, whose inputs need no gradient."""
    states, tokens = batch_size * K, batch_size * 3 * K
    hidden = HIDDEN if variant in ("dt", "q-attention") else CHANNELS * HIDDEN
    embedding = states * (1 + S + A) * D
    head = states * (D * D + D * A)
    n_asking = [tokens] * (L - 1) + [states]  # the last block is read out at one token in three
    blocks = sum(
        tokens * 2 * D * D  # keys and values
        + asking * 2 * D * D  # queries, output projection
        + asking * 3 * K * 2 * D  # scores, attended values
        + asking * 2 * D * hidden
        for asking in n_asking
    )
    entanglement = L * D**3 if VARIANTS[variant]["attention"] == "entangled" else 0
    interference = L * CHANNELS * D if VARIANTS[variant]["n_channels"] > 1 else 0
    return 2 * embedding + 3 * (blocks + head + entanglement + interference)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_step_multiplies_no_more_than_it_must(variant, precision):
    for batch_size in (2, 5):
        products = products_of_a_step(variant, precision, batch_size)
        assert multiplications(products) == expected_multiplications(variant, batch_size)


def test_a_training_step_multiplies_in_the_precision_that_is_asked_for():
    found = {
        precision: {
            operand.dtype
            for product in products_of_a_step("qdt", precision, 2)
            for operand in product.operands
        }
        for precision in ("32", "bf16-mixed")
    }
    assert found["32"] == {torch.float32}
    assert torch.bfloat16 in found["bf16-mixed"]


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_the_number_of_matrix_products_in_a_training_step(precision):
    counts = {variant: len(products_of_a_step(variant, precision, 2)) for variant in VARIANTS}
    # A block: queries with keys and values, output, up, down, scores, attended values; the last one has its
    # queries apart. Backward has two for each; the embeddings have one, since no gradient flows into data.
    plain = 2 * 3 + 3 * (6 * L + 1 + 2)
    assert counts == {
        "dt": plain,
        "wide-dt": plain,
        "q-attention": plain + 3 * L,  # entanglement and interference: products of weights alone
        "q-feedforward": plain + 3 * L,
        "qdt": plain + 6 * L,
    }


@pytest.mark.parametrize(
    "variants", [("dt", "q-attention"), ("wide-dt", "q-feedforward"), ("wide-dt", "qdt")]
)
def test_entanglement_and_interference_add_no_product_over_tokens(variants):
    extra = {
        batch_size: np.diff([multiplications(products_of_a_step(v, "32", batch_size)) for v in variants])[0]
        for batch_size in (2, 5)
    }
    assert extra[2] == extra[5] > 0


def test_the_fused_attention_counts_as_the_products_that_it_consists_of():
    fused = multiplications(products_of_a_step("qdt", "32", 2))
    assert fused == multiplications(products_of_a_step("qdt", "bf16-mixed", 2))


def tokens_by_step(monkeypatch, sliding_window: bool, n_rows: int, n_steps: int) -> list[float]:
    """Return how many tokens enter the transformer at each step of acting, for each row."""
    actor = Actor(DecisionTransformer(config("qdt")), sliding_window)
    history, memory, counts = History.empty("test", n_rows, K, S, A), None, np.zeros(n_steps)
    observations, targets = np.ones((n_rows, S), np.float32), np.ones(n_rows, np.float32)
    step = 0

    def counted(embed):
        def count(*inputs):
            tokens = embed(*inputs)
            counts[step] += tokens[..., 0].numel() / n_rows
            return tokens

        return count

    monkeypatch.setattr(DecisionTransformer, "embed", counted(DecisionTransformer.embed))
    monkeypatch.setattr(Stepper, "_embed", counted(Stepper._embed))
    for step in range(n_steps):  # noqa: B007  # count reads it
        history = history.observe(observations, targets, np.zeros(n_rows, np.bool_))
        actions, memory = actor.act(history, memory)
        history = history.act(actions)
    return counts.tolist()


def test_acting_computes_three_tokens_a_step_and_renews_half_a_window_now_and_then(monkeypatch):
    renewal = 3 * (K // 2)
    period = -(-K // 2)
    counts = tokens_by_step(monkeypatch, sliding_window=False, n_rows=2, n_steps=K + 3 * period)
    assert counts == [3] * K + 3 * ([3 + renewal] + [3] * (period - 1))


class CountCalls(TorchDispatchMode):
    """Counts what torch dispatches of what runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.calls[operator.name()] += 1
        return operator(*arguments, **options or {})


def test_a_step_of_one_environment_calls_torch_rarely():
    """With three tokens the calls cost as much as the products; there were 127 once."""
    actor = Actor(DecisionTransformer(config("qdt")), sliding_window=False)
    history, memory = History.empty("test", 1, K, S, A), None
    for _ in range(3):
        history = history.observe(np.ones((1, S), np.float32), np.ones(1, np.float32), np.zeros(1, np.bool_))
        with CountCalls() as count:
            actions, memory = actor.act(history, memory)
        history = history.act(actions)
    assert count.calls["aten::linear"] == 4 * L + 3
    assert count.calls["aten::scaled_dot_product_attention"] == L
    assert count.calls.total() <= 95, count.calls


@pytest.mark.parametrize("n_rows", [1, 20])  # few rows attend in one fused operation, many in two products
def test_a_step_multiplies_three_tokens_and_in_the_last_block_one(n_rows):
    actor = Actor(DecisionTransformer(config("qdt")), sliding_window=False)
    history, memory = History.empty("test", n_rows, K, S, A), None
    observations, targets = np.ones((n_rows, S), np.float32), np.ones(n_rows, np.float32)
    for _ in range(2):
        history = history.observe(observations, targets, np.zeros(n_rows, np.bool_))
        with RecordProducts() as record:
            actions, memory = actor.act(history, memory)
        history = history.act(actions)
    embedding = (1 + S + A) * 3 * D
    head = D * D + D * A
    n_columns = 5  # (R, s) of the first step and (a, R, s) of the second; the first action's place is hidden
    blocks = sum(
        3 * 3 * D * D + asking * (D * D + 2 * D * CHANNELS * HIDDEN + 2 * n_columns * D)
        for asking in [3] * (L - 1) + [1]
    )
    assert multiplications(record.products) == n_rows * (embedding + blocks + head)


def test_a_sliding_window_computes_every_token_at_every_step(monkeypatch):
    assert tokens_by_step(monkeypatch, sliding_window=True, n_rows=2, n_steps=K + 2)[-2:] == [3 * K, 3 * K]


def function_calls(run) -> Counter:
    calls = Counter()

    def count(frame, event, argument):
        if event == "call":
            calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            calls[argument.__qualname__] += 1

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def test_a_step_of_the_vector_environment_does_nothing_for_each_row():
    calls = []
    for n_rows in (1000, 3000):  # enough that the command of some turns at any step
        envs = gym.make_vec("QDTSynthetic-v0", n_rows)
        envs.reset(seed=0)
        for _ in range(7):  # whatever is cached at first
            envs.step(np.zeros((n_rows, 3), np.float32))
        calls.append(function_calls(lambda envs=envs, n=n_rows: envs.step(np.zeros((n, 3), np.float32))))
        envs.close()
    assert calls[0] == calls[1]


def test_sampling_does_nothing_for_each_window():
    small, large = (WindowSampler(trajectories(), K, n, seed=0) for n in (3, 300))
    large.sample(), small.sample()  # whatever is cached at first
    calls = function_calls(small.sample)
    assert calls == function_calls(large.sample)
    assert calls["ndarray.take"] == 4  # each array is copied out of the data once


def test_a_batch_goes_to_the_device_without_a_second_copy(monkeypatch):
    trainer = Trainer(DecisionTransformer(config("dt")), TrainConfig(), device="cpu")
    windows = WindowSampler(trajectories(), K, 3, seed=0).sample()
    wrapped, from_numpy = [], torch.from_numpy

    def recorded(array):
        wrapped.append((array, from_numpy(array)))
        return wrapped[-1][1]

    monkeypatch.setattr(torch, "from_numpy", recorded)
    trainer.update(windows)
    assert len(wrapped) == len(windows)
    assert all(array is given for (array, _), given in zip(wrapped, windows, strict=True))
    assert all(np.shares_memory(array, tensor.numpy()) for array, tensor in wrapped)


def test_acting_weights_are_folded_when_the_weights_change_and_not_before(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = generate_dataset("qdt/synthetic/random-v0", n_episodes=1)
    folds, fold = [], DecisionTransformer.fold
    monkeypatch.setattr(DecisionTransformer, "fold", lambda model: folds.append(model) or fold(model))
    policy = QDTPolicy(policy_kwargs={"d_model": D, "n_heads": H}, device="cpu").fit(dataset, n_steps=1)
    state = None
    for _ in range(3):
        _, state = policy.predict(np.zeros(11), 1.0, state)
    assert len(folds) == 1
    policy.fit(dataset, n_steps=1)
    policy.predict(np.zeros(11), 1.0)
    policy.predict(np.zeros(11), 1.0)
    assert len(folds) == 2
