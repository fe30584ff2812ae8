"""Object localization from annotated boxes (LVIS v1, or COCO): an object's box and one that is off, drawn on its image.

The right box is the annotated one. The wrong box is made from it: smaller or larger in width and height, and shifted, so that
the two share between ``LEAST_IOU`` and ``MOST_IOU`` of their union and no edge lies on the other's. An object is taken only
where both a smaller and a larger wrong box fit into the image, and a coin decides which is shown: the size of a box tells
nothing.

Question, prompt and options are BLINK's own (seen in several files and papers that quote its ``question`` and ``prompt``
columns; this task's prompt says "options" where others say "choices"). How BLINK made its wrong boxes is not published; the
range of the IoU here is narrower than the [0.2, 0.5] of another rebuilding (Latent Implicit Visual Reasoning, appendix A.3) and
reaches higher, so that boxes must be looked at closely.

Indices are in COCO's format (``images``, ``annotations``, ``categories``), which LVIS has extended.
Fields as in COCO's documentation of its data format and in LVIS's API (``lvis/lvis.py``): boxes are ``[x, y, width, height]``
in pixels, ``area`` is that of the mask. LVIS adds ``not_exhaustive_category_ids`` to an image: categories of which it may show
more than is annotated.

LVIS v1 is the source that BLINK was made from. Layout (read in lvis-dataset/lvis-api, ``lvis/lvis.py``, and in loaders of LVIS
v1 that take an image's path from the last two parts of its ``coco_url``): ``lvis_v1_train.json`` and COCO's images in
``train2017/``. Fields: ``images`` with ``id, width, height, coco_url, not_exhaustive_category_ids``, ``annotations`` with ``id,
image_id, category_id, bbox, area``, ``categories`` with ``id, name``. A category's name is written as BLINK writes it, with
spaces for underscores: ``tank_top_(clothing)`` is "tank top (clothing)".

COCO stands in for LVIS: it has fewer categories, all of them annotated in every image. Layout (as COCO unpacks, and as
torchvision and detectron2 expect it): ``annotations/instances_train2017.json`` and ``train2017/``; an image's ``file_name`` is
relative to that folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.marks import RED, Box, Colour, Rectangle, draw_boxes, ring_radius
from tvt.data.builders.raw_files import inside, only_present, read_image, read_json
from tvt.errors import InputError

MAX_INDEX_BYTES = 4 * 2**30
"""``lvis_v1_train.json`` has more than 1 GiB."""
MAX_FAULTS = 20
"""How many faults of an index are reported; the others are counted."""


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
    result: dict[int, Instance] = {}
    for at, entry in enumerate(annotations):
        image, name, numbers = by_id.get(entry["image_id"]), names.get(entry["category_id"]), (*entry["bbox"], entry["area"])
        if image is None or name is None or len(numbers) != 5 or not all(map(_finite, numbers)):
            faults.add(f"annotations[{at}]: its image_id, category_id, bbox or area is wrong")
        elif entry["id"] in result:
            faults.add(f"annotations[{at}]: another one has its id {entry['id']}")
        elif count[entry["image_id"], entry["category_id"]] == 1 and _exhaustive(image, entry) and min(numbers[2:]) > 0:
            left, top, width, height, area = map(float, numbers)
            box = (left, top, width, height)
            result[entry["id"]] = Instance(annotation=entry["id"], image=image, category=name, box=box, area=area)
    faults.check()
    return [result[key] for key in sorted(result)]


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
        result = index.get(name) if isinstance(index, dict) else None
        if not isinstance(result, list):
            self.add(f"no list '{name}', which an index in COCO's format has")
            return []
        for at, entry in enumerate(result):
            if not isinstance(entry, dict):
                self.add(f"{name}[{at}]: no object")
                continue
            wrong = [
                key for key, kind in fields.items() if isinstance(entry.get(key), bool) or not isinstance(entry.get(key), kind)
            ]
            if wrong:
                self.add(f"{name}[{at}]: {', '.join(wrong)} missing or of a wrong type")
        return result

    def check(self) -> None:
        if self.lines:
            rest = [f"{self.path}: and {self.more} more"] if self.more else []
            raise InputError(*self.lines, *rest)


QUESTION = "Which bounding box more accurately localizes and encloses the {name}?"
PROMPT = (
    "A bounding box is an annotated rectangle surrounding an object. The edges of bounding boxes should touch the outermost "
    "pixels of the object that is being labeled. Given the two bounding boxes on the image, labeled by A and B, which bounding "
    "box more accurately localizes and encloses the {name}?\nSelect from the following options.\n(A) Box A\n(B) Box B"
)
OPTIONS = ("Box A", "Box B")
LABELS = ("A", "B")
BLUE: Colour = (0, 60, 255)
COLOURS = (RED, BLUE)

LEAST_IOU, MOST_IOU = 0.3, 0.6
LEAST_SIDE = 32
"""Of the object's box, in pixels: smaller ones are told apart by pixels, not by looking."""
LEAST_SHARE, MOST_SHARE = 0.02, 0.5
"""Of the image's area that the object's box covers."""
LEAST_FILL = 0.35
"""Of the box's area that the object's mask covers: of a sparser one (a string, a pole) people argue about the extent."""
LEAST_IMAGE = 200
"""Shorter side of an image, in pixels."""
ATTEMPTS = 200
LARGEST_STRETCH = 1.9
"""How much wider or narrower, higher or lower a wrong box is at most."""
LARGEST_SHIFT = 0.35
"""How far a wrong box is shifted at most, as a share of the object's width and height."""


