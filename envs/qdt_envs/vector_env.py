"""The environment for many episodes at once: one NumPy batch, not a loop over environments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qdt_envs import dynamics
from qdt_envs.dynamics import N_ACTUATORS, Floats, State
from qdt_envs.errors import EnvArgumentError
from qdt_envs.params import Params, require_count
from qdt_envs.randomness import RowRandomness
from qdt_envs.spaces import action_space, check_actions, observation_space

Rows = NDArray[np.intp]


class SyntheticVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """N independent chains, as ``gymnasium.make_vec`` makes them.

    Row i after ``reset(seed=s)`` equals `SyntheticEnv` after ``reset(seed=s + i)``, bit for bit, and goes on
    so across autoresets. In every autoreset mode it keeps to the conventions of Gymnasium's `SyncVectorEnv`.

    Args:
        num_envs: N, the number of rows.
        max_episode_steps: The step at which an episode is truncated.
        autoreset_mode: When a row that has ended begins its next episode: in the following step, whose action
            is ignored and whose reward is 0 (``"NextStep"``); in the same step, with the last observation
            under ``infos["final_obs"]`` (``"SameStep"``); or not by itself (``"Disabled"``), but by
            ``reset(options={"reset_mask": mask})``.
        render_mode: None; the batch does not render.
        **arguments: The physics; see `SyntheticEnv`.

    Raises:
        EnvArgumentError: If an argument is unknown, or out of its range.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": [],
        "render_fps": 50,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 1000,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: None = None,
        **arguments: Any,
    ) -> None:
        if render_mode is not None:
            text = (
                "The batch does not render: use gymnasium.make, or make_vec with vectorization_mode='sync'."
            )
            raise EnvArgumentError(text)
        require_count("num_envs", num_envs)
        require_count("max_episode_steps", max_episode_steps)
        self.params = Params.from_arguments(arguments)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.autoreset_mode = _read_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self._randomness = RowRandomness(num_envs)
        self._state: State | None = None
        self._elapsed = np.zeros(num_envs, np.int64)
        self._has_ended = np.zeros(num_envs, np.bool_)

    @property
    def polarity(self) -> NDArray[np.float64]:
        """The sign (N, 3) with which each actuator acts: hidden state, meant for behaviour policies only."""
        return self._require_state().polarity.T.copy()

    @property  # type: ignore[misc]  # one per row and read-only, as SyncVectorEnv's
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator."""
        return self._randomness.generators

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each row's generator was seeded with."""
        return self._randomness.seeds

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every row, or in those of ``options["reset_mask"]``.

        Args:
            seed: s for the seeds s, s + 1, …, s + N − 1; or one per row, where None goes on with the row's
                generator.
            options: ``"reset_mask"``, a boolean array (N,), names the rows to reset; the others stay as they
                are.

        Returns:
            The observations (N, 11) of all rows, and an empty info.

        Raises:
            EnvArgumentError: If the seeds or the mask do not fit the rows.
            ResetNeeded: If only some rows are to be reset, but never were all.
        """
        rows = self._read_mask((options or {}).get("reset_mask"))
        if rows.size < self.num_envs:
            self._require_state()
        self._randomness.seed(seed, rows)
        self._begin(rows)
        return dynamics.observe(self._require_state()), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take one step of ``dt`` in every row.

        Args:
            actions: (N, 3), finite but in rows that are due to be reset; clipped to [−1, 1].

        Returns:
            Observations (N, 11) float32, rewards (N,) float64, terminations (N,), which are all False,
            truncations (N,), and infos.

        Raises:
            EnvArgumentError: If the actions are of another shape, or not finite.
            ResetNeeded: If there was no reset, or, in mode ``"Disabled"``, a row has ended.
        """
        resetting = np.flatnonzero(self._has_ended)
        inputs = check_actions(actions, (self.num_envs, N_ACTUATORS), ignored=resetting)
        if resetting.size and self.autoreset_mode is AutoresetMode.DISABLED:
            text = f"Rows {resetting.tolist()} have ended: reset them with options={{'reset_mask': mask}}."
            raise ResetNeeded(text)
        rewards = self._advance(inputs)
        if resetting.size:
            self._begin(resetting)
            rewards[resetting] = 0.0
        truncations = self._elapsed >= self.max_episode_steps
        self._has_ended = truncations.copy()
        observations = dynamics.observe(self._require_state())
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncations.any():
            infos = _final_infos(observations, truncations)
            self._begin(np.flatnonzero(truncations))
            observations = dynamics.observe(self._require_state())
        return observations, rewards, np.zeros(self.num_envs, np.bool_), truncations, infos

    def _advance(self, inputs: Floats) -> Floats:
        """Step every row, those too that are about to be reset: the batch is one."""
        noise = self._randomness.noise(self._elapsed, ~self._has_ended)
        state, columns = self._require_state(), np.ascontiguousarray(inputs.T)
        self._state, rewards = dynamics.step(self.params, state, columns, noise)
        self._elapsed += 1
        return rewards

    def _begin(self, rows: Rows) -> None:
        fresh = dynamics.reset(self.params, *self._randomness.reset_draws(rows))
        if self._state is None or rows.size == self.num_envs:
            self._state = fresh
        else:
            for field, values in zip(self._state, fresh, strict=True):
                field[..., rows] = values
        self._elapsed[rows] = 0
        self._has_ended[rows] = False

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("The environment has no state yet: call reset() for all rows first.")
        return self._state

    def _read_mask(self, mask: Any) -> Rows:
        """Return the rows that the mask names; all rows if there is none."""
        if mask is None:
            return np.arange(self.num_envs)
        fits = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (self.num_envs,)
        if not fits or not mask.any():
            expected = f"a boolean array of shape ({self.num_envs},) with at least one True"
            raise EnvArgumentError(f"options['reset_mask'] must be {expected}, but {mask!r} was given.")
        return np.flatnonzero(mask)


def _read_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        modes = ", ".join(repr(known.value) for known in AutoresetMode)
        raise EnvArgumentError(f"autoreset_mode must be one of {modes}, but {mode!r} was given.") from error


def _final_infos(observations: NDArray[np.float32], has_ended: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what Gymnasium's vector environments report of rows that end and begin in the same step."""
    final_observations = np.full(has_ended.size, None, dtype=object)
    for row in np.flatnonzero(has_ended):
        final_observations[row] = observations[row].copy()
    return {
        "final_obs": final_observations,
        "_final_obs": has_ended.copy(),
        "final_info": {},
        "_final_info": has_ended.copy(),
    }
