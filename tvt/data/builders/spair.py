"""Semantic_Correspondence from SPair-71k (Min et al., 2019).

Layout of ``SPair-71k``: ``Layout/large/<split>.txt`` lists pairs, ``000001-2008_000585-2008_006221:aeroplane`` a line (number,
source image, target image, category); ``PairAnnotation/<split>/<line>.json`` holds ``category``, ``src_imname``,
``trg_imname``, ``src_imsize`` and ``trg_imsize`` (width, height, bands), ``src_kps`` and ``trg_kps`` (the keypoints that both
images show, in the same order, x and y in pixels) and ``kps_ids``; images are ``JPEGImages/<category>/<name>``. Seen in public
loaders (GANgealing's and Neural Congealing's ``prepare_data.py``, DIFT).

The prompt is BLINK's, as quoted in public code that trains on its format; the question is the short form in its ``question``
column. BLINK shows keypoints of the same object as the wrong options, and so does this builder. It reads the splits ``trn`` and
``val``; ``test`` is left to those who evaluate on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.correspondence import CHOICES, View, load_view, pick_keypoints, point_draft
from tvt.data.builders.marks import Point
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
        found: list[Unit] = []
        for split in SPLITS:
            try:
                found += _listed(source, split)
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(*faults)
        return found

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of a pair.

        Raises:
            UnfitError: an image is too small, or its keypoints are too close to each other or to the edge.
            InputError: the annotation or an image is missing or damaged, or they speak of different images.
        """
        split, name = unit.data["split"], unit.data["name"]
        path = inside(source, f"PairAnnotation/{split}/{name}.json")
        pair = _Pair.read(path, unit.images)
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
class _Pair:
    """What a pair's annotation says."""

    category: str
    ids: tuple[str, ...]
    keypoints: tuple[list[Point], list[Point]]
    sizes: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def read(cls, path: Path, images: tuple[str, ...]) -> _Pair:
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
    found = [(float(x), float(y)) for x, y in values]
    if not all(math.isfinite(value) for point in found for value in point):
        raise ValueError("a keypoint is not finite")
    return found


def _size(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _check_size(path: Path, view: View, size: tuple[int, int]) -> None:
    """The annotation's keypoints count in the pixels of the image that is there."""
    shown = (round(size[0] * view.scale), round(size[1] * view.scale))
    if shown != view.image.size:
        width, height = (round(side / view.scale) for side in view.image.size)
        raise InputError(f"{path}: speaks of {size[0]} x {size[1]} pixels, but {view.name} has {width} x {height}; {_AGAIN}")
