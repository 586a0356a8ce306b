"""The physics of the chain: pure functions of a whole batch, and the only copy of the equations.

Five masses, each in a double well with minima at ±1, are coupled by springs; masses 1, 3 and 5 are actuated:

    a_i = k (q_i − q_i³) + κ (q_{i−1} − 2 q_i + q_{i+1}) − c v_i + F u_i      free ends: q_0 = q_1, q_6 = q_5
    v  ← v + dt·a + σ √dt ξ,   ξ ~ N(0, I)
    q  ← q + dt·v
    r  = 4 (1 − mean_i (q_i − g)²) − 0.2 ‖u‖²

Arrays are float64 with one column per environment, so that each operation runs over contiguous memory. A
column of a batch equals the batch of one, bit for bit: all is element by element, with sums over masses
written out, since NumPy's own sums and matrix products promise no order of additions (`np.sum` of eight terms
adds in another order for one column than for two).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdt_envs.params import Params

N_MASSES = 5
ACTUATED = slice(0, N_MASSES, 2)  # masses 1, 3 and 5
PASSIVE = slice(1, N_MASSES, 2)  # masses 2 and 4
N_ACTUATORS = 3
STATE_LIMIT = 10.0  # positions and velocities are clipped to ± this; in use they stay below 3

N_RESET_UNIFORMS = 3 + N_ACTUATORS  # well, command, flip phase, and each actuator's polarity
N_RESET_NORMALS = 2 * N_MASSES

_POSITION_SPREAD = 0.2
_VELOCITY_SPREAD = 0.1

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


class State(NamedTuple):
    """The full state of N chains, hidden parts included; the last axis of every field is the environment.

    Attributes:
        motion: (10, N) float64; the five positions, then the five velocities.
        command: (N,) float64; g, −1 or +1, the well that the chain should sit in.
        flip_in: (N,) int64; steps until the command changes its sign, at least 1.
        polarity: (3, N) float64; the sign with which each actuator acts.
        unpaid: (N,) float64; the sum of the rewards that have not been paid yet.
        payday_in: (N,) int64; steps until they are paid, at least 1.
    """

    motion: Floats
    command: Floats
    flip_in: Steps
    polarity: Floats
    unpaid: Floats
    payday_in: Steps


def reset(params: Params, uniforms: Floats, normals: Floats) -> State:
    """Begin N episodes: all masses near one well chosen at random, a random command and flip phase.

    The polarity's uniforms are drawn whether it is hidden or not, so that a seed gives the same episode.

    Args:
        params: The physics.
        uniforms: (6, N) uniform draws in [0, 1).
        normals: (10, N) standard normal draws.

    Returns:
        The initial state.
    """
    well = _sign(uniforms[0])
    motion = np.concatenate(
        [well + _POSITION_SPREAD * normals[:N_MASSES], _VELOCITY_SPREAD * normals[N_MASSES:]]
    )
    signs = _sign(uniforms[3:])
    return State(
        motion=motion,
        command=_sign(uniforms[1]),
        flip_in=1 + (uniforms[2] * params.command_period).astype(np.int64),
        polarity=signs if params.hidden_polarity else np.ones_like(signs),
        unpaid=np.zeros_like(well),
        payday_in=np.full(well.shape, params.reward_delay, np.int64),
    )


def step(params: Params, state: State, actions: Floats, noise: Floats) -> tuple[State, Floats]:
    """Advance N chains by one step of semi-implicit Euler–Maruyama.

    The reward is that of the new positions, the clipped actions and the command that was observed; the
    command flips afterwards.

    Args:
        params: The physics.
        state: The state of the N chains; left as it is.
        actions: (3, N), finite; clipped to [−1, 1].
        noise: (5, N) standard normal ξ.

    Returns:
        The next state, which may share unchanged fields with ``state``, and the paid rewards (N,).
    """
    inputs = actions.clip(-1.0, 1.0)
    motion = _advance(params, state, inputs, noise)
    rewards = _reward(motion[:N_MASSES], state.command, inputs)
    command, flip_in = _flip(params, state)
    paid, unpaid, payday_in = _pay(params, state, rewards)
    return State(motion, command, flip_in, state.polarity, unpaid, payday_in), paid


def observe(state: State) -> NDArray[np.float32]:
    """Return the observations (N, 11): five positions, five velocities, the command."""
    observations = np.empty((state.command.size, 2 * N_MASSES + 1), np.float32)
    observations[:, :-1] = state.motion.T
    observations[:, -1] = state.command
    return observations


def _advance(params: Params, state: State, inputs: Floats, noise: Floats) -> Floats:
    positions, velocities = state.motion[:N_MASSES], state.motion[N_MASSES:]
    acceleration = params.stiffness * (positions - positions * positions * positions)
    acceleration -= params.damping * velocities
    tension = params.coupling * (positions[1:] - positions[:-1])
    left, right, driven = acceleration[:-1], acceleration[1:], acceleration[ACTUATED]
    left += tension
    right -= tension
    driven += params.force * (state.polarity * inputs)

    motion = np.empty_like(state.motion)
    new_positions, new_velocities = motion[:N_MASSES], motion[N_MASSES:]
    np.add(velocities, params.dt * acceleration, out=new_velocities)
    new_velocities += (params.noise_std * math.sqrt(params.dt)) * noise
    np.add(positions, params.dt * new_velocities, out=new_positions)
    motion.clip(-STATE_LIMIT, STATE_LIMIT, out=motion)
    return motion


def _reward(positions: Floats, command: Floats, inputs: Floats) -> Floats:
    errors = positions - command
    errors *= errors
    efforts = inputs * inputs
    pairs = errors[0:2] + errors[2:4]
    squared_error = pairs[0] + pairs[1] + errors[4]
    squared_effort = efforts[0] + efforts[1] + efforts[2]
    rewards: Floats = 4.0 - ((4.0 / N_MASSES) * squared_error + 0.2 * squared_effort)
    return rewards


def _flip(params: Params, state: State) -> tuple[Floats, Steps]:
    """Return the next command, and the steps until it flips again."""
    flip_in = state.flip_in - 1
    if np.count_nonzero(flip_in) == flip_in.size:  # nobody's turn, the usual case
        return state.command, flip_in
    flips = flip_in == 0
    return np.where(flips, -state.command, state.command), np.where(flips, params.command_period, flip_in)


def _pay(params: Params, state: State, rewards: Floats) -> tuple[Floats, Floats, Steps]:
    """Return what is paid now, what stays unpaid, and the steps until that is paid."""
    if params.reward_delay == 1:
        return rewards, state.unpaid, state.payday_in
    owed = state.unpaid + rewards
    payday_in = state.payday_in - 1
    is_payday = payday_in == 0
    paid, unpaid = np.where(is_payday, owed, 0.0), np.where(is_payday, 0.0, owed)
    return paid, unpaid, np.where(is_payday, params.reward_delay, payday_in)


def _sign(uniforms: Floats) -> Floats:
    return np.where(uniforms < 0.5, -1.0, 1.0)
