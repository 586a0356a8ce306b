"""What random actions and the expert reach: the 0 and the 100 of normalised scores."""

from typing import cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qdt_envs.controllers import EXPERT, Controller, RandomController
from qdt_envs.vector_env import SyntheticVectorEnv

# (random, expert), measured by `measure_reference_scores` over 4096 episodes: standard errors 3.6 and 4.4.
REFERENCE_SCORES = {
    "QDTSynthetic-v0": (-3920.8, 1750.7),
    "QDTSyntheticDelayed-v0": (-3920.8, 1750.7),
    "QDTSyntheticDelayed200-v0": (-3920.8, 1750.7),
    "QDTSyntheticHidden-v0": (-3921.8, 1750.7),
}


def measure_returns(controller: Controller, env_id: str, n_episodes: int, seed: int) -> NDArray[np.float64]:
    """Run one episode per row of a vector environment.

    Args:
        controller: The policy; it is shown the polarity.
        env_id: A registered id of this package.
        n_episodes: N, the number of episodes.
        seed: Seeds episode i with seed + i, and the controller's own draws.

    Returns:
        The return (N,) of each episode.
    """
    envs = gymnasium.make_vec(env_id, num_envs=n_episodes, autoreset_mode="Disabled")
    rng = np.random.default_rng(seed)
    observations, _ = envs.reset(seed=seed)
    polarity = cast(SyntheticVectorEnv, envs.unwrapped).polarity
    returns, has_ended = np.zeros(n_episodes), np.zeros(n_episodes, np.bool_)
    while not has_ended.any():
        observations, rewards, _, has_ended, _ = envs.step(controller(observations, polarity, rng))
        returns += rewards
    envs.close()
    return returns


def measure_reference_scores(env_id: str, n_episodes: int = 4096, seed: int = 0) -> tuple[float, float]:
    """Return the mean returns of random actions and of the expert.

    The defaults give `REFERENCE_SCORES`, which hold them rounded.

    Args:
        env_id: A registered id of this package.
        n_episodes: The number of episodes of each.
        seed: See `measure_returns`.

    Returns:
        The minimum and the maximum by which scores are normalised.
    """
    random, expert = (
        measure_returns(controller, env_id, n_episodes, seed).mean()
        for controller in (RandomController(), EXPERT)
    )
    return float(random), float(expert)
