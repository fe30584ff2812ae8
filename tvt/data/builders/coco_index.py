"""Indices in COCO's format (``images``, ``annotations``, ``categories``), which LVIS has extended.

Fields as in COCO's documentation of its data format and in LVIS's API (``lvis/lvis.py``): boxes are ``[x, y, width, height]``
in pixels, ``area`` is that of the mask. LVIS adds ``not_exhaustive_category_ids`` to an image: categories of which it may show
more than is annotated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.data.builders.raw_files import read_json
from tvt.errors import InputError

MAX_INDEX_BYTES = 4 * 2**30
"""``lvis_v1_train.json`` has more than 1 GiB."""
MAX_FAULTS = 20
"""How many faults of an index are told; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """An annotated object, the only one of its category in its image."""

    annotation: int
    image: Mapping[str, Any]
    """The image's entry, as the index has it: ``id``, ``width``, ``height`` and what names its file."""
    category: str
    box: tuple[float, float, float, float]
    """Left, top, width and height in pixels."""
    area: float
    """Of the mask, in pixels."""


def lone_instances(path: Path) -> list[Instance]:
    """Objects that are certainly the only one of their category in their image, ordered by annotation.

    Left out are images that are not annotated exhaustively with the category, groups annotated as one (``iscrowd``), and boxes
    without an area, of which COCO has a few.

    Raises:
        InputError: unreadable, or no index in COCO's format; the first faults and the number of the others.
    """
    index = read_json(path, MAX_INDEX_BYTES, object_hook=_without_masks)
    faults = _Faults(path)
    images = faults.entries(index, "images", {"id": int, "width": int, "height": int})
    annotations = faults.entries(
        index, "annotations", {"id": int, "image_id": int, "category_id": int, "bbox": list, "area": (int, float)}
    )
    categories = faults.entries(index, "categories", {"id": int, "name": str})
    faults.check()
    by_id = {image["id"]: image for image in images}
    names = {category["id"]: category["name"] for category in categories}
    count = Counter((entry["image_id"], entry["category_id"]) for entry in annotations)
    found: dict[int, Instance] = {}
    for at, entry in enumerate(annotations):
        image, name, numbers = by_id.get(entry["image_id"]), names.get(entry["category_id"]), (*entry["bbox"], entry["area"])
        if image is None or name is None or len(numbers) != 5 or not all(map(_finite, numbers)):
            faults.add(f"annotations[{at}]: its image_id, category_id, bbox or area is wrong")
        elif entry["id"] in found:
            faults.add(f"annotations[{at}]: another one has its id {entry['id']}")
        elif count[entry["image_id"], entry["category_id"]] == 1 and _exhaustive(image, entry) and min(numbers[2:]) > 0:
            left, top, width, height, area = map(float, numbers)
            box = (left, top, width, height)
            found[entry["id"]] = Instance(annotation=entry["id"], image=image, category=name, box=box, area=area)
    faults.check()
    return [found[key] for key in sorted(found)]


def _without_masks(entry: dict[str, Any]) -> dict[str, Any]:
    entry.pop("segmentation", None)  # nearly all of an index's memory
    return entry


def _exhaustive(image: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    not_all = image.get("not_exhaustive_category_ids", ())
    return not entry.get("iscrowd") and isinstance(not_all, Sequence) and entry["category_id"] not in not_all


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class _Faults:
    """Collects what is wrong with an index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.more = 0

    def add(self, what: str) -> None:
        if len(self.lines) < MAX_FAULTS:
            self.lines.append(f"{self.path}: {what}; get the file again from the source")
        else:
            self.more += 1

    def entries(self, index: Any, name: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A list of the index whose entries have fields of these types."""
        found = index.get(name) if isinstance(index, dict) else None
        if not isinstance(found, list):
            self.add(f"no list '{name}', which an index in COCO's format has")
            return []
        for at, entry in enumerate(found):
            if not isinstance(entry, dict):
                self.add(f"{name}[{at}]: no object")
                continue
            wrong = [
                key for key, kind in fields.items() if isinstance(entry.get(key), bool) or not isinstance(entry.get(key), kind)
            ]
            if wrong:
                self.add(f"{name}[{at}]: {', '.join(wrong)} missing or of a wrong type")
        return found

    def check(self) -> None:
        if self.lines:
            rest = [f"{self.path}: and {self.more} more"] if self.more else []
            raise InputError(*self.lines, *rest)
