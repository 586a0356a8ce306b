"""What is measured: the same sizes and the same data for every library. NumPy only; the peers read it too."""

import numpy as np

OBSERVATION_SIZE, ACTION_SIZE = 11, 3
D_MODEL, N_LAYERS, N_HEADS = 128, 3, 4
CONTEXT_LENGTH, BATCH_SIZE = 20, 64
DROPOUT = 0.1
MAX_TIMESTEP = 1000
LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 3e-4, 1e-4, 0.25
TARGET_RETURN = 1000.0
N_EPISODES, EPISODE_LENGTH = 50, 1000


def episodes() -> dict[str, np.ndarray]:
    """Return random episodes end to end: observations (N, S), actions (N, A), rewards (N,), all float32."""
    rng = np.random.default_rng(0)
    n_steps = N_EPISODES * EPISODE_LENGTH
    return {
        "observations": rng.normal(size=(n_steps, OBSERVATION_SIZE)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(n_steps, ACTION_SIZE)).astype(np.float32),
        "rewards": rng.normal(size=n_steps).astype(np.float32),
    }


def acting_observations(n_envs: int) -> np.ndarray:
    """Return (256, n, S) observations to act on, in turn."""
    return np.random.default_rng(1).normal(size=(256, n_envs, OBSERVATION_SIZE)).astype(np.float32)
