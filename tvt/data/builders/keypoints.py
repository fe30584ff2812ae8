"""Correspondence from annotated keypoints: Semantic_Correspondence from SPair-71k, Functional_Correspondence from FunKPoint.

**SPair-71k** (Min et al., 2019). Layout of ``SPair-71k``: ``Layout/large/<split>.txt`` lists pairs,
``000001-2008_000585-2008_006221:aeroplane`` a line (number, source image, target image, category);
``PairAnnotation/<split>/<line>.json`` holds ``category``, ``src_imname``, ``trg_imname``, ``src_imsize`` and ``trg_imsize``
(width, height, bands), ``src_kps`` and ``trg_kps`` (the keypoints that both images show, in the same order, x and y in pixels)
and ``kps_ids``; images are ``JPEGImages/<category>/<name>``. Seen in public loaders (GANgealing's and Neural Congealing's
``prepare_data.py``, DIFT).

The prompt is BLINK's, as quoted in public code that trains on its format; the question is the short form in its ``question``
column. BLINK shows keypoints of the same object as the wrong options, and so does this builder. It reads the splits ``trn`` and
``val``; ``test`` is left to those who evaluate on it.

**FunKPoint** (Lai, Purushwalkam, Gupta: "The Functional Correspondence Problem", ICCV 2021).
The layout is not verified: the authors' release could not be seen. What is read is the layout of the data that others describe
and derive from: ``labels.csv`` with a row for each image and action, columns ``action`` (``Brush/Dust``, ``Pull out a nail``),
``image_path`` (``images/n04284002/0006.jpg``, the folder a WordNet id) and ``p1_x``, ``p1_y`` to ``p5_x``, ``p5_y``: five
functional keypoints as shares of width and height, the k-th of one object matching the k-th of any other for the same action;
``object_category`` (``spoon``) may be there. Columns, paths and shares were seen in the tables of a curated subset made from
that ``labels.csv`` (Qifei-C/funkpoint_curated_dataset: ``split.json``, ``all_samples.csv``); five normalised keypoints and
action labels per image are also what the appendix of arXiv 2512.21218 says of FunKPoint.

Of BLINK's prompt the opening was seen (arXiv 2512.21218), and that it names the action as ``the action "Mix"`` (answers in
BLINK's repository repeat it); the rest is its task definition in its other correspondence prompts' words, not verified word for
word. The question is the short form in BLINK's ``question`` column.

Images are paired within an action. Pairs of all images would be a million; each image is paired with ``PARTNERS`` others, in an
order that depends on the names alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.marks import CHOICES, Point, View, load_view, pick_keypoints, point_draft
from tvt.data.builders.raw_files import inside, read_json, read_text
from tvt.errors import InputError

SPLITS = ("trn", "val")
PROMPT = (
    "Humans can find corresponding points for different objects in the same category. For instance, if there are images of two "
    "different cats, then the left ear tip of one cat corresponds to the left ear tip of the other cat, and the right front "
    "paw of one cat corresponds to the right front paw of the other cat.\n"
    "Given the following two images, a reference point is annotated on the first image, labeled with REF. You are given "
    'multiple red-circled points on the second image, choices of "A, B, C, D" are drawn beside each circle. Select between the '
    "choices on the second image and find the corresponding point for the reference point. Which point is corresponding to the "
    f"reference point?\n{CHOICES}"
)

_LINE = re.compile(r"(\d+)-([\w.]+)-([\w.]+):(\w+)")
_AGAIN = "unpack SPair-71k again, or remove the pair"


@dataclass(frozen=True)
class Spair:
    """Builder of Semantic_Correspondence from SPair-71k."""

    task = "Semantic_Correspondence"
    layout = "spair"
    version = 1
    options = 4
    expects = ("Layout/large/trn.txt", "PairAnnotation/trn/*.json", "JPEGImages/*/*.jpg")

    def units(self, source: Path) -> Iterable[Unit]:
        """Every pair of the splits ``trn`` and ``val``; categories are the strata.

        Raises:
            InputError: a list of pairs is missing or has a damaged line; the first of every list.
        """
        faults: list[str] = []
        result: list[Unit] = []
        for split in SPLITS:
            try:
                result += _listed(source, split)
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(*faults)
        return result

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of a pair.

        Raises:
            UnfitError: an image is too small, or its keypoints are too close to each other or to the edge.
            InputError: the annotation or an image is missing or damaged, or they name different images.
        """
        split, name = unit.data["split"], unit.data["name"]
        path = inside(source, f"PairAnnotation/{split}/{name}.json")
        pair = _SpairPair.read(path, unit.images)
        views = (load_view(source, unit.images[0]), load_view(source, unit.images[1]))
        for view, size in zip(views, pair.sizes, strict=True):
            _check_size(path, view, size)
        here, there = ([view.shown(point) for point in side] for view, side in zip(views, pair.keypoints, strict=True))
        chosen = pick_keypoints(views, (here, there), rng)
        provenance = {"split": split, "pair": name, "category": pair.category, "keypoints": [pair.ids[k] for k in chosen]}
        return point_draft(views, here[chosen[0]], [there[k] for k in chosen], answer, prompt=PROMPT, provenance=provenance)


