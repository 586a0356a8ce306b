"""The picture of one moment, drawn with pygame: the wells stand below one another and share one x-axis."""

import math
from functools import cache

import numpy as np
import pygame
from numpy.typing import NDArray

from qdt_envs.rendering import Snapshot

SIZE = (800, 500)
_SCALE = 2  # drawn larger, then shrunk: this smooths every edge

_PAPER, _PANEL_PAPER = (250, 250, 247), (255, 255, 255)
_INK, _MUTED, _HAIRLINE = (38, 44, 56), (120, 126, 138), (214, 216, 220)
_TARGET_BAND, _OTHER_BAND, _TARGET_INK = (255, 236, 188), (236, 237, 240), (176, 116, 0)
_CURVE, _GROUND = (92, 104, 128), (226, 231, 240)
_ACTUATED, _PASSIVE, _HOME = (54, 110, 190), (168, 174, 186), (38, 160, 96)
_FORCE, _SPRING_SLACK, _SPRING_TAUT = (226, 88, 34), (128, 134, 146), (205, 44, 64)

_CENTRE, _UNIT = 315, 125  # pixels: where q = 0 lies, and what one unit of q measures
_TOP, _ROW = 96, 72  # pixels: the first well's upper edge, and the distance of wells
_WELL_HEIGHT, _HEIGHT_UNIT = 50, 74  # pixels: from edge to minimum, and per unit of potential
_EDGE = 1.6  # the wells are drawn, and masses shown, up to this |q|
_RADIUS = 13
_PANEL, _FIGURES = 590, 104  # pixels: the panel's text from the left, its figures from the top

_Colour = tuple[int, int, int]
_Point = tuple[float, float]
_Box = tuple[float, float, float, float]  # left, top, width, height


def draw(snapshot: Snapshot) -> pygame.Surface:
    """Draw one moment.

    Args:
        snapshot: What to show.

    Returns:
        A surface of 800 × 500 pixels.
    """
    canvas = _background(snapshot.command).copy()
    centres = [_mass_centre(row, position) for row, position in enumerate(snapshot.positions)]
    for row in range(len(centres) - 1):
        stretch = abs(snapshot.positions[row + 1] - snapshot.positions[row])
        _draw_spring(canvas, centres[row], centres[row + 1], stretch)
    for centre, force, is_home in zip(centres, snapshot.inputs, snapshot.is_home, strict=True):
        _draw_mass(canvas, centre, is_actuated=force is not None, is_home=is_home)
        if force is not None:
            _draw_force(canvas, centre, force)
    _write_figures(canvas, snapshot)
    return pygame.transform.smoothscale(canvas, SIZE)


def to_array(image: pygame.Surface) -> NDArray[np.uint8]:
    """Return a surface as an image array (height, width, 3)."""
    return np.ascontiguousarray(pygame.surfarray.array3d(image).transpose(1, 0, 2))


@cache
def _background(command: float) -> pygame.Surface:
    """Draw what stays as long as the command does."""
    canvas = pygame.Surface((SIZE[0] * _SCALE, SIZE[1] * _SCALE))
    canvas.fill(_PAPER)
    _draw_wells(canvas, command)
    _draw_titles(canvas)
    _draw_panel(canvas, command)
    _draw_legend(canvas, 298)
    return canvas


def _x(position: float) -> float:
    return _CENTRE + _UNIT * min(max(position, -_EDGE), _EDGE)


def _ground(row: int, position: float) -> float:
    """Return the y at which the curve of a row's potential V(q) = q⁴/4 − q²/2 passes."""
    q = min(max(position, -_EDGE), _EDGE)
    potential = q**4 / 4 - q**2 / 2
    return _TOP + row * _ROW + _WELL_HEIGHT - _HEIGHT_UNIT * (potential + 0.25)


def _mass_centre(row: int, position: float) -> _Point:
    return _x(position), _ground(row, position) - _RADIUS


