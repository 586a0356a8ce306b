"""Each argument's check, by its message, through both environments."""

import gymnasium
import numpy as np
import pytest

import qdt_envs
from qdt_envs.params import Params

BAD_VALUES = [
    ("stiffness", -1.0, "stiffness must be a number from 0 to 1000, but -1.0 was given"),
    ("coupling", float("nan"), "coupling must be a number from 0 to 1000, but nan was given"),
    ("damping", float("inf"), "damping must be a number from 0 to 1000, but inf was given"),
    ("force", "strong", "force must be a number from 0 to 1000, but 'strong' was given"),
    ("noise_std", True, "noise_std must be a number from 0 to 1000, but True was given"),
    ("dt", 0.0, "dt must be a number above 0, at most 1, but 0.0 was given"),
    ("dt", 1.5, "dt must be a number above 0, at most 1, but 1.5 was given"),
    ("command_period", 0, "must be a whole number from 1 to 1,000,000,000, but 0 was given"),
    (
        "command_period",
        2.5,
        "must be a whole number from 1 to 1,000,000,000, but 2.5 was given",
    ),
    (
        "reward_delay",
        False,
        "must be a whole number from 1 to 1,000,000,000, but False was given",
    ),
    ("reward_delay", 10**30, "reward_delay must be a whole number from 1 to 1,000,000,000"),
    ("hidden_polarity", 1, "hidden_polarity must be True or False, but 1 was given"),
    (
        "stifness",
        1.0,
        "has no argument 'stifness'. Its physics has the arguments stiffness, coupling, damping",
    ),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_a_bad_argument_is_refused_by_name(make, name, value, message):
    with pytest.raises(qdt_envs.EnvArgumentError) as caught:
        make("QDTSynthetic-v0", **{name: value})
    assert message in str(caught.value)


def test_the_limits_themselves_and_numpy_numbers_are_allowed():
    Params(stiffness=0, coupling=1000.0, dt=1, command_period=np.int64(1), noise_std=np.float32(0.5))


def test_the_extremes_stay_finite():
    envs = gymnasium.make_vec(
        "QDTSynthetic-v0",
        num_envs=3,
        stiffness=1000,
        coupling=1000,
        damping=1000,
        force=1000,
        dt=1,
        noise_std=1000,
    )
    envs.reset(seed=0)
    for _ in range(20):
        observations, rewards, *_ = envs.step(np.ones((3, 3), np.float32))
        assert np.isfinite(observations).all()
        assert np.isfinite(rewards).all()