def _listed(source: Path, split: str) -> Iterator[Unit]:
    path = inside(source, f"Layout/large/{split}.txt")
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}:{number}: '{line[:80]}' names no pair; unpack SPair-71k again")
        first, second, category = match.group(2), match.group(3), match.group(4)
        yield Unit(
            key=f"{split}/{match.group()}",
            images=(f"JPEGImages/{category}/{first}.jpg", f"JPEGImages/{category}/{second}.jpg"),
            stratum=category,
            data={"split": split, "name": match.group()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _SpairPair:
    """What a pair's annotation says."""

    category: str
    ids: tuple[str, ...]
    keypoints: tuple[list[Point], list[Point]]
    sizes: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def read(cls, path: Path, images: tuple[str, ...]) -> _SpairPair:
        """Read and check an annotation.

        Raises:
            InputError: missing, damaged, or of other images than ``images``.
        """
        data = read_json(path)
        try:
            sides = (_points(data["src_kps"]), _points(data["trg_kps"]))
            pair = cls(
                category=str(data["category"]),
                ids=tuple(str(name) for name in data["kps_ids"]),
                keypoints=sides,
                sizes=(_size(data["src_imsize"]), _size(data["trg_imsize"])),
            )
            named = tuple(f"JPEGImages/{pair.category}/{data[key]}" for key in ("src_imname", "trg_imname"))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not a pair's annotation ({type(error).__name__}: {error}); {_AGAIN}") from error
        if named != images:
            raise InputError(f"{path}: of {' and '.join(named)}, not of the images in its name; {_AGAIN}")
        if not len(pair.ids) == len(sides[0]) == len(sides[1]):
            raise InputError(f"{path}: {len(pair.ids)} ids of {len(sides[0])} and {len(sides[1])} keypoints; {_AGAIN}")
        return pair


def _points(values: Any) -> list[Point]:
    result = [(float(x), float(y)) for x, y in values]
    if not all(math.isfinite(value) for point in result for value in point):
        raise ValueError("a keypoint is not finite")
    return result


def _size(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _check_size(path: Path, view: View, size: tuple[int, int]) -> None:
    """The annotation's keypoints count in the pixels of the image that is there."""
    shown = (round(size[0] * view.scale), round(size[1] * view.scale))
    if shown != view.image.size:
        width, height = (round(side / view.scale) for side in view.image.size)
        raise InputError(f"{path}: says {size[0]} x {size[1]} pixels, but {view.name} has {width} x {height}; {_AGAIN}")


LABELS = "labels.csv"
KEYPOINTS = 5
PARTNERS = 8

_AXES = tuple((f"p{number}_x", f"p{number}_y") for number in range(1, KEYPOINTS + 1))
_COLUMNS = ("action", "image_path", *(axis for pair in _AXES for axis in pair))
_MOST_FAULTS = 20
_LONGEST_NAME = 120


def prompt(action: str) -> str:
    """What is asked for an action, up to and without the options."""
    return (
        "Humans can find corresponding points for the same action between different objects. For instance, if a person uses a "
        'pot versus a hammer to "Mash Pound", then the handle of the pot will be the corresponding point to the handle of the '
        "hammer because they serve the same function -- to hold; and the bottom of the pot will be the corresponding point to "
        "the face of the hammer because they both will touch the target surface.\n"
        "Given the following two images, a reference point is annotated on the first image, labeled with REF. You are given "
        'multiple red-circled points on the second image, choices of "A, B, C, D" are drawn beside each circle. Select between '
        "the choices on the second image and find the corresponding point for the reference point, if we use both items for "
        f'the action: "{action}". Which point is corresponding to the reference point?\n{CHOICES}'
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Labelled:
    """A row of the table: an image and its keypoints for an action."""

    action: str
    image: str
    category: str
    keypoints: tuple[Point, ...]
    """Shares of width and height."""


@dataclass(frozen=True)
class FunKPoint:
    """Builder of Functional_Correspondence from FunKPoint."""

    task = "Functional_Correspondence"
    layout = "funkpoint"
    version = 1
    options = 4
    expects = (LABELS, "images/*/*")

    def units(self, source: Path) -> Iterable[Unit]:
        """Pairs of images labelled for the same action; actions are the strata.

        Raises:
            InputError: the table is missing or damaged; every faulty row, one line each, up to 20.
        """
        rows = _read_labels(source / LABELS)
        for action in sorted({row.action for row in rows}):
            of_action = sorted((row for row in rows if row.action == action), key=lambda row: _scatter(f"{action}/{row.image}"))
            for one, other in _partners(of_action):
                yield Unit(
                    key=f"{action}/{one.image}+{other.image}",
                    images=(one.image, other.image),
                    stratum=action,
                    data={"action": action, "rows": (one, other)},
                )

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of a pair of images.

        Raises:
            UnfitError: an image is too small, or its keypoints are too close to each other or to the edge.
            InputError: an image is missing or damaged.
        """
        rows: tuple[_Labelled, _Labelled] = unit.data["rows"]
        views = (load_view(source, rows[0].image), load_view(source, rows[1].image))
        here, there = (
            [(x * view.image.width - 0.5, y * view.image.height - 0.5) for x, y in row.keypoints]
            for view, row in zip(views, rows, strict=True)
        )
        chosen = pick_keypoints(views, (here, there), rng)
        provenance = {
            "action": unit.data["action"],
            "categories": [row.category for row in rows],
            "keypoints": [f"p{k + 1}" for k in chosen],
        }
        return point_draft(
            views,
            here[chosen[0]],
            [there[k] for k in chosen],
            answer,
            prompt=prompt(unit.data["action"]),
            provenance=provenance,
        )


def _read_labels(path: Path) -> list[_Labelled]:
    """The rows of ``labels.csv``, each image once an action.

    Raises:
        InputError: missing, without the columns, or with faulty rows.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; see tvt.data.builders.keypoints for the layout")
    rows: dict[tuple[str, str], _Labelled] = {}
    faults: list[str] = []
    try:
        for row in reader:
            try:
                labelled = _labelled(path, row)
            except (ValueError, InputError) as error:
                faults.append(f"{path}:{reader.line_num}: {error}; mend the row or remove it")
                continue
            rows.setdefault((labelled.action, labelled.image), labelled)
    except csv.Error as error:
        faults.append(f"{path}:{reader.line_num}: {error}; the table is damaged here; get it again")
    if faults:
        more = [f"{path}: {len(faults) - _MOST_FAULTS} more such rows"] if len(faults) > _MOST_FAULTS else []
        raise InputError(*faults[:_MOST_FAULTS], *more)
    return list(rows.values())


def _labelled(path: Path, row: dict[str, str | None]) -> _Labelled:
    values = {column: (row[column] or "").strip() for column in _COLUMNS}
    action, image = values["action"], values["image_path"]
    if not action or len(action) > _LONGEST_NAME or not action.isprintable():
        raise ValueError(f"'{action[:_LONGEST_NAME]}' is no action's name")
    inside(path.parent, image)
    keypoints = tuple((_share(values[x]), _share(values[y])) for x, y in _AXES)
    category = (row.get("object_category") or "").strip() or PurePosixPath(image).parent.name
    return _Labelled(action=action, image=PurePosixPath(image).as_posix(), category=category, keypoints=keypoints)


def _share(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{text} is no share of an image's width or height, which lies between 0 and 1")
    return value


def _scatter(text: str) -> str:
    """A key that puts names in an order of chance, everywhere the same."""
    return hashlib.sha256(text.encode()).hexdigest()


def _partners(rows: list[_Labelled]) -> Iterable[tuple[_Labelled, _Labelled]]:
    """Each row with the next ``PARTNERS`` in the list, which is a ring; no two rows twice."""
    count = len(rows)
    for step in range(1, PARTNERS + 1):
        for k in range(count):
            j = (k + step) % count
            if 2 * step < count or (2 * step == count and k < j):
                yield rows[k], rows[j]
