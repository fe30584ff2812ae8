"""Functional_Correspondence from FunKPoint (Lai, Purushwalkam, Gupta: "The Functional Correspondence Problem", ICCV 2021).

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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.correspondence import CHOICES, load_view, pick_keypoints, point_draft
from tvt.data.builders.marks import Point
from tvt.data.builders.raw_files import inside, read_text
from tvt.errors import InputError

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
        raise InputError(f"{path}: no column {', '.join(missing)}; see tvt.data.builders.funkpoint for the layout")
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
