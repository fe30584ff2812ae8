"""Questions of BLINK's correspondence tasks: a point of one image, labelled REF; which of four points of another matches it?

Fairness, the same for all of them, in radii of the drawn ring: points keep ``MARGIN`` from the edges of their image; the four
points on the second image keep ``APART`` from each other; where it is known what the wrong ones match on the first image, that
keeps ``DISTINCT`` from the reference point, so that the reference cannot be taken for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvt.data.builders.contract import Draft, UnfitError
from tvt.data.builders.marks import Mark, Point, circle_points, far_from, fit_within, lies_inside, ring_radius, scaled
from tvt.data.builders.raw_files import inside, read_image

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
    placed = [*wrong[:answer], right, *wrong[answer:]]
    marks = [Mark(x=x, y=y, label=letter) for letter, (x, y) in zip(LETTERS, placed, strict=True)]
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
                "raw": {letter: _pair(second.raw(point)) for letter, point in zip(LETTERS, placed, strict=True)},
                "drawn": {letter: _pair(point) for letter, point in zip(LETTERS, placed, strict=True)},
            },
            "ring_radius": [first.radius, second.radius],
        },
    )


def _pair(point: Point) -> list[float]:
    return [round(value, 3) for value in point]