def box_units(instances: Iterable[tuple[str, Instance]]) -> list[Unit]:
    """One unit an object, with the path of its image; its category is its stratum."""
    return [
        Unit(
            key=str(instance.annotation),
            images=(path,),
            stratum=instance.category,
            data={
                "category": instance.category,
                "box": instance.box,
                "area": instance.area,
                "size": (instance.image["width"], instance.image["height"]),
                "image_id": instance.image["id"],
            },
        )
        for path, instance in instances
    ]


def box_draft(source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
    """An image with two boxes, the object's own at ``answer``.

    Raises:
        UnfitError: the object is too small, too large or too sparse, the image is another one, or no wrong box fits.
        InputError: the image is missing or damaged.
    """
    right = _right_box(unit.data)
    image = read_image(inside(source, unit.images[0]))
    if image.size != unit.data["size"]:
        raise UnfitError("the image has another size than the index says")
    wrong = wrong_box(right, image.size, rng)
    edges = (right, wrong) if answer == 0 else (wrong, right)
    boxes = [Box(edges=box, label=label, colour=colour) for box, label, colour in zip(edges, LABELS, COLOURS, strict=True)]
    name = unit.data["category"].replace("_", " ")
    return Draft(
        images=(draw_boxes(image, boxes),),
        question=QUESTION.format(name=name),
        options=OPTIONS,
        answer=answer,
        provenance={
            "annotation": unit.key,
            "image_id": unit.data["image_id"],
            "image": unit.images[0],
            "category": unit.data["category"],
            "annotated_box": list(unit.data["box"]),
            "right_box": [int(edge) for edge in right],
            "wrong_box": [int(edge) for edge in wrong],
            "iou": round(iou(right, wrong), 4),
        },
        prompt=PROMPT.format(name=name),
    )


def iou(one: Rectangle, other: Rectangle) -> float:
    """Area that two boxes (left, top, right, bottom) share, divided by the area that they cover together."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (_area(one) + _area(other) - shared)


def wrong_box(right: Rectangle, size: tuple[int, int], rng: np.random.Generator) -> Rectangle:
    """A box that is off by much, though it is the same object's, with whole numbers for edges.

    Raises:
        UnfitError: no smaller or no larger one fits into the image.
    """
    both = [_off(right, size, larger, rng) for larger in (False, True)]
    return both[int(rng.integers(2))]


def _off(right: Rectangle, size: tuple[int, int], larger: bool, rng: np.random.Generator) -> Rectangle:
    width, height = right[2] - right[0], right[3] - right[1]
    sign = 1 if larger else -1
    for _ in range(ATTEMPTS):
        stretch = np.exp(sign * rng.uniform(0, math.log(LARGEST_STRETCH), 2))
        shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2)
        x, y = right[0] + width * (0.5 + shift[0]), right[1] + height * (0.5 + shift[1])
        half_x, half_y = width * stretch[0] / 2, height * stretch[1] / 2
        box = (float(round(x - half_x)), float(round(y - half_y)), float(round(x + half_x)), float(round(y + half_y)))
        apart = min(abs(one - other) for one, other in zip(box, right, strict=True)) >= ring_radius(size) / 2
        overlaps = LEAST_IOU <= iou(right, box) <= MOST_IOU
        if apart and overlaps and _keeps_margin(box, size) and (_area(box) > _area(right)) == larger:
            return box
    raise UnfitError("no wrong box fits into the image")


def _right_box(data: Any) -> Rectangle:
    """The annotated box with whole numbers for edges, as tight as those can be.

    Raises:
        UnfitError: the object or the image is not fit to be asked about.
    """
    (left, top, width, height), (across, down) = data["box"], data["size"]
    if min(across, down) < LEAST_IMAGE:
        raise UnfitError("the image is too small")
    if min(width, height) < LEAST_SIDE or width * height < LEAST_SHARE * across * down:
        raise UnfitError("the object is too small")
    if width * height > MOST_SHARE * across * down:
        raise UnfitError("the object is too large")
    if data["area"] < LEAST_FILL * width * height:
        raise UnfitError("the object fills too little of its box")
    right = float(round(left)), float(round(top)), float(round(left + width)), float(round(top + height))
    if not _keeps_margin(right, (across, down)):
        raise UnfitError("the object reaches the image's edge")
    return right


def _keeps_margin(box: Rectangle, size: tuple[int, int]) -> bool:
    """Whether the lines around a box lie in the image, all four."""
    margin = ring_radius(size) / 2
    return min(box[0], box[1], size[0] - box[2], size[1] - box[3]) >= margin


def _area(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


COCO_INDEX = "annotations/instances_train2017.json"
IMAGES = "train2017"


class CocoBoxes:
    """Objects that are the only one of their category in their image."""

    task = "Object_Localization"
    layout = "coco"
    version = 1
    options = 2
    expects: Sequence[str] = (COCO_INDEX, IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit an object whose image is there.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / COCO_INDEX
        instances = ((f"{IMAGES}/{item.image.get('file_name')}", item) for item in lone_instances(path))
        return only_present(source, box_units(instances), path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.object_boxes.box_draft`."""
        return box_draft(source, unit, answer, rng)


LVIS_INDEX = "lvis_v1_train.json"


class Lvis:
    """Objects that are the only one of their category in an image that is annotated with all of that category."""

    task = "Object_Localization"
    layout = "lvis"
    version = 1
    options = 2
    expects: Sequence[str] = (LVIS_INDEX, "train2017")

    def units(self, source: Path) -> list[Unit]:
        """One unit an object whose image is there.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / LVIS_INDEX
        instances = lone_instances(path)
        return only_present(source, box_units((_image_path(item.image, path), item) for item in instances), path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.object_boxes.box_draft`."""
        return box_draft(source, unit, answer, rng)


def _image_path(image: Mapping[str, Any], index: Path) -> str:
    """Folder and name of the image's file, the last two parts of its address."""
    parts = str(image.get("coco_url", "")).split("/")[-2:]
    if len(parts) < 2 or not all(parts):
        raise InputError(f"{index}: image {image['id']} has no coco_url; get {LVIS_INDEX} of LVIS v1 (v0.5 has other fields)")
    return "/".join(parts)
