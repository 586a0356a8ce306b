"""The physics against numbers worked by hand, and against the equations written out in slow, plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdt_envs import dynamics
from qdt_envs.params import Params

QUIET = Params(noise_std=0.0)


def chain(q, v, *, command=1.0, flip_in=100, polarity=(1.0, 1.0, 1.0), unpaid=0.0, payday_in=1):
    """Return the state of one chain."""
    return dynamics.State(
        motion=np.array([*q, *v])[:, np.newaxis],
        command=np.array([command]),
        flip_in=np.array([flip_in]),
        polarity=np.array(polarity)[:, np.newaxis],
        unpaid=np.array([unpaid]),
        payday_in=np.array([payday_in]),
    )


def column(*values):
    return np.array(values, dtype=np.float64)[:, np.newaxis]


Q, V = (0.5, -0.5, 1.0, 0.0, -1.0), (0.1, 0.0, -0.2, 0.3, 0.0)
NO_NOISE = np.zeros((5, 1))


def test_a_step_worked_by_hand():
    # Mass 1: a = (0.5 − 0.125) + 0.3 (0.5 − 1 − 0.5) − 0.02 + 1.5 · 0.4 = 0.655,
    # so v = 0.1 + 0.05 · 0.655 and q = 0.5 + 0.05 v.
    state, _ = dynamics.step(QUIET, chain(Q, V), column(0.4, -1.0, 0.2), NO_NOISE)
    np.testing.assert_allclose(state.motion[5:, 0], [0.13275, 0.01875, -0.3105, 0.297, 0.03], rtol=1e-14)
    expected = [0.5066375, -0.4990625, 0.984475, 0.01485, -0.9985]
    np.testing.assert_allclose(state.motion[:5, 0], expected, rtol=1e-14)


@pytest.mark.parametrize(("command", "expected"), [(1.0, -2.20428698675), (-1.0, -2.23116698675)])
def test_a_reward_worked_by_hand(command, expected):
    _, reward = dynamics.step(QUIET, chain(Q, V, command=command), column(0.4, -1.0, 0.2), NO_NOISE)
    assert reward[0] == pytest.approx(expected, rel=1e-12)


def test_a_chain_at_rest_in_the_commanded_well_earns_four():
    state, reward = dynamics.step(QUIET, chain([1.0] * 5, [0.0] * 5), np.zeros((3, 1)), NO_NOISE)
    assert reward[0] == 4.0
    np.testing.assert_array_equal(state.motion[:, 0], [1.0] * 5 + [0.0] * 5)


def test_noise_enters_the_velocity_with_the_root_of_dt():
    noise = column(1.0, -2.0, 0.0, 0.0, 0.0)
    quiet, _ = dynamics.step(QUIET, chain(Q, V), np.zeros((3, 1)), noise)
    noisy, _ = dynamics.step(Params(noise_std=0.05), chain(Q, V), np.zeros((3, 1)), noise)
    kick = 0.05 * math.sqrt(0.05)
    np.testing.assert_allclose((noisy.motion - quiet.motion)[5:, 0], [kick, -2 * kick, 0, 0, 0], atol=1e-16)
    np.testing.assert_allclose(
        (noisy.motion - quiet.motion)[:5, 0], [0.05 * kick, -0.1 * kick, 0, 0, 0], atol=1e-16
    )


def test_actions_are_clipped_in_the_force_and_in_the_reward():
    large, large_reward = dynamics.step(QUIET, chain(Q, V), column(7.0, -3.0, 0.5), NO_NOISE)
    clipped, clipped_reward = dynamics.step(QUIET, chain(Q, V), column(1.0, -1.0, 0.5), NO_NOISE)
    np.testing.assert_array_equal(large.motion, clipped.motion)
    assert large_reward == clipped_reward


def test_the_state_is_clipped_to_ten():
    weak = Params(noise_std=0.0, stiffness=0.0, coupling=0.0, damping=0.0)
    start = chain([9.9, -9.9, 0.0, 0.0, 0.0], [9.99, -9.99, 0.0, 0.0, 9.99])
    state, _ = dynamics.step(weak, start, column(1.0, 0.0, 1.0), NO_NOISE)
    np.testing.assert_allclose(state.motion[:2, 0], [10.0, -10.0])
    np.testing.assert_allclose(state.motion[[5, 9], 0], [10.0, 10.0])


def test_polarity_turns_the_force_and_not_the_reward():
    action = column(0.4, -0.7, 0.2)
    plain, reward = dynamics.step(QUIET, chain(Q, V), action, NO_NOISE)
    turned, turned_reward = dynamics.step(
        QUIET, chain(Q, V, polarity=(-1.0, 1.0, -1.0)), action * [[-1.0], [1.0], [-1.0]], NO_NOISE
    )
    np.testing.assert_array_equal(turned.motion, plain.motion)
    assert turned_reward == reward


def test_the_command_flips_after_the_reward_and_then_once_a_period():
    params = Params(noise_std=0.0, stiffness=0.0, coupling=0.0, damping=0.0, command_period=3)
    state, commands, rewards = chain([1.0] * 5, [0.0] * 5, flip_in=2), [], []
    for _ in range(9):
        state, reward = dynamics.step(params, state, np.zeros((3, 1)), NO_NOISE)
        commands.append(state.command[0])
        rewards.append(reward[0])
    assert commands == [1, -1, -1, -1, 1, 1, 1, -1, -1]
    assert rewards == [4, 4, -12, -12, -12, 4, 4, 4, -12]  # 4 (1 − 2²) = −12 in the wrong well


def test_delayed_rewards_are_paid_as_sums():
    params = Params(noise_std=0.0, reward_delay=3)
    state, twin = chain(Q, V, payday_in=3), chain(Q, V)
    paid, at_once = [], []
    for index in range(8):
        action = column(0.1 * index, -0.2, 0.3)
        state, reward = dynamics.step(params, state, action, NO_NOISE)
        twin, twin_reward = dynamics.step(QUIET, twin, action, NO_NOISE)
        paid.append(reward[0])
        at_once.append(twin_reward[0])
    np.testing.assert_array_equal(state.motion, twin.motion)
    expected = [0, 0, sum(at_once[0:3]), 0, 0, sum(at_once[3:6]), 0, 0]
    np.testing.assert_allclose(paid, expected, rtol=1e-14)
    assert state.unpaid[0] == pytest.approx(sum(at_once[6:8]))


def test_step_leaves_its_arguments_as_they_were():
    state, action, noise = chain(Q, V, flip_in=1), column(2.0, 0.3, -4.0), column(0.1, 0.2, 0.3, 0.4, 0.5)
    before = [field.copy() for field in (*state, action, noise)]
    dynamics.step(Params(reward_delay=2, command_period=1), state, action, noise)
    for field, copy in zip((*state, action, noise), before, strict=True):
        np.testing.assert_array_equal(field, copy)


@pytest.mark.parametrize(("uniform", "sign"), [(0.0, -1.0), (0.49, -1.0), (0.5, 1.0), (0.99, 1.0)])
def test_a_reset_worked_by_hand(uniform, sign):
    normals = np.arange(1.0, 11.0)[:, np.newaxis]
    uniforms = column(uniform, 1.0 - uniform - 1e-9, 0.3, uniform, 0.1, 0.9)
    state = dynamics.reset(Params(hidden_polarity=True, reward_delay=7), uniforms, normals)
    np.testing.assert_allclose(state.motion[:5, 0], sign + 0.2 * np.arange(1, 6))
    np.testing.assert_allclose(state.motion[5:, 0], 0.1 * np.arange(6, 11))
    assert state.command[0] == -sign
    assert state.flip_in[0] == 76  # floor(0.3 · 250) = 75 steps into the period's rest
    assert state.polarity[:, 0].tolist() == [sign, -1.0, 1.0]
    assert state.payday_in[0] == 7


def test_the_polarity_is_plus_one_unless_hidden():
    state = dynamics.reset(Params(), np.zeros((6, 2)), np.zeros((10, 2)))
    np.testing.assert_array_equal(state.polarity, np.ones((3, 2)))


@given(period=st.integers(1, 10**9))
def test_the_first_flip_comes_after_one_step_to_a_whole_period(period):
    uniforms = np.zeros((6, 2))
    uniforms[2] = [0.0, np.nextafter(1.0, 0.0)]
    state = dynamics.reset(Params(command_period=period), uniforms, np.zeros((10, 2)))
    assert state.flip_in.tolist() == [1, period]


def test_the_observation_is_positions_velocities_command():
    observations = dynamics.observe(chain(Q, V, command=-1.0))
    assert observations.dtype == np.float32
    np.testing.assert_array_equal(observations, np.array([[*Q, *V, -1.0]], np.float32))


def slow_step(p, q, v, g, u, polarity, noise):
    """Return q, v and the reward by the equations as documented, one mass at a time."""
    clipped = [min(max(x, -1.0), 1.0) for x in u]
    push = [polarity[0] * clipped[0], 0.0, polarity[1] * clipped[1], 0.0, polarity[2] * clipped[2]]
    new_q, new_v = [], []
    for i in range(5):
        left = q[i - 1] if i > 0 else q[0]
        right = q[i + 1] if i < 4 else q[4]
        a = p.stiffness * (q[i] - q[i] ** 3) + p.coupling * (left - 2 * q[i] + right) - p.damping * v[i]
        a += p.force * push[i]
        new_v.append(v[i] + p.dt * a + p.noise_std * math.sqrt(p.dt) * noise[i])
        new_q.append(q[i] + p.dt * new_v[i])
    new_q, new_v = ([min(max(x, -10.0), 10.0) for x in values] for values in (new_q, new_v))
    mean = sum((x - g) ** 2 for x in new_q) / 5
    return new_q, new_v, 4 * (1 - mean) - 0.2 * sum(x * x for x in clipped)


params_strategy = st.builds(
    Params,
    stiffness=st.floats(0, 3),
    coupling=st.floats(0, 2),
    damping=st.floats(0, 2),
    force=st.floats(0, 3),
    dt=st.floats(0.001, 0.2),
    noise_std=st.floats(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(params=params_strategy, seed=st.integers(0, 2**32), n_rows=st.integers(1, 7))
def test_a_batch_equals_the_plain_loop_and_bit_for_bit_its_own_columns(params, seed, n_rows):
    rng = np.random.default_rng(seed)
    state = dynamics.State(
        motion=rng.normal(0, 4, (10, n_rows)),
        command=rng.choice([-1.0, 1.0], n_rows),
        flip_in=rng.integers(1, 3, n_rows),
        polarity=rng.choice([-1.0, 1.0], (3, n_rows)),
        unpaid=rng.normal(size=n_rows),
        payday_in=np.ones(n_rows, np.int64),
    )
    actions, noise = rng.normal(0, 1, (3, n_rows)), rng.normal(size=(5, n_rows))
    batch, rewards = dynamics.step(params, state, actions, noise)
    for row in range(n_rows):
        motion = state.motion[:, row]
        q, v, reward = slow_step(
            params,
            motion[:5].tolist(),
            motion[5:].tolist(),
            state.command[row],
            actions[:, row].tolist(),
            state.polarity[:, row].tolist(),
            noise[:, row].tolist(),
        )
        np.testing.assert_allclose(batch.motion[:, row], [*q, *v], rtol=1e-9, atol=1e-9)
        assert rewards[row] == pytest.approx(reward, rel=1e-9, abs=1e-9)
        alone, reward_alone = dynamics.step(
            params,
            dynamics.State(*(field[..., [row]] for field in state)),
            actions[:, [row]],
            noise[:, [row]],
        )
        assert reward_alone[0] == rewards[row]
        for field, field_alone in zip(batch, alone, strict=True):
            np.testing.assert_array_equal(field[..., row], field_alone[..., 0])
