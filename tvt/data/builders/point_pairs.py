"""Two marked points that people compared: relative reflectance (Intrinsic Images in the Wild) and depth (Depth in the Wild).

**Intrinsic Images in the Wild**: which point did people judge to be of darker surface?
Layout (read in the documentation of the JSON files that Shading Annotations in the Wild keeps and extends, and in the authors'
WHDR code, which many repositories carry): ``data/ID.png`` and ``data/ID.json`` with ``intrinsic_points`` (``id``, ``x`` and
``y`` as fractions of width and height, ``opaque``), ``intrinsic_comparisons`` (``id``, ``point1``, ``point2``, ``darker``:
``1``, ``2`` or ``E`` for about the same, ``darker_score``: the weight of the judgement, ``darker_responses``: one a person) and
``license`` (each photograph has its own). A point is the pixel ``int(x * width)``, as in the WHDR code.

What makes it fair:

* both points lie on opaque surfaces, and the judgement is sure (``MIN_SCORE``) and that of nearly all who were asked
  (``MIN_AGREEMENT`` of at least ``MIN_RESPONSES`` people, where the answers are there);
* the rings do not touch, and lie inside the image;
* which point is called A depends on the comparison's id alone, not on what is darker or where it lies.

Question and prompt are BLINK's own (seen in files that quote its ``prompt`` column, with a space and no line break before
"Select"; its length agrees with the 498 characters that EvalScope's page of BLINK gives, its template included).

**Depth in the Wild**: which point did people judge to be nearer?
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

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit, prompt_of
from tvt.data.builders.marks import Mark, circle_points, far_from, lies_inside, ring_radius
from tvt.data.builders.raw_files import inside, read_image, read_json, read_text
from tvt.data.csv_table import Faults
from tvt.errors import InputError

MIN_SCORE = 0.5
"""Least weight of a judgement; the sure ones have 1 and more."""
MIN_AGREEMENT = 0.8
"""Least share of the people asked who say what was concluded."""
MIN_RESPONSES = 4
"""Fewer answers than these say nothing of agreement; a comparison that keeps no answers is taken by its score alone."""
IIW_APART = 4.0
"""Least distance between the points, in radii of a ring."""
IIW_MIN_SIDE = 200
"""Smaller images, in pixels of the shorter side, show too little."""
MOST = 8
"""Comparisons of one image and one answer that are listed: an image makes one row, or a few."""

IIW_QUESTION = "Which point has darker surface color, or the colors is about the same?"
IIW_TASK = (
    "Two points are annotated on the image, labeled by A and B. "
    "Consider the surface color of the points (the albedo of the surface, without the effect of shading). " + IIW_QUESTION
)
IIW_OPTIONS = ("A is darker", "B is darker", "About the same")

_AGAIN = "get it again from the source, or remove it"


@dataclass(frozen=True)
class _Judgement:
    """A comparison that may become a question, its points in the order in which they are labelled."""

    comparison: int
    points: tuple[int, int]
    places: tuple[tuple[float, float], tuple[float, float]]
    """x and y of the two as fractions of width and height."""
    answer: int
    score: float
    licence: str
    """The photograph's."""


