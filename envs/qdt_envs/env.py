"""The environment for one episode at a time: the dynamics at batch 1, with Gymnasium's interface."""

from typing import Any

import numpy as np
from gymnasium import Env, logger
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from qdt_envs import dynamics, rendering
from qdt_envs.errors import EnvArgumentError
from qdt_envs.params import Params
from qdt_envs.randomness import NOISE_BLOCK, draw_noise, draw_reset
from qdt_envs.spaces import action_space, check_actions, observation_space


class SyntheticEnv(Env[NDArray[np.float32], NDArray[np.float32]]):
    """A chain of five masses that must be brought, and held, in whichever well is commanded.

    ## Description

    Five masses lie in a row, each in a double well with minima at −1 and +1, and springs couple neighbours.
    Only masses 1, 3 and 5 can be pushed; 2 and 4 must be dragged over their barriers by their neighbours. A
    command g ∈ {−1, +1} names the well in which all five should sit, and changes its sign now and then:

        a_i = k (q_i − q_i³) + κ (q_{i−1} − 2 q_i + q_{i+1}) − c v_i + F u_i    free ends, u_2 = u_4 = 0
        v  ← v + dt·a + σ √dt ξ,   ξ ~ N(0, I)
        q  ← q + dt·v

    ## Action Space

    A `Box(-1, 1, (3,), float32)`. Actions beyond the bounds are clipped, those with NaN or infinity refused.

    | Num | Action              | Min | Max | Unit                            |
    |-----|---------------------|-----|-----|---------------------------------|
    | 0   | Force u_1 on mass 1 | -1  | 1   | F, an acceleration: length/time² |
    | 1   | Force u_3 on mass 3 | -1  | 1   | F                               |
    | 2   | Force u_5 on mass 5 | -1  | 1   | F                               |

    ## Observation Space

    A `Box` of shape `(11,)`, float32. The state is clipped to the bounds; in use it stays within ±3.

    | Num | Observation              | Min | Max | Unit                           |
    |-----|--------------------------|-----|-----|--------------------------------|
    | 0–4 | Positions q_1 … q_5      | -10 | 10  | length; the wells lie at ±1    |
    | 5–9 | Velocities v_1 … v_5     | -10 | 10  | length/time; a step takes `dt` |
    | 10  | Command g                | -1  | 1   | none; −1 or +1                 |

    **Hidden state**: the steps until the command changes (always), the sum of rewards not paid yet (where
    `reward_delay` > 1) and the polarity (where `hidden_polarity`) are not observed.

    ## Rewards

    Each step is worth `r = 4 (1 − mean_i (q_i − g)²) − 0.2 ‖u‖²`, of the new positions, the clipped action
    and the command that was observed. A return over 1000 steps cannot exceed 4000; random actions reach about
    −3920, the expert of `qdt_envs.controllers` about 1750.

    With `reward_delay=d` the sum of the last d such values is paid every d steps, and 0 in between. Where d
    divides the length of the episode the return stays as it is; otherwise the unpaid rest is lost.

    ## Starting State

    All masses near one of the wells, chosen at random: `q = ±1 + 0.2 N(0, I)`, `v = 0.1 N(0, I)`. The command
    is drawn at random, and so is the time of its first change, 1 … `command_period` steps ahead; from then on
    it changes every `command_period` steps, after the reward.

    ## Episode End

    No state ends an episode. Gymnasium truncates it after 1000 steps;
    `gymnasium.make(id, max_episode_steps=…)` sets another limit.

    ## Arguments

    | Argument          | Type  | Default | Meaning                                                |
    |-------------------|-------|---------|--------------------------------------------------------|
    | `stiffness`       | float | 1.0     | k of the wells, 0 to 1000                              |
    | `coupling`        | float | 0.3     | κ of the springs, 0 to 1000                            |
    | `damping`         | float | 0.2     | c, 0 to 1000                                           |
    | `force`           | float | 1.5     | F, the acceleration at full action, 0 to 1000          |
    | `dt`              | float | 0.05    | time per step, above 0 and at most 1                   |
    | `noise_std`       | float | 0.05    | σ, 0 to 1000                                           |
    | `command_period`  | int   | 250     | steps between changes of the command                   |
    | `reward_delay`    | int   | 1       | d, steps between payments                              |
    | `hidden_polarity` | bool  | False   | draws each actuator's sign at each reset, unobserved   |
    | `render_mode`     | str   | None    | `"human"`, `"rgb_array"` (these use pygame) or `"ansi"` |

    `QDTSyntheticDelayed-v0` has `reward_delay=50`, `QDTSyntheticDelayed200-v0` has 200, and
    `QDTSyntheticHidden-v0` has `hidden_polarity=True`.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("qdt_envs:QDTSynthetic-v0", noise_std=0.0)
    >>> envs = gym.make_vec("qdt_envs:QDTSynthetic-v0", num_envs=3, autoreset_mode="SameStep")

    ```

    ## Version History

    * v0: Initial version. The paper that it serves (arXiv 2512.14726) does not publish its own dynamics.

    Raises:
        EnvArgumentError: If an argument is unknown, or out of its range.
    """

    metadata: dict[str, Any] = {"render_modes": list(rendering.RENDER_MODES), "render_fps": 50}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None and render_mode not in rendering.RENDER_MODES:
            modes = ", ".join(rendering.RENDER_MODES)
            raise EnvArgumentError(
                f"render_mode must be None or one of {modes}, but {render_mode!r} was given."
            )
        self.params = Params.from_arguments(arguments)
        self.render_mode = render_mode
        self.observation_space = observation_space()
        self.action_space = action_space()
        self._state: dynamics.State | None = None
        self._noise = np.zeros((NOISE_BLOCK, dynamics.N_MASSES, 1))
        self._action = np.zeros(dynamics.N_ACTUATORS)
        self._elapsed = 0
        self._return = 0.0
        self._renderer: rendering.Renderer | None = None

    @property
    def polarity(self) -> NDArray[np.float64]:
        """The sign (3,) with which each actuator acts: hidden state, meant for behaviour policies only."""
        return self._require_state().polarity[:, 0].copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the generator of the start, the noise and the polarity; None goes on with the old one.
            options: Not used.

        Returns:
            The observation (11,) and an empty info.
        """
        super().reset(seed=seed)
        uniforms, normals = draw_reset(self.np_random)
        self._state = dynamics.reset(self.params, uniforms[:, np.newaxis], normals[:, np.newaxis])
        self._action = np.zeros(dynamics.N_ACTUATORS)
        self._elapsed = 0
        self._return = 0.0
        if self.render_mode == "human":
            self.render()
        return dynamics.observe(self._state)[0], {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one step of ``dt``.

        Args:
            action: (3,), finite; clipped to [−1, 1].

        Returns:
            The observation (11,), the reward, two times False (the time limit is Gymnasium's), an empty info.

        Raises:
            EnvArgumentError: If the action is of another shape, or not finite.
            ResetNeeded: If there was no reset.
        """
        state = self._require_state()
        self._action = check_actions(action, (dynamics.N_ACTUATORS,))
        slot = self._elapsed % NOISE_BLOCK
        if slot == 0:
            self._noise = draw_noise(self.np_random)[:, :, np.newaxis]
        self._state, rewards = dynamics.step(
            self.params, state, self._action[:, np.newaxis], self._noise[slot]
        )
        reward = rewards.item()
        self._elapsed += 1
        self._return += reward
        if self.render_mode == "human":
            self.render()
        return dynamics.observe(self._state)[0], reward, False, False, {}

    def render(self) -> NDArray[np.uint8] | str | None:
        """Show the present moment; see `qdt_envs.rendering`.

        Returns:
            The image (500, 800, 3) in mode ``"rgb_array"``, the text in ``"ansi"``, None otherwise.

        Raises:
            ResetNeeded: If there was no reset.
            DependencyNotInstalled: If pygame is needed and missing.
        """
        if self.render_mode is None:
            logger.warn('Nothing is rendered without a render mode: make(…, render_mode="rgb_array").')
            return None
        positions, velocities = self._require_state().motion[:, 0].reshape(2, dynamics.N_MASSES)
        snapshot = rendering.Snapshot(
            positions=positions,
            velocities=velocities,
            command=self._require_state().command.item(),
            action=self._action.clip(-1.0, 1.0),
            elapsed=self._elapsed,
            episode_return=self._return,
        )
        if self._renderer is None:
            self._renderer = rendering.Renderer(self.render_mode, self.metadata["render_fps"])
        return self._renderer.render(snapshot)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _require_state(self) -> dynamics.State:
        if self._state is None:
            raise ResetNeeded("The environment has no state yet: call reset() first.")
        return self._state