def _draw_wells(canvas: pygame.Surface, command: float) -> None:
    positions = np.linspace(-_EDGE, _EDGE, 97)
    curves = [[(_x(q), _ground(row, q)) for q in positions] for row in range(5)]
    for row, curve in enumerate(curves):
        floor = _TOP + row * _ROW + _WELL_HEIGHT + 5
        _polygon(canvas, [(curve[0][0], floor), *curve, (curve[-1][0], floor)], _GROUND)
    _draw_bands(canvas, command)
    for curve in curves:
        _line(canvas, curve, _CURVE, 2.5)


def _draw_bands(canvas: pygame.Surface, command: float) -> None:
    """Tint the two wells over all rows, and write the axis below them."""
    bottom = _TOP + 4 * _ROW + _WELL_HEIGHT + 10
    for well in (-1, 1):
        is_target = well == command
        band, ink = (_TARGET_BAND, _TARGET_INK) if is_target else (_OTHER_BAND, _MUTED)
        box = (_x(well) - 0.5 * _UNIT, _TOP - 30, _UNIT, bottom - _TOP + 30)
        canvas.fill(band, _scaled_rectangle(box), special_flags=pygame.BLEND_RGB_MULT)
        label = "commanded well" if is_target else "other well"
        _text(canvas, label, (_x(well), _TOP - 17), 15, ink, align="centre")
    for tick, label in ((-1, "-1"), (0, "0"), (1, "+1")):
        _text(canvas, label, (_x(tick), bottom + 14), 15, _INK, align="centre")
    _text(canvas, "position q", (24, bottom + 14), 15, _MUTED)


def _draw_spring(canvas: pygame.Surface, start: _Point, end: _Point, stretch: float) -> None:
    """Draw a zigzag that turns red as the two masses' positions part."""
    tautness = min(stretch / 2.0, 1.0)
    colour = tuple(round(a + tautness * (b - a)) for a, b in zip(_SPRING_SLACK, _SPRING_TAUT, strict=True))
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    normal = ((y0 - y1) / length, (x1 - x0) / length)
    points = [start]
    for turn in range(12):
        share, side = 0.25 + 0.5 * (turn + 0.5) / 12, (-1) ** turn * 5
        points.append((x0 + share * (x1 - x0) + side * normal[0], y0 + share * (y1 - y0) + side * normal[1]))
    _line(canvas, [*points, end], (colour[0], colour[1], colour[2]), 2)


def _draw_mass(canvas: pygame.Surface, centre: _Point, *, is_actuated: bool, is_home: bool) -> None:
    _circle(canvas, centre, _RADIUS, _HOME if is_home else _INK)
    _circle(canvas, centre, _RADIUS - (4 if is_home else 2), _ACTUATED if is_actuated else _PASSIVE)


def _draw_force(canvas: pygame.Surface, centre: _Point, force: float) -> None:
    """Draw an arrow from the mass's edge, 60 pixels long at full force."""
    if abs(force) < 0.02:
        return
    side = math.copysign(1.0, force)
    start, y = centre[0] + side * (_RADIUS + 2), centre[1]
    tip = start + 60 * force + side * 8
    _line(canvas, [(start, y), (tip - side * 8, y)], _FORCE, 5)
    _polygon(canvas, [(tip, y), (tip - side * 11, y - 8), (tip - side * 11, y + 8)], _FORCE)


def _draw_titles(canvas: pygame.Surface) -> None:
    _text(canvas, "Bring the whole chain into the commanded well", (24, 22), 23, _INK)
    _text(canvas, "Masses 1, 3 and 5 can be pushed; 2 and 4 only follow their springs.", (24, 44), 15, _MUTED)
    for row in range(5):
        _text(canvas, f"mass {row + 1}", (24, _TOP + row * _ROW + 22), 17, _INK)


