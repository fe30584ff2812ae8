"""Visual prompts (circled points with a letter beside them, boxes), and the questions about matching points that use them.

Sizes follow the image. A ring leaves its point free to be seen; a white rim sets the colour off from the ground; a label is
white on a tag of the mark's colour and stands beside it, inside the image, where it covers no other mark. What is drawn depends
on places and labels alone, so that nothing tells the right option from the others.

BLINK's correspondence tasks show a point of one image, labelled REF, and ask which of four points of another matches it.
Fairness, the same for all of them, in radii of the drawn ring: points keep ``MARGIN`` from the edges of their image; the four
points on the second image keep ``APART`` from each other; where it is known what the wrong ones match on the first image, that
keeps ``DISTINCT`` from the reference point, so that the reference cannot be taken for one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tvt.data.builders.contract import Draft, UnfitError
from tvt.data.builders.raw_files import inside, read_image

Colour = tuple[int, int, int]
Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]

RED: Colour = (255, 0, 0)
WHITE: Colour = (255, 255, 255)

_SMALLEST = 8.0
_RADIUS = 0.018
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
"""Where a label may stand beside its mark, the preferred side first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A point to be circled: its place in pixels (the centre of the first pixel is 0, 0) and the label beside it."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box to be drawn: left, top, right, bottom in pixels; the right and bottom edges lie outside its last pixels."""

    edges: Rectangle
    label: str = ""
    colour: Colour = RED


def ring_radius(size: tuple[int, int]) -> float:
    """Radius in pixels of the rings drawn on an image of this width and height; rules on distances count in it."""
    return max(_SMALLEST, _RADIUS * max(size))


def circle_points(image: Image.Image, marks: Sequence[Mark], colour: Colour = RED) -> Image.Image:
    """A copy of an RGB image on which each point is ringed, with its label beside the ring."""
    radius = ring_radius(image.size)
    pixels = np.asarray(image, dtype=np.float32).copy()
    half = max(1.25, radius / 8)
    for paint, width in ((WHITE, half + max(1.5, radius / 10)), (colour, half)):
        for mark in marks:
            _ring(pixels, mark, radius, width, paint)
    marked = Image.fromarray(np.rint(pixels).astype(np.uint8))
    taken = [(mark.x - radius, mark.y - radius, mark.x + radius, mark.y + radius) for mark in marks]
    for index, mark in enumerate(marks):
        others = taken[:index] + taken[index + 1 :]
        taken.append(_label(marked, taken[index], mark.label, colour, others))
    return marked