class Iiw:
    """Judgements of people on pairs of points in photographs of indoor scenes."""

    task = "Relative_Reflectance"
    layout = "iiw"
    version = 1
    options = 3
    expects: Sequence[str] = ("data/*.json", "data/*.png")

    def units(self, source: Path) -> Iterator[Unit]:
        """The sure comparisons, at most ``MOST`` of one answer an image; which point is A is decided here.

        Raises:
            InputError: JSON files that are damaged; every one, one line each.
        """
        result: list[Unit] = []
        faults: list[str] = []
        for path in sorted((source / "data").glob("*.json")):
            try:
                judgements = _judgements(path)
            except InputError as error:
                faults += error.faults
                continue
            result += [_unit(path.stem, judgement) for judgement in judgements]
        if faults:
            raise InputError(*faults)
        yield from result

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The photograph with both points ringed; ``answer`` is the unit's own.

        Raises:
            UnfitError: the image is too small, or the points are too near each other or the edge.
            InputError: the image is missing or damaged.
        """
        image = read_image(source / unit.images[0])
        if min(image.size) < IIW_MIN_SIDE:
            raise UnfitError("the image is too small")
        radius = ring_radius(image.size)
        pixels = [
            (min(int(x * image.width), image.width - 1), min(int(y * image.height), image.height - 1))
            for x, y in unit.data["places"]
        ]
        if not all(lies_inside(pixel, image.size, radius) for pixel in pixels):
            raise UnfitError("a point is too near the edge")
        if not far_from(pixels[0], pixels[1:], IIW_APART * radius):
            raise UnfitError("the points are too near each other")
        marks = [Mark(x=x, y=y, label=label) for (x, y), label in zip(pixels, "AB", strict=True)]
        return Draft(
            images=(circle_points(image, marks),),
            question=IIW_QUESTION,
            options=IIW_OPTIONS,
            answer=answer,
            provenance={
                "photo": unit.images[0],
                "comparison": unit.data["comparison"],
                "points": list(unit.data["points"]),
                "A": list(pixels[0]),
                "B": list(pixels[1]),
                "size": list(image.size),
                "score": unit.data["score"],
                "photo_licence": unit.data["licence"],
            },
            # BLINK has a space here where its other prompts break the line.
            prompt=prompt_of(IIW_TASK, IIW_OPTIONS).replace("\nSelect", " Select", 1),
        )


def _unit(photo: str, judgement: _Judgement) -> Unit:
    return Unit(
        key=f"{photo}/{judgement.comparison}",
        images=(f"data/{photo}.png",),
        answer=judgement.answer,
        data={
            "comparison": judgement.comparison,
            "points": judgement.points,
            "places": judgement.places,
            "score": judgement.score,
            "licence": judgement.licence,
        },
    )


def _judgements(path: Path) -> list[_Judgement]:
    """The sure comparisons of a photograph, few of each answer, chosen by their ids alone."""
    data = read_json(path)
    try:
        points = {point["id"]: point for point in data["intrinsic_points"]}
        licence = str((data.get("license") or {}).get("name") or "not stated")
        sure = [result for item in data["intrinsic_comparisons"] if (result := _judgement(item, points, licence)) is not None]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else "a field is not of its kind"
        raise InputError(f"{path}: no judgements of Intrinsic Images in the Wild ({why}); {_AGAIN}") from error
    if len({judgement.comparison for judgement in sure}) < len(sure):
        raise InputError(f"{path}: two comparisons share an id; {_AGAIN}")
    taken: Counter[int] = Counter()
    sound = []
    for judgement in sorted(sure, key=lambda judgement: _hash(judgement.comparison)):
        taken[judgement.answer] += 1
        if taken[judgement.answer] <= MOST:
            sound.append(judgement)
    return sound


def _judgement(item: Mapping[str, Any], points: Mapping[int, Mapping[str, Any]], licence: str) -> _Judgement | None:
    """A comparison, or ``None`` where it is not sure, of shading, or of surfaces that are not opaque."""
    darker, score = item["darker"], item["darker_score"]
    if darker not in ("1", "2", "E") or item.get("compare_what", "R") != "R" or score is None:
        return None
    first, second = points[item["point1"]], points[item["point2"]]
    if (
        not MIN_SCORE <= score < math.inf
        or not (first["opaque"] and second["opaque"])
        or not _agreed(item.get("darker_responses"), darker)
    ):
        return None
    places = tuple((_fraction(point["x"]), _fraction(point["y"])) for point in (first, second))
    comparison, ids = int(item["id"]), (int(first["id"]), int(second["id"]))
    swapped = _hash(comparison)[0] % 2 == 1
    answer = 2 if darker == "E" else int(darker) - 1
    if swapped:
        places, ids = places[::-1], ids[::-1]
        answer = {0: 1, 1: 0, 2: 2}[answer]
    return _Judgement(comparison, ids, (places[0], places[1]), answer, float(score), licence)


def _agreed(responses: Sequence[Mapping[str, Any]] | None, darker: str) -> bool:
    """Whether nearly all who were asked say so; so it is where no answers are stored."""
    if not responses:
        return True
    alike = sum(response["darker"] == darker for response in responses)
    return len(responses) >= MIN_RESPONSES and alike >= MIN_AGREEMENT * len(responses)


def _fraction(value: float) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ValueError("a coordinate outside the image")
    return number


def _hash(comparison: int) -> bytes:
    return hashlib.sha256(str(comparison).encode()).digest()


IMAGES = "DIW_train_val"
INDICES = ("DIW_Annotations/DIW_train_val.csv", "DIW_Annotations/DIW_train.csv")
"""The first of these that is there is read."""
DIW_APART = 4.0
"""Least distance between the points, in radii of a ring."""
DIW_MIN_SIDE = 200
"""Smaller images, in pixels of the shorter side, show too little."""
STRETCH = 0.02
"""How far the image's shape may be from what the index says, a fraction: coordinates would be off."""

DIW_QUESTION = "Which point is closer to the camera?"
DIW_TASK = f"Two points are circled on the image, labeled by A and B beside each circle. {DIW_QUESTION}"
DIW_OPTIONS = ("A is closer", "B is closer")

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
        if min(image.size) < DIW_MIN_SIDE:
            raise UnfitError("the image is too small")
        across, down = (have / stated for have, stated in zip(image.size, pair.size, strict=True))
        if abs(across / down - 1) > STRETCH:
            raise UnfitError("the image is not of the shape that the index says")
        radius = ring_radius(image.size)
        places = [((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5) for x, y in pair.points]
        if not all(lies_inside(place, image.size, radius) for place in places):
            raise UnfitError("a point is too near the edge")
        if not far_from(places[0], places[1:], DIW_APART * radius):
            raise UnfitError("the points are too near each other")
        order = [0, 1] if pair.nearer == answer else [1, 0]
        marks = [Mark(x=places[k][0], y=places[k][1], label=label) for k, label in zip(order, "AB", strict=True)]
        return Draft(
            images=(circle_points(image, marks),),
            question=DIW_QUESTION,
            options=DIW_OPTIONS,
            answer=answer,
            provenance={
                "image": unit.images[0],
                "row": unit.data["row"],
                **{mark.label: [round(mark.x, 2), round(mark.y, 2)] for mark in marks},
                "size": list(image.size),
                "swapped": order == [1, 0],
            },
            prompt=prompt_of(DIW_TASK, DIW_OPTIONS),
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
