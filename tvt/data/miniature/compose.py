"""One composer a task: make a scene whose right option stands at a given position."""

from __future__ import annotations

import colorsys
from itertools import pairwise
from typing import TypeVar

import numpy as np

from tvt.data.miniature.scene import SIZE, Colour, Figure, Scene, Shape, Texture, Tile

Rng = np.random.Generator
Side = TypeVar("Side")

TEXTURES: tuple[Texture, ...] = ("horizontal", "vertical", "rising", "falling", "dots")
HALF = SIZE / 2


def in_order(answer: int, right: Side, wrong: Side) -> tuple[Side, Side]:
    """What belongs left and what right when the right one stands at ``answer``."""
    return (right, wrong) if answer == 0 else (wrong, right)


def colour(rng: Rng, *, value: float = 0.9) -> Colour:
    """A saturated colour of random hue."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.6, 0.9), value)


def scatter(rng: Rng, count: int, *, low: float = 7, high: float = SIZE - 7, apart: float = 12) -> list[tuple[float, float]]:
    """Places at least ``apart`` from each other; ``low`` and ``high`` bound both coordinates."""
    places: list[tuple[float, float]] = []
    while len(places) < count:
        places = []
        for _ in range(40 * count):
            x, y = rng.uniform(low, high, 2)
            if all(np.hypot(x - a, y - b) >= apart for a, b in places):
                places.append((float(x), float(y)))
            if len(places) == count:
                break
    return places


def shape_at(
    rng: Rng,
    shape: Shape,
    place: tuple[float, float],
    *,
    low: float = 3.5,
    high: float = 5.0,
) -> Figure:
    """A shape of random size and a colour of its kind."""
    # Discs are warm and the rest cold, so that a tiny model that sees colours sooner than outlines can tell them apart.
    hue = rng.uniform(0, 0.17) if shape == "disc" else rng.uniform(0.21, 0.86)
    paint = colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 0.9), 0.9)
    return Figure(
        shape=shape,
        x=place[0],
        y=place[1],
        size=float(rng.uniform(low, high)),
        colour=paint,
    )


def distractor(rng: Rng) -> Shape:
    """A shape that is no disc."""
    return "square" if rng.random() < 0.5 else "diamond"


def discs_and_others(rng: Rng, discs: int, others: int) -> list[Shape]:
    """So many discs, then so many other shapes."""
    shapes: list[Shape] = ["disc"] * discs
    return shapes + [distractor(rng) for _ in range(others)]


def grain(rng: Rng) -> int:
    """Seed of a picture's grain."""
    return int(rng.integers(2**63))


def counting(rng: Rng, answer: int) -> Scene:
    """``answer`` + 1 discs among other shapes."""
    discs, others = answer + 1, int(rng.integers(1, 5))
    shapes = discs_and_others(rng, discs, others)
    figures = [shape_at(rng, shape, place) for shape, place in zip(shapes, scatter(rng, len(shapes)), strict=True)]
    return Scene(
        answer=answer,
        figures=tuple(figures),
        background=float(rng.uniform(0.1, 0.3)),
        grain=grain(rng),
    )


def count_comparison(rng: Rng, answer: int) -> Scene:
    """One disc or two more in the left half (0) or in the right one, among other shapes."""
    more = int(rng.integers(2, 5))
    fewer = more - 1 - int(rng.random() < 0.3)
    discs = [fewer, more] if answer else [more, fewer]
    figures: list[Figure] = []
    for side, count in enumerate(discs):
        # Half a picture is narrow: x and y are drawn apart.
        ys = (np.arange(5) + 0.5) * SIZE / 5 + rng.uniform(-1, 1, 5)
        shapes = discs_and_others(rng, count, int(rng.integers(0, 5 - count + 1)))
        for shape, y in zip(shapes, rng.permutation(ys), strict=False):
            x = rng.uniform(7, HALF - 7) + side * HALF
            figures.append(shape_at(rng, shape, (float(x), float(y))))
    return Scene(
        answer=answer,
        figures=tuple(figures),
        background=float(rng.uniform(0.1, 0.3)),
        grain=grain(rng),
    )