def draw_boxes(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """A copy of an RGB image with boxes drawn, each label beside its box; lines run outside the box and cover none of it."""
    marked = image.copy()
    pen = ImageDraw.Draw(marked)
    radius = ring_radius(image.size)
    line = max(2, round(radius / 4))
    rim = max(1, line // 2)
    for paint, width in (("white", line + rim), (None, line)):
        for box in boxes:
            left, top, right, bottom = (round(edge) for edge in box.edges)
            # Pillow's lines grow inwards from these corners, which are pixels and belong to the line.
            corners = (left - width, top - width, right + width - 1, bottom + width - 1)
            pen.rectangle(corners, outline=paint or box.colour, width=width)
    taken = [box.edges for box in boxes]
    for index, box in enumerate(boxes):
        if box.label:
            others = taken[:index] + taken[index + 1 :]
            taken.append(_label(marked, box.edges, box.label, box.colour, others))
    return marked


def fit_within(image: Image.Image, longest: int) -> tuple[Image.Image, float]:
    """The image, scaled down so that its longer side has at most this many pixels, and the scale (1 where it fits already)."""
    scale = min(1.0, longest / max(image.size))
    if scale == 1.0:
        return image, 1.0
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS), scale


def scaled(point: Point, scale: float) -> Point:
    """Where a point lies after scaling: pixel centres are whole numbers, so edges lie half a pixel off."""
    return (point[0] + 0.5) * scale - 0.5, (point[1] + 0.5) * scale - 0.5


def lies_inside(point: Point, size: tuple[int, int], margin: float) -> bool:
    """Whether a point keeps ``margin`` pixels from the edges of an image."""
    return all(margin <= value <= side - 1 - margin for value, side in zip(point, size, strict=True))


def far_from(point: Point, others: Sequence[Point], apart: float) -> bool:
    """Whether a point keeps ``apart`` pixels from all others."""
    return all(math.dist(point, other) >= apart for other in others)


def _ring(pixels: NDArray[np.float32], mark: Mark, radius: float, half: float, colour: Colour) -> None:
    """Blend a ring in, smooth at its edges: full colour within ``half`` - 0.5 pixels of the circle."""
    height, width = pixels.shape[:2]
    reach = radius + half + 1
    left, right = max(0, math.floor(mark.x - reach)), min(width, math.ceil(mark.x + reach) + 1)
    top, bottom = max(0, math.floor(mark.y - reach)), min(height, math.ceil(mark.y + reach) + 1)
    if left >= right or top >= bottom:
        return
    ys, xs = np.mgrid[top:bottom, left:right]
    off = np.abs(np.hypot(xs - mark.x, ys - mark.y) - radius)
    share = np.clip(half + 0.5 - off, 0, 1)[..., None].astype(np.float32)
    window = pixels[top:bottom, left:right]
    window += share * (np.asarray(colour, dtype=np.float32) - window)


def _label(image: Image.Image, beside: Rectangle, text: str, colour: Colour, others: Sequence[Rectangle]) -> Rectangle:
    """Put a label beside a mark, where it stays inside the image and covers least of the others; return where it stands."""
    radius = ring_radius(image.size)
    font = ImageFont.load_default(max(14.0, 1.5 * radius))
    pen = ImageDraw.Draw(image)
    bold, pad = round(radius / 24), max(3, round(radius / 4))
    drawn = pen.textbbox((0, 0), text, font=font, stroke_width=bold)
    size = (drawn[2] - drawn[0] + 2 * pad, drawn[3] - drawn[1] + 2 * pad)
    places = [_inside(_beside(beside, size, side, radius / 2), image.size) for side in _SIDES]
    # A label right beside another mark would be taken for that mark's: it keeps away from others, by a radius.
    apart = [_grown(other, radius) for other in others]
    left, top, right, bottom = min(places, key=lambda place: sum(_overlap(place, other) for other in [beside, *apart]))
    pen.rounded_rectangle((left, top, right - 1, bottom - 1), radius=pad, fill=colour, outline="white")
    origin = (left + pad - drawn[0], top + pad - drawn[1])
    pen.text(origin, text, fill="white", font=font, stroke_width=bold, stroke_fill="white")
    return left, top, right, bottom


def _beside(mark: Rectangle, size: tuple[float, float], side: tuple[int, int], gap: float) -> Rectangle:
    """The rectangle of a label of this size at one side of a mark."""
    spans = []
    for axis in (0, 1):
        low, high, length = mark[axis], mark[axis + 2], size[axis]
        start = (low + high - length) / 2 if side[axis] == 0 else high + gap if side[axis] > 0 else low - gap - length
        spans.append((start, start + length))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _inside(place: Rectangle, size: tuple[int, int]) -> Rectangle:
    """The rectangle moved so that it lies inside an image."""
    across = min(max(place[0], 0.0), size[0] - (place[2] - place[0])) - place[0]
    down = min(max(place[1], 0.0), size[1] - (place[3] - place[1])) - place[1]
    return place[0] + across, place[1] + down, place[2] + across, place[3] + down


def _grown(place: Rectangle, by: float) -> Rectangle:
    """The rectangle with a margin around it."""
    return place[0] - by, place[1] - by, place[2] + by, place[3] + by


def _overlap(one: Rectangle, other: Rectangle) -> float:
    """Area that two rectangles share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


LETTERS = "ABCD"
OPTIONS = tuple(f"Point {letter}" for letter in LETTERS)
QUESTION = "Which point is corresponding to the reference point?"
CHOICES = "Select from the following choices."
LONGEST = 1024
"""Longer side of an image as shown, at most; in pixels."""
SHORTEST = 160
"""Shorter side of an image, at least."""
MARGIN = 1.5
APART = 4.0
DISTINCT = 2.5

_TRIES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One of the two images, as it is shown."""

    name: str
    """Its path in the source."""
    image: Image.Image
    scale: float
    """Of the shown image, against the raw one."""

    @property
    def radius(self) -> float:
        """Of the rings drawn on it."""
        return ring_radius(self.image.size)

    def shown(self, raw: Point) -> Point:
        """Where a point of the raw image is shown."""
        return scaled(raw, self.scale)

    def raw(self, shown: Point) -> Point:
        """Where a shown point lies in the raw image."""
        return scaled(shown, 1 / self.scale)

    def holds(self, shown: Point) -> bool:
        """Whether a shown point keeps the margin from the edges."""
        return lies_inside(shown, self.image.size, MARGIN * self.radius)


def load_view(source: Path, name: str) -> View:
    """Read an image of a source and scale it as it is shown.

    Raises:
        UnfitError: it is too small.
        InputError: it is missing, damaged, or outside the source.
    """
    image = read_image(inside(source, name))
    if min(image.size) < SHORTEST:
        raise UnfitError("image too small")
    shown, scale = fit_within(image, LONGEST)
    return View(name=name, image=shown, scale=scale)


def pick_wrong(view: View, right: Point, pool: Sequence[Point], rng: np.random.Generator) -> list[int] | None:
    """Three of a pool of points that may be marked beside the right one: indices, or ``None`` where there are none.

    Args:
        view: the second image; all points are places on it as shown.
        right: the match.
        pool: points that could be wrong options.
        rng: decides which.
    """
    apart = APART * view.radius
    usable = [k for k, point in enumerate(pool) if view.holds(point) and far_from(point, [right], apart)]
    for _ in range(_TRIES):
        picked: list[int] = []
        for k in rng.permutation(usable).tolist():
            if far_from(pool[k], [pool[other] for other in picked], apart):
                picked.append(k)
            if len(picked) == len(LETTERS) - 1:
                return picked
    return None


def pick_keypoints(
    views: tuple[View, View], keypoints: tuple[Sequence[Point], Sequence[Point]], rng: np.random.Generator
) -> list[int]:
    """Of keypoints known on both images: the one to refer to, and three others to be the wrong options.

    Args:
        views: the two images.
        keypoints: places on them as shown; the k-th of one matches the k-th of the other.
        rng: decides which.

    Returns:
        Four indices, the reference's first.

    Raises:
        UnfitError: there is no such choice that keeps the distances.
    """
    (first, second), (here, there) = views, keypoints
    for k in rng.permutation(len(here)).tolist():
        if not (first.holds(here[k]) and second.holds(there[k])):
            continue
        distinct = [j for j in range(len(here)) if far_from(here[j], [here[k]], DISTINCT * first.radius)]
        wrong = pick_wrong(second, there[k], [there[j] for j in distinct], rng)
        if wrong is not None:
            return [k, *(distinct[j] for j in wrong)]
    raise UnfitError("keypoints too close to each other or to the edge")


def point_draft(
    views: tuple[View, View],
    reference: Point,
    candidates: Sequence[Point],
    answer: int,
    *,
    prompt: str,
    provenance: Mapping[str, Any],
) -> Draft:
    """Draw the marks and word the question.

    Args:
        views: the two images.
        reference: place of the reference point, as shown.
        candidates: places of the right option and then of the wrong ones, as shown.
        answer: position of the right option.
        prompt: what is asked, up to and without the options.
        provenance: what the builder wants to say beside places.
    """
    first, second = views
    right, *wrong = candidates
    options = [*wrong[:answer], right, *wrong[answer:]]
    marks = [Mark(x=x, y=y, label=letter) for letter, (x, y) in zip(LETTERS, options, strict=True)]
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, OPTIONS, strict=True))
    return Draft(
        images=(
            circle_points(first.image, [Mark(x=reference[0], y=reference[1], label="REF")]),
            circle_points(second.image, marks),
        ),
        question=QUESTION,
        options=OPTIONS,
        answer=answer,
        prompt=f"{prompt}\n{listed}",
        provenance={
            **provenance,
            "reference": {
                "image": first.name,
                "scale": first.scale,
                "raw": _pair(first.raw(reference)),
                "drawn": _pair(reference),
            },
            "target": {
                "image": second.name,
                "scale": second.scale,
                "raw": {letter: _pair(second.raw(point)) for letter, point in zip(LETTERS, options, strict=True)},
                "drawn": {letter: _pair(point) for letter, point in zip(LETTERS, options, strict=True)},
            },
            "ring_radius": [first.radius, second.radius],
        },
    )


def _pair(point: Point) -> list[float]:
    return [round(value, 3) for value in point]
