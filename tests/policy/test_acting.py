"""Cached acting against the plain model, on the context that the documentation promises."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config
from qdt_rl.policy.acting import Actor
from qdt_rl.policy.history import History

S, A = 5, 2


def build(context_length=6, variant="qdt"):
    settings = {"d_model": 24, "n_heads": 3, "context_length": context_length, "max_timestep": 20}
    model = DecisionTransformer(model_config(variant, S, A, **settings)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.scaling.return_scale.fill_(3.0)
    model.scaling.observation_mean.fill_(0.5)
    return model


def empty(model, n_rows):
    return History.empty("owner", n_rows, model.config.context_length, S, A)


def inputs(rng, n_rows):
    return (
        rng.normal(size=(n_rows, S)).astype(np.float32),
        rng.normal(size=n_rows).astype(np.float32) * 3,
    )


def act(actor, history, memory, observations, targets, starts):
    history = history.observe(observations, targets, starts)
    actions, memory = actor.act(history, memory)
    return actions, history.act(actions), memory


class SlowActor:
    """One episode, its context a plain list, a full forward pass of the unfolded model at each step."""

    def __init__(self, model, sliding_window):
        self.model, self.sliding_window = model, sliding_window
        self.begin()

    def begin(self):
        self.context, self.timestep = [], 0

    def act(self, observation, target):
        context_length = self.model.config.context_length
        if len(self.context) == context_length:
            n_kept = context_length - 1 if self.sliding_window else context_length // 2
            self.context = self.context[len(self.context) - n_kept :]
        self.context.append([target, observation, np.zeros(A, np.float32), self.timestep])
        self.timestep += 1
        window = (torch.from_numpy(np.stack(column))[None] for column in zip(*self.context, strict=True))
        with torch.no_grad():
            action = self.model.scaling.unscale_actions(self.model(*window)[0, -1]).numpy()
        self.context[-1][2] = action
        return action


@pytest.mark.parametrize("sliding_window", [False, True])
@pytest.mark.parametrize("context_length", [1, 2, 5, 6])
def test_acting_equals_the_full_forward_on_the_same_context(context_length, sliding_window):
    """Three rows that restart at different times, 60 steps: past the timestep table's end, too."""
    model, rng = build(context_length), np.random.default_rng(0)
    actor, slow = Actor(model, sliding_window), [SlowActor(model, sliding_window) for _ in range(3)]
    history, memory, longest = empty(model, 3), None, 0
    for step in range(60):
        observations, targets = inputs(rng, 3)
        starts = (rng.random(3) < 0.04) | (step == 0)
        actions, history, memory = act(actor, history, memory, observations, targets, starts)
        for row in range(3):
            if starts[row]:
                slow[row].begin()
            np.testing.assert_allclose(
                actions[row], slow[row].act(observations[row], targets[row]), atol=1e-5
            )
            longest = max(longest, slow[row].timestep)
    assert longest > model.config.max_timestep


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_batch_agrees_with_its_rows_one_by_one(seed, n_rows):
    model, rng = build(), np.random.default_rng(seed)
    actor = Actor(model, sliding_window=False)
    batch, rows = (empty(model, n_rows), None), [(empty(model, 1), None) for _ in range(n_rows)]
    for step in range(20):
        observations, targets = inputs(rng, n_rows)
        starts = (rng.random(n_rows) < 0.1) | (step == 0)
        actions, *batch = act(actor, *batch, observations, targets, starts)
        for row in range(n_rows):
            one = slice(row, row + 1)
            action, *rows[row] = act(actor, *rows[row], observations[one], targets[one], starts[one])
            np.testing.assert_allclose(actions[one], action, atol=1e-5)


def test_a_state_can_be_continued_twice_and_in_any_order():
    """Branching: what one continuation appends is not seen by another, or by the state itself."""
    model, rng = build(), np.random.default_rng(1)
    actor = Actor(model, sliding_window=False)
    history, memory = empty(model, 2), None
    starts = np.zeros(2, bool)
    for step in range(17):
        observations, targets = inputs(rng, 2)
        first = act(actor, history, memory, observations, targets, starts)
        other = act(actor, history, memory, *inputs(rng, 2), starts)
        again = act(actor, history, memory, observations, targets, starts)
        np.testing.assert_array_equal(first[0], again[0])
        next_inputs = inputs(rng, 2)
        continued = act(actor, first[1], first[2], *next_inputs, starts)[0]
        np.testing.assert_allclose(
            act(actor, again[1], again[2], *next_inputs, starts)[0], continued, atol=1e-6
        )
        _, history, memory = first if step % 2 else other


