"""How the random numbers of an episode come out of its generator, alone or as one row of a batch.

A reset draws `draw_reset`; then each `NOISE_BLOCK` steps begin with `draw_noise`, and what an episode leaves
of its last block is dropped. Both environments hold to this order, so that their streams are the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from qdt_envs.dynamics import N_MASSES, N_RESET_NORMALS, N_RESET_UNIFORMS, Floats, Steps
from qdt_envs.errors import EnvArgumentError

NOISE_BLOCK = 100  # steps: enough to amortise the call, few enough to hold (4 kB a row); divides the horizon


def draw_reset(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw what one reset needs: uniforms (6,) in [0, 1), then standard normals (10,)."""
    return rng.random(N_RESET_UNIFORMS), rng.standard_normal(N_RESET_NORMALS)


def draw_noise(rng: np.random.Generator) -> Floats:
    """Draw the noise ξ of the next block: standard normals (NOISE_BLOCK, 5)."""
    return rng.standard_normal((NOISE_BLOCK, N_MASSES))


class RowRandomness:
    """The generators of N rows, and the noise that they have drawn ahead.

    Args:
        n_rows: N.
    """

    def __init__(self, n_rows: int) -> None:
        self._rows = np.arange(n_rows)
        self._generators: list[np.random.Generator | None] = [None] * n_rows
        self._seeds: list[int] = [-1] * n_rows
        self._noise = np.zeros((n_rows, NOISE_BLOCK, N_MASSES))

    @property
    def generators(self) -> tuple[np.random.Generator, ...]:
        """Each row's generator."""
        return tuple(self._generator(row) for row in range(len(self._generators)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """What each row's generator was seeded with."""
        for row in range(len(self._generators)):
            self._generator(row)
        return tuple(self._seeds)

    def seed(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.intp]) -> None:
        """Begin the streams of some rows anew, each as ``Env.reset(seed=…)`` does.

        Args:
            seed: s for s + i in row i; or one per row, None where the row's stream goes on; or None for all.
            rows: The rows that are seeded.

        Raises:
            EnvArgumentError: If it is none of these.
        """
        seeds = _read_seeds(seed, len(self._generators))
        for row in rows.tolist():
            row_seed = seeds[row]
            if row_seed is not None:
                self._generators[row], self._seeds[row] = seeding.np_random(row_seed)

    def reset_draws(self, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Draw the resets of some rows: uniforms (6, n) and normals (10, n)."""
        draws = [draw_reset(self._generator(row)) for row in rows.tolist()]
        uniforms, normals = (np.array(parts).T.copy() for parts in zip(*draws, strict=True))
        return uniforms, normals

    def noise(self, elapsed: Steps, is_acting: NDArray[np.bool_]) -> Floats:
        """Return ξ (5, N) of this step, drawing the next block for acting rows whose block is used up.

        Args:
            elapsed: (N,) steps that each row's episode has made.
            is_acting: (N,) False for rows that are about to be reset: they draw nothing, their ξ is stale.
        """
        slots = elapsed % NOISE_BLOCK
        for row in np.flatnonzero((slots == 0) & is_acting).tolist():
            self._noise[row] = draw_noise(self._generator(row))
        return np.ascontiguousarray(self._noise[self._rows, slots].T)

    def _generator(self, row: int) -> np.random.Generator:
        generator = self._generators[row]
        if generator is None:
            generator, self._seeds[row] = seeding.np_random()
            self._generators[row] = generator
        return generator


def _read_seeds(seed: Any, n_rows: int) -> list[int | None]:
    """Return one seed per row; None where the row's generator goes on."""
    if seed is None:
        return [None] * n_rows
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(n_rows)]
    is_list = isinstance(seed, Sequence) or (isinstance(seed, np.ndarray) and seed.ndim == 1)
    fits = is_list and len(seed) == n_rows
    if not fits or not all(one is None or isinstance(one, int | np.integer) for one in seed):
        expected = f"None, a whole number, or a list with one of these for each of the {n_rows} rows"
        raise EnvArgumentError(f"seed must be {expected}, but {seed!r} was given.")
    return [None if one is None else int(one) for one in seed]