def lone_disc(rng: Rng, answer: int, x: float, y: float) -> Scene:
    """One disc at a place among other shapes."""
    count = int(rng.integers(3, 7))
    places = [place for place in scatter(rng, count + 3) if np.hypot(place[0] - x, place[1] - y) >= 12][:count]
    figures = [
        shape_at(rng, "disc", (x, y)),
        *(shape_at(rng, distractor(rng), place) for place in places),
    ]
    return Scene(
        answer=answer,
        figures=tuple(figures),
        background=float(rng.uniform(0.1, 0.3)),
        grain=grain(rng),
    )


def localisation(rng: Rng, answer: int) -> Scene:
    """One disc among other shapes, in the quarter that ``answer`` names: rows first, from the top left."""
    low, high = 6.0, HALF - 6
    x = rng.uniform(low, high) + (answer % 2) * HALF
    y = rng.uniform(low, high) + (answer // 2) * HALF
    return lone_disc(rng, answer, float(x), float(y))


def spatial_relation(rng: Rng, answer: int) -> Scene:
    """One disc among other shapes, in the left half (0) or in the right one."""
    x = rng.uniform(6, HALF - 6) + answer * HALF
    return lone_disc(rng, answer, float(x), float(rng.uniform(6, SIZE - 6)))


def on_ground(rng: Rng, shape: Shape, x: float, distance: float, horizon: float) -> Figure:
    """A shape on the ground, seen in perspective; its true height is its own, so size alone does not show distance."""
    foot = horizon + (SIZE - 2 - horizon) / distance
    size = rng.uniform(6, 11) / distance**0.7
    return Figure(
        shape=shape,
        x=x,
        y=foot - size,
        size=float(size),
        colour=colour(rng, value=0.8),
        distance=distance,
    )


def nearer(rng: Rng, answer: int, shape: Shape) -> Scene:
    """Two of a shape on the ground; the nearer one is left (0) or right."""
    horizon = float(rng.uniform(14, 24))
    near = float(rng.uniform(1.0, 1.8))
    far = near * float(rng.uniform(1.06, 1.6))
    xs = (rng.uniform(12, 24), rng.uniform(40, 52))
    stand = zip(xs, in_order(answer, near, far), strict=True)
    figures = [on_ground(rng, shape, float(x), distance, horizon) for x, distance in stand]
    return Scene(answer=answer, figures=tuple(figures), horizon=horizon, grain=grain(rng))


def relative_depth(rng: Rng, answer: int) -> Scene:
    """Two balls on the ground; the nearer one is left (0) or right."""
    return nearer(rng, answer, "disc")


def nearest_post(rng: Rng, answer: int) -> Scene:
    """Two posts on the ground; the nearer one is left (0) or right."""
    return nearer(rng, answer, "post")


def relative_reflectance(rng: Rng, answer: int) -> Scene:
    """Two grey patches under uneven light; the darker paint is left (0) or right."""
    dark = rng.uniform(0.3, 0.55)
    light = dark * rng.uniform(1.03, 1.22)
    shades = [dark, light] if answer == 0 else [light, dark]
    ys = rng.uniform(20, 44, 2)
    figures = [
        Figure(
            shape="square",
            x=16 + 32 * side,
            y=float(ys[side]),
            size=float(rng.uniform(6, 9)),
            colour=(shade,) * 3,
        )
        for side, shade in enumerate(map(float, shades))
    ]
    slope = (float(rng.uniform(-0.25, 0.25)), float(rng.uniform(-0.25, 0.25)))
    return Scene(
        answer=answer,
        figures=tuple(figures),
        background=float(rng.uniform(0.4, 0.6)),
        slope=slope,
        grain=grain(rng),
    )


# Where a reference and its two candidates stand: (left, top, right, bottom).
REFERENCE = (20, 4, 44, 28)
CANDIDATES = ((4, 36, 28, 60), (36, 36, 60, 60))
QUARTERS = ((4, 4, 30, 30), (34, 4, 60, 30), (4, 34, 30, 60), (34, 34, 60, 60))


def tile(
    rng: Rng,
    box: tuple[int, int, int, int],
    texture: Texture,
    hue: float,
    *,
    lightness: float = 0.8,
    saturation: float = 0.8,
) -> Tile:
    """A tile of random phase."""
    left, top, right, bottom = box
    phase = float(rng.uniform(0, 2 * np.pi))
    return Tile(
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        texture=texture,
        hue=hue,
        saturation=saturation,
        phase=phase,
        lightness=lightness,
    )


def textures(rng: Rng, count: int, *, distinct: bool = False) -> list[Texture]:
    """Random textures."""
    return [TEXTURES[k] for k in rng.choice(len(TEXTURES), count, replace=not distinct)]


def forensic(rng: Rng, answer: int) -> Scene:
    """Two tiles of one material; the edited one is darker, and is left (0) or right."""
    (texture,), hue = textures(rng, 1), float(rng.uniform())
    loss = float(rng.uniform(0.8, 0.97))
    tiles = [
        tile(
            rng,
            (left, 18, left + 26, 44),
            texture,
            hue,
            lightness=0.85 * share,
            saturation=0.4,
        )
        for left, share in zip((4, 34), in_order(answer, loss, 1.0), strict=True)
    ]
    slope = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1)))
    return Scene(
        answer=answer,
        tiles=tuple(tiles),
        background=0.15,
        slope=slope,
        grain=grain(rng),
    )


