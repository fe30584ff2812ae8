"""What a miniature picture shows (shapes, textured tiles, a ground and a light), and how it is drawn and encoded.

A scene holds everything that its picture and its right answer depend on, so a test can recompute the answer from it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 64
"""Width and height of a picture in pixels."""

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""
Shape = Literal["disc", "square", "diamond", "post", "ring"]
Texture = Literal["plain", "horizontal", "vertical", "rising", "falling", "dots"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One shape; ``x`` and ``y`` are its centre, ``size`` half its height, in pixels from the top left corner."""

    shape: Shape
    x: float
    y: float
    size: float
    colour: Colour
    distance: float = 0.0
    """How far from the camera it stands, for scenes with a ground; 0 elsewhere."""

    @property
    def foot(self) -> float:
        """Height in the picture at which it touches the ground."""
        return self.y + self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A textured rectangle from (``left``, ``top``) to (``right``, ``bottom``)."""

    left: int
    top: int
    right: int
    bottom: int
    texture: Texture
    hue: float
    """Hue at the left edge, a fraction of the colour circle."""
    hue_end: float | None = None
    """Hue at the right edge where it changes along the tile."""
    lightness: float = 0.8
    saturation: float = 0.8
    wavelength: float = 6.0
    phase: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture's content and the position of the right option."""

    answer: int
    """Position of the right option, 0 for the first."""
    figures: tuple[Figure, ...] = ()
    tiles: tuple[Tile, ...] = ()
    background: float = 0.5
    """Grey of what is behind everything."""
    horizon: float | None = None
    """Height of the horizon in the picture where there is a ground."""
    slope: tuple[float, float] = (0.0, 0.0)
    """How much brighter the right and the lower edge are lit than the left and the upper one."""
    noise: float = 0.03
    """Standard deviation of the grain."""
    grain: int = 0
    """Seed of the grain."""
    fog: float = 0.0
    """How much of the picture is lost in fog: 0 is a clear day, 1 nothing but fog."""


Array = NDArray[Any]

FOG = np.float32(0.7)
"""Grey of the fog."""

# Pixel centres, so that a shape's edge falls where its numbers say.
_Y, _X = (axis.astype(np.float32) + 0.5 for axis in np.mgrid[0:SIZE, 0:SIZE])

# Signed distance to the edge, positive inside: edges come out anti-aliased without drawing larger first.
_INSIDE: dict[Shape, Callable[[Array, Array, float], Array]] = {
    "disc": lambda dx, dy, size: size - np.hypot(dx, dy),
    "square": lambda dx, dy, size: size - np.maximum(np.abs(dx), np.abs(dy)),
    "diamond": lambda dx, dy, size: (1.3 * size - np.abs(dx) - np.abs(dy)) / np.float32(np.sqrt(2)),
    "post": lambda dx, dy, size: np.minimum(size - np.abs(dy), 0.35 * size - np.abs(dx)),
    "ring": lambda dx, dy, size: 0.75 - np.abs(size - np.hypot(dx, dy)),
}


def render(scene: Scene) -> NDArray[np.uint8]:
    """The picture of ``scene`` as (height, width, 3) bytes."""
    canvas = np.full((SIZE, SIZE, 3), scene.background, dtype=np.float32)
    if scene.horizon is not None:
        _draw_ground(canvas, scene.horizon)
    for tile in scene.tiles:
        _draw_tile(canvas, tile)
    for figure in scene.figures:
        _draw_figure(canvas, figure)
    right, down = scene.slope
    canvas *= (1 + right * (_X / SIZE - 0.5) + down * (_Y / SIZE - 0.5))[..., None]
    grain = np.random.default_rng(scene.grain).standard_normal((SIZE, SIZE), dtype=np.float32)
    canvas += np.float32(scene.noise) * grain[..., None]
    canvas += np.float32(scene.fog) * (FOG - canvas)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The pixels as a PNG file."""
    buffer = io.BytesIO()
    # Grain does not compress: more effort costs time and saves little.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _draw_ground(canvas: Array, horizon: float) -> None:
    sky = horizon > _Y
    canvas[sky] = (0.62, 0.72, 0.85)
    nearness = np.clip((_Y - horizon) / (SIZE - horizon), 0, 1)[..., None]
    ground = (
        np.array((0.55, 0.6, 0.5), dtype=np.float32) * (1 - nearness) + np.array((0.4, 0.5, 0.3), dtype=np.float32) * nearness
    )
    canvas[~sky] = ground[~sky]


def _draw_figure(canvas: Array, figure: Figure) -> None:
    reach = 1.5 * figure.size + 2
    # Only the pixels near it: most of a picture is far from any one shape.
    rows = slice(max(0, int(figure.y - reach)), max(0, int(figure.y + reach) + 1))
    columns = slice(max(0, int(figure.x - reach)), max(0, int(figure.x + reach) + 1))
    inside = _INSIDE[figure.shape](_X[rows, columns] - figure.x, _Y[rows, columns] - figure.y, figure.size)
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    part = canvas[rows, columns]
    part += cover * (np.array(figure.colour, dtype=np.float32) - part)


def _draw_tile(canvas: Array, tile: Tile) -> None:
    rows, columns = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
    x, y = _X[rows, columns] - tile.left, _Y[rows, columns] - tile.top
    along = x / (tile.right - tile.left)
    end = tile.hue if tile.hue_end is None else tile.hue_end
    colour = _hues(tile.hue + (end - tile.hue) * along, tile.saturation) * tile.lightness
    pattern = _pattern(tile.texture, x, y, tile.wavelength, tile.phase)
    canvas[rows, columns] = colour * (0.65 + 0.35 * pattern)[..., None]


def _pattern(texture: Texture, x: Array, y: Array, wavelength: float, phase: float) -> Array:
    """Values in [-1, 1]."""
    turn = np.float32(2 * np.pi / wavelength)
    diagonal = turn / np.float32(np.sqrt(2))
    patterns: dict[Texture, Callable[[], Array]] = {
        "plain": lambda: np.zeros_like(x),
        "horizontal": lambda: np.sin(turn * y + phase),
        "vertical": lambda: np.sin(turn * x + phase),
        "rising": lambda: np.sin(diagonal * (x + y) + phase),
        "falling": lambda: np.sin(diagonal * (x - y) + phase),
        "dots": lambda: np.sin(turn * x + phase) * np.sin(turn * y + phase),
    }
    return patterns[texture]()


def _hues(hue: Array, saturation: float) -> Array:
    """RGB of full-value colours."""
    offsets = np.array((5, 3, 1), dtype=np.float32)
    k = (offsets + 6 * hue[..., None]) % 6
    colours: Array = 1 - np.float32(saturation) * np.clip(np.minimum(k, 4 - k), 0, 1)
    return colours