def _draw_panel(canvas: pygame.Surface, command: float) -> None:
    canvas.fill(_PANEL_PAPER, _scaled_rectangle((_PANEL - 22, 0, SIZE[0] - _PANEL + 22, SIZE[1])))
    _line(canvas, [(_PANEL - 22, 0), (_PANEL - 22, SIZE[1])], _HAIRLINE, 1)
    _text(canvas, "COMMAND", (_PANEL, 28), 14, _MUTED)
    _text(canvas, f"g = {command:+.0f}", (_PANEL, 56), 34, _TARGET_INK)
    _text(canvas, "right well" if command > 0 else "left well", (_PANEL + 84, 59), 18, _TARGET_INK)
    for index, name in enumerate(("RETURN SO FAR", "STEP", "MASSES IN THE COMMANDED WELL")):
        _text(canvas, name, (_PANEL, _FIGURES + 60 * index), 14, _MUTED)


def _write_figures(canvas: pygame.Surface, snapshot: Snapshot) -> None:
    for row, force in enumerate(snapshot.inputs):
        label, colour = ("passive", _MUTED) if force is None else (f"u = {force:+.2f}", _FORCE)
        _text(canvas, label, (24, _TOP + row * _ROW + 40), 15, colour)
    home = f"{sum(snapshot.is_home)} of 5"
    for index, value in enumerate((f"{snapshot.episode_return:+,.1f}", str(snapshot.elapsed), home)):
        _text(canvas, value, (_PANEL, _FIGURES + 24 + 60 * index), 27, _INK)


def _draw_legend(canvas: pygame.Surface, top: float) -> None:
    _line(canvas, [(_PANEL, top - 10), (SIZE[0] - 22, top - 10)], _HAIRLINE, 1)
    symbol, label = _PANEL + 18, _PANEL + 48
    rows = [top + 12 + 29 * index for index in range(6)]
    _draw_mass(canvas, (symbol, rows[0]), is_actuated=True, is_home=False)
    _draw_mass(canvas, (symbol, rows[1]), is_actuated=False, is_home=False)
    _draw_mass(canvas, (symbol, rows[2]), is_actuated=True, is_home=True)
    _draw_force(canvas, (symbol - 34, rows[3]), 0.4)
    _draw_spring(canvas, (symbol - 24, rows[4]), (symbol + 24, rows[4]), 0.0)
    canvas.fill(_TARGET_BAND, _scaled_rectangle((symbol - 14, rows[5] - 9, 28, 18)))
    texts = [
        "actuated mass",
        "passive mass",
        "in the commanded well",
        "force asked for, u",
        "spring; red if stretched",
        "commanded well",
    ]
    for text, y in zip(texts, rows, strict=True):
        _text(canvas, text, (label, y), 15, _INK)


def _text(
    canvas: pygame.Surface, text: str, at: _Point, size: int, colour: _Colour, align: str = "left"
) -> None:
    """Write text whose vertical middle, and left end or middle, is at a point."""
    pygame.font.init()  # each time, and no font is kept: other environments' close() quits pygame
    font = pygame.font.Font(None, size * _SCALE)
    image = font.render(text.replace("-", "−"), True, colour)  # every hyphen here is a minus
    x = at[0] * _SCALE - (image.get_width() / 2 if align == "centre" else 0)
    canvas.blit(image, (x, at[1] * _SCALE - image.get_height() / 2))


def _line(canvas: pygame.Surface, points: list[_Point], colour: _Colour, width: float) -> None:
    """Draw a thick line with round joints, which pygame's own lines lack."""
    scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
    pygame.draw.lines(canvas, colour, False, scaled, round(width * _SCALE))
    for point in scaled:
        pygame.draw.circle(canvas, colour, point, width * _SCALE / 2)


def _polygon(canvas: pygame.Surface, points: list[_Point], colour: _Colour) -> None:
    pygame.draw.polygon(canvas, colour, [(x * _SCALE, y * _SCALE) for x, y in points])


def _circle(canvas: pygame.Surface, centre: _Point, radius: float, colour: _Colour) -> None:
    pygame.draw.circle(canvas, colour, (centre[0] * _SCALE, centre[1] * _SCALE), radius * _SCALE)


def _scaled_rectangle(box: _Box) -> pygame.Rect:
    x, y, width, height = (value * _SCALE for value in box)
    return pygame.Rect(x, y, width, height)