def other_hue(rng: Rng, hue: float) -> float:
    """A hue not far from ``hue``."""
    return float((hue + rng.uniform(0.07, 0.25) * rng.choice((-1, 1))) % 1)


def visual_similarity(rng: Rng, answer: int) -> Scene:
    """A reference above two candidates of any textures; one has its colour."""
    hue = float(rng.uniform())
    looks = textures(rng, 3)
    right = tile(rng, CANDIDATES[answer], looks[0], hue)
    wrong = tile(rng, CANDIDATES[1 - answer], looks[1], other_hue(rng, hue))
    reference = tile(rng, REFERENCE, looks[2], hue)
    return Scene(
        answer=answer,
        tiles=(reference, *in_order(answer, right, wrong)),
        background=0.15,
        grain=grain(rng),
    )


HOLE = (22, 42)
"""Left and right edge of a jigsaw's missing piece."""


def jigsaw(rng: Rng, answer: int) -> Scene:
    """A picture with a piece missing above two pieces; the wrong one has another colour."""
    (texture,), hue = textures(rng, 1), float(rng.uniform())
    right = tile(rng, CANDIDATES[answer], texture, hue)
    wrong = tile(rng, CANDIDATES[1 - answer], texture, other_hue(rng, hue))
    left_part = tile(rng, (4, 4, HOLE[0], 28), texture, hue)
    right_part = tile(rng, (HOLE[1], 4, 60, 28), texture, hue)
    tiles = (left_part, right_part, *in_order(answer, right, wrong))
    return Scene(answer=answer, tiles=tiles, background=0.15, grain=grain(rng))


def correspondence(rng: Rng, answer: int) -> Scene:
    """A shape above and two below; ``answer`` is where its like of the same colour stands."""
    hue = float(rng.uniform())
    paint, other = (colorsys.hsv_to_rgb(h, 0.8, 0.9) for h in (hue, other_hue(rng, hue)))
    shape = distractor(rng)
    above = Figure(
        shape=shape,
        x=float(rng.uniform(24, 40)),
        y=float(rng.uniform(12, 18)),
        size=6.0,
        colour=paint,
    )
    below = [
        Figure(
            shape=shape,
            x=x + float(rng.uniform(-4, 4)),
            y=float(rng.uniform(44, 52)),
            size=6.0,
            colour=c,
        )
        for x, c in zip((16.0, 48.0), in_order(answer, paint, other), strict=True)
    ]
    return Scene(
        answer=answer,
        figures=(above, *below),
        background=float(rng.uniform(0.1, 0.3)),
        grain=grain(rng),
    )


def multi_view(rng: Rng, answer: int) -> Scene:
    """Two views, one above the other; from the first to the second the camera turned left (0) or right.

    What the camera sees moves the other way.
    """
    shift = rng.uniform(4, 10) * (1 if answer == 0 else -1)
    xs = np.sort(rng.uniform(18, 46, 2))
    while any(b - a < 13 for a, b in pairwise(xs)):
        xs = np.sort(rng.uniform(18, 46, 2))
    figures: list[Figure] = []
    for x in xs:
        seen = shape_at(
            rng,
            "disc" if rng.random() < 0.5 else "square",
            (float(x), float(rng.uniform(10, 22))),
        )
        again = Figure(
            shape=seen.shape,
            x=float(seen.x + shift),
            y=seen.y + HALF,
            size=seen.size,
            colour=seen.colour,
        )
        figures += [seen, again]
    return Scene(
        answer=answer,
        figures=tuple(figures),
        background=float(rng.uniform(0.1, 0.3)),
        grain=grain(rng),
    )
