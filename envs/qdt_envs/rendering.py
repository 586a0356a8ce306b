"""Showing the environment: as text, as an image, or in a window. Only the last two need pygame."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pygame

RENDER_MODES = ("human", "rgb_array", "ansi")
_TRACK_LIMIT, _TRACK_CELLS = 1.6, 33  # the text's tracks show −1.6 … 1.6


@dataclass(frozen=True)
class Snapshot:
    """What a spectator is shown of one moment; the hidden state is not part of it.

    Attributes:
        positions: (5,) q.
        velocities: (5,) v.
        command: g, −1 or +1.
        action: (3,) u as asked for, clipped; the polarity stays hidden.
        elapsed: Steps since the reset.
        episode_return: The rewards paid since the reset.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    command: float
    action: NDArray[np.float64]
    elapsed: int
    episode_return: float

    @property
    def inputs(self) -> list[float | None]:
        """The action of each of the five masses; None for those without an actuator."""
        first, third, fifth = (float(value) for value in self.action)
        return [first, None, third, None, fifth]

    @property
    def is_home(self) -> list[bool]:
        """Whether each mass is on the commanded side of its barrier, and near that well's minimum."""
        return [bool(abs(position - self.command) < 0.5) for position in self.positions]


def describe(snapshot: Snapshot) -> str:
    """Return the moment as text: a heading, then each mass on a track with both wells marked."""
    heading = (
        f"step {snapshot.elapsed:4d}   return {snapshot.episode_return:+9.1f}   "
        f"command g = {snapshot.command:+.0f}   in the commanded well: {sum(snapshot.is_home)} of 5"
    )
    lines = [heading, f"        {_track(None, snapshot.command)}   position  velocity  action"]
    for index, action in enumerate(snapshot.inputs):
        position, velocity = snapshot.positions[index], snapshot.velocities[index]
        force = "passive" if action is None else f"{action:+.2f}"
        track = _track(position, snapshot.command)
        lines.append(f"mass {index + 1}  {track}   {position:+8.2f}  {velocity:+8.2f}  {force}")
    return "\n".join(lines) + "\n"


def _track(position: float | None, command: float) -> str:
    """Return a track with the wells: `V` the commanded one, `v` the other, `O` the mass."""
    cells = ["-"] * _TRACK_CELLS
    cells[_cell(-command)], cells[_cell(command)] = "v", "V"
    if position is not None:
        cells[_cell(position)] = "O"
    return "|" + "".join(cells) + "|"


def _cell(position: float) -> int:
    share = (position + _TRACK_LIMIT) / (2 * _TRACK_LIMIT)
    return round(min(max(share, 0.0), 1.0) * (_TRACK_CELLS - 1))


class Renderer:
    """Draws snapshots, and owns the window if there is one.

    Args:
        render_mode: ``"human"``, ``"rgb_array"`` or ``"ansi"``.
        render_fps: How many pictures a second the window shows at most.

    Raises:
        DependencyNotInstalled: If pictures are wanted and pygame is missing.
    """

    def __init__(self, render_mode: str, render_fps: int) -> None:
        self._mode, self._fps = render_mode, render_fps
        self._window: pygame.Surface | None = None
        self._clock: pygame.time.Clock | None = None
        if render_mode != "ansi":
            _require_pygame()

    def render(self, snapshot: Snapshot) -> NDArray[np.uint8] | str | None:
        """Return the text, or the image (500, 800, 3); a window is updated instead, and None returned."""
        if self._mode == "ansi":
            return describe(snapshot)
        from qdt_envs import picture

        image = picture.draw(snapshot)
        if self._mode == "human":
            self._show(image)
            return None
        return picture.to_array(image)

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            import pygame

            if self._window is _current_window():
                pygame.display.quit()
            self._window = self._clock = None

    def _show(self, image: "pygame.Surface") -> None:
        import pygame

        if self._window is None or self._clock is None or self._window is not _current_window():
            pygame.display.init()
            pygame.display.set_caption("QDTSynthetic")
            self._window, self._clock = pygame.display.set_mode(image.get_size()), pygame.time.Clock()
        self._window.blit(image, (0, 0))
        pygame.event.pump()
        self._clock.tick(self._fps)
        pygame.display.flip()


def _current_window() -> "pygame.Surface | None":
    """Return the one window that pygame has, whoever opened it; None if it was closed."""
    import pygame

    return pygame.display.get_surface() if pygame.display.get_init() else None


def _require_pygame() -> None:
    try:
        import pygame  # noqa: F401
    except ImportError as error:
        text = "Rendering needs pygame, which is not installed: run `pip install pygame`."
        raise DependencyNotInstalled(text) from error
