"""Relative depth from Depth in the Wild: which of two points in a photograph people judged to be nearer.

Layout (read in loaders of several repositories, which agree): ``DIW_Annotations/DIW_train_val.csv`` (or ``DIW_train.csv``, of
the split annotations), in which a line with an image's path, ``./DIW_train_val/NAME.thumb``, is followed by one with
``y_A,x_A,y_B,x_B,relation,width,height``, and the images, JPEG files, in the folder ``DIW_train_val``. Coordinates count from
1. The relation compares depths: ``>`` says that A is *farther* than B (so the dataset's README, as a converter quotes it; a
second loader reads it alike). ``DIW_test`` stays untouched: BLINK may have been made from it.

What makes it fair: the rings do not touch, and lie inside the image; points of like depth (``=``) are not asked about. The
dataset has one pair an image and says nothing of how clear it was, so that no margin can be asked for.

Question and prompt are BLINK's own (seen in files that quote its ``prompt`` column; its length agrees with the 359 characters
that EvalScope's page of BLINK gives, its template included).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit, prompt_of
from tvt.data.builders.marks import Mark, circle_points, far_from, lies_inside, ring_radius
from tvt.data.builders.raw_files import inside, read_image, read_text
from tvt.data.csv_table import Faults

IMAGES = "DIW_train_val"
INDICES = ("DIW_Annotations/DIW_train_val.csv", "DIW_Annotations/DIW_train.csv")
"""The first of these that is there is read."""
APART = 4.0
"""Least distance between the points, in radii of a ring."""
MIN_SIDE = 200
"""Smaller images, in pixels of the shorter side, show too little."""
STRETCH = 0.02
"""How far the image's shape may be from what the index says, a fraction: coordinates would be off."""

QUESTION = "Which point is closer to the camera?"
TASK = f"Two points are circled on the image, labeled by A and B beside each circle. {QUESTION}"
OPTIONS = ("A is closer", "B is closer")

_ROW = "y_A,x_A,y_B,x_B,relation,width,height"


@dataclass(frozen=True)
class Pair:
    """A line of the index: two points as (x, y), counted from 0, in an image of ``size``; which is nearer (0, 1 or neither)."""

    points: tuple[tuple[int, int], tuple[int, int]]
    nearer: int | None
    size: tuple[int, int]


class Diw:
    """One pair of points an image, the nearer one known."""

    task = "Relative_Depth"
    layout = "diw"
    version = 1
    options = 2
    expects: Sequence[str] = ("DIW_Annotations/DIW_train*.csv", IMAGES)

    def units(self, source: Path) -> Iterator[Unit]:
        """Every annotated image; which point is called A is not decided yet.

        Raises:
            InputError: the index is damaged; the first faults, one line each.
        """
        path = next((source / name for name in INDICES if (source / name).is_file()), source / INDICES[0])
        faults = Faults(path)
        seen: set[str] = set()
        units = []
        lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
        if len(lines) % 2:
            faults.add(lines[-1][0], f"an image's path without its {_ROW}; get the index again from the source")
        for (number, image), (_, row) in zip(lines[::2], lines[1::2], strict=False):
            name = PurePosixPath(image).name
            fault = "no image's path" if not name or "," in image else row_fault(row)
            if fault is not None:
                faults.add(number, f"{fault}; lines must be a path and {_ROW} in turn")
            elif name not in seen:
                seen.add(name)
                units.append(Unit(key=name, images=(f"{IMAGES}/{name}",), data={"row": row}))
        faults.check()
        yield from units

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The photograph with both points ringed, the nearer one called by the letter of ``answer``.

        Raises:
            UnfitError: the points are of like depth, or too near each other or the edge, or the image is small or reshaped.
            InputError: the image is missing or damaged.
        """
        pair = parse(unit.data["row"])
        if pair.nearer is None:
            raise UnfitError("the points are of like depth")
        image = read_image(inside(source, unit.images[0]))
        if min(image.size) < MIN_SIDE:
            raise UnfitError("the image is too small")
        across, down = (have / told for have, told in zip(image.size, pair.size, strict=True))
        if abs(across / down - 1) > STRETCH:
            raise UnfitError("the image is not of the shape that the index says")
        radius = ring_radius(image.size)
        places = [((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5) for x, y in pair.points]
        if not all(lies_inside(place, image.size, radius) for place in places):
            raise UnfitError("a point is too near the edge")
        if not far_from(places[0], places[1:], APART * radius):
            raise UnfitError("the points are too near each other")
        order = [0, 1] if pair.nearer == answer else [1, 0]
        marks = [Mark(x=places[k][0], y=places[k][1], label=label) for k, label in zip(order, "AB", strict=True)]
        return Draft(
            images=(circle_points(image, marks),),
            question=QUESTION,
            options=OPTIONS,
            answer=answer,
            provenance={
                "image": unit.images[0],
                "row": unit.data["row"],
                **{mark.label: [round(mark.x, 2), round(mark.y, 2)] for mark in marks},
                "size": list(image.size),
                "swapped": order == [1, 0],
            },
            prompt=prompt_of(TASK, OPTIONS),
        )


def row_fault(row: str) -> str | None:
    """What is wrong with an annotation, or ``None``."""
    cells = [cell.strip() for cell in row.split(",")]
    if len(cells) != 7 or cells[4] not in ("<", ">", "="):
        return f"'{row[:60]}' is no annotation"
    numbers = [cell for k, cell in enumerate(cells) if k != 4]
    if not all(number.isascii() and number.isdigit() and len(number) < 7 for number in numbers):
        return f"'{row[:60]}' has numbers that are no pixels"
    if min(map(int, numbers[-2:])) < 1:
        return f"'{row[:60]}' has an image without size"
    return None


def parse(row: str) -> Pair:
    """An annotation without faults (:func:`row_fault`)."""
    y_a, x_a, y_b, x_b, relation, width, height = (cell.strip() for cell in row.split(","))
    points = ((int(x_a) - 1, int(y_a) - 1), (int(x_b) - 1, int(y_b) - 1))
    return Pair(points, {"<": 0, ">": 1}.get(relation), (int(width), int(height)))