def test_threads_may_continue_one_state_at_once():
    model, rng = build(), np.random.default_rng(1)
    actor = Actor(model, sliding_window=False)
    starts, results = np.zeros(1, bool), {}
    _, history, memory = act(actor, empty(model, 1), None, *inputs(rng, 1), starts)
    branches = [[inputs(rng, 1) for _ in range(15)] for _ in range(8)]

    def play(name, branch):
        here, known, actions = history, memory, []
        for step in branch:
            action, here, known = act(actor, here, known, *step, starts)
            actions.append(action)
        results[name] = np.concatenate(actions)

    threads = [threading.Thread(target=play, args=(i, branch)) for i, branch in enumerate(branches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, branch in enumerate(branches):
        play("alone", branch)
        np.testing.assert_allclose(results[i], results["alone"], atol=1e-6)


def test_an_actor_knows_when_the_weights_have_changed():
    model = build()
    actor = Actor(model, sliding_window=False)
    assert actor.is_current(model)
    with torch.no_grad():
        model.head.action.bias.add_(1)
    assert not actor.is_current(model)
    actor = Actor(model, sliding_window=False)
    model.scaling.return_scale.fill_(2.0)
    assert not actor.is_current(model)
    actor = Actor(model, sliding_window=False)
    model.load_state_dict(build().state_dict())
    assert not actor.is_current(model)
    actor = Actor(model, sliding_window=False)
    model.head.action.bias = torch.nn.Parameter(torch.zeros_like(model.head.action.bias))
    assert not actor.is_current(model)
    actor = Actor(model, sliding_window=False)
    model.head = build().head
    assert not actor.is_current(model)
    assert not actor.is_current(build())


def test_memory_of_other_weights_is_computed_anew_from_the_history():
    model, rng = build(), np.random.default_rng(4)
    old = Actor(model, sliding_window=False)
    with torch.no_grad():
        model.head.action.weight.mul_(-1)
        model.layers[0].attention.query_key_value.weight.mul_(-1)
    new = Actor(model, sliding_window=False)
    history, memory = empty(model, 2), None
    for _ in range(4):
        _, history, memory = act(old, history, memory, *inputs(rng, 2), np.array([False, False]))
    step = inputs(rng, 2)
    expected, _, _ = act(new, history, None, *step, np.zeros(2, bool))
    got, _, _ = act(new, history, memory, *step, np.zeros(2, bool))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("sliding_window", [False, True])
def test_acting_in_bfloat16_agrees_to_one_percent_of_the_range(sliding_window):
    """With float32, and a batch with its rows; actions range from -1 to 1."""
    model, rng = build(), np.random.default_rng(0)
    exact, rounded = Actor(model, sliding_window), Actor(model, sliding_window, bfloat16=True)
    left = right = (empty(model, 3), None)
    rows = [(empty(model, 1), None) for _ in range(3)]
    for step in range(25):
        observations, targets = inputs(rng, 3)
        starts = (rng.random(3) < 0.1) | (step == 0)
        expected, *left = act(exact, *left, observations, targets, starts)
        got, *right = act(rounded, *right, observations, targets, starts)
        assert np.abs(got - expected).mean() < 0.02
        for row in range(3):
            one = slice(row, row + 1)
            alone, *rows[row] = act(rounded, *rows[row], observations[one], targets[one], starts[one])
            assert np.abs(alone - got[one]).max() < 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_ten_thousand_cached_steps_equal_ten_thousand_full_forwards():
    """One episode, far beyond the last timestep embedding; each side feeds on its own actions."""
    model, rng = build(), np.random.default_rng(8)
    actor, slow = Actor(model, sliding_window=False), SlowActor(model, sliding_window=False)
    history, memory, largest = empty(model, 1), None, 0.0
    for step in range(10_000):
        observations, targets = inputs(rng, 1)
        actions, history, memory = act(actor, history, memory, observations, targets, np.array([step == 0]))
        largest = max(largest, np.abs(actions[0] - slow.act(observations[0], targets[0])).max())
    assert largest < 1e-4


LEAKS = """
import gc, os
import numpy as np, torch
from qdt_rl.model.transformer import DecisionTransformer
from qdt_rl.model.variants import model_config
from qdt_rl.policy.acting import Actor
from qdt_rl.policy.history import History

torch.set_num_threads(1)
settings = {"d_model": 8, "n_heads": 1, "n_layers": 1, "context_length": 6}
model = DecisionTransformer(model_config("qdt", 5, 2, **settings)).eval()
for sliding_window in (False, True):
    actor, observations = Actor(model, sliding_window), np.ones((4, 5), np.float32)
    targets = np.ones(4, np.float32)
    for episode in range(301):
        history, memory = History.empty("owner", 4, 6, 5, 2), None
        for step in range(50):
            history = history.observe(observations, targets, np.full(4, step == 0))
            actions, memory = actor.act(history, memory)
            history = history.act(actions)
        if episode % 100 == 0:
            gc.collect()
            print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own count of memory")
def test_acting_leaves_memory_flat():
    """15,000 calls each way, in a process without shape checks, which keep memory themselves."""
    run = subprocess.run([sys.executable, "-c", LEAKS], capture_output=True, text=True, check=True)
    first, *cached = [int(line) for line in run.stdout.split()[:4]]
    assert max(cached) - first < 2e6
    first, *sliding = [int(line) for line in run.stdout.split()[4:]]
    assert max(sliding) - first < 2e6
