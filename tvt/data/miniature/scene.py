"""What a miniature picture shows, before it is drawn: shapes, textured tiles, a ground and a light.

A scene holds everything that its picture and its right answer depend on, so a test can recompute the answer from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SIZE = 64
"""Width and height of a picture in pixels."""

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""
Shape = Literal["disc", "square", "diamond", "post", "ring"]
Texture = Literal["plain", "horizontal", "vertical", "rising", "falling", "dots"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
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
    things: tuple[Thing, ...] = ()
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
