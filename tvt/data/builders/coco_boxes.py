"""Object localization from COCO's instances, which stand in for LVIS: fewer categories, all of them annotated in every image.

Layout (as COCO unpacks, and as torchvision and detectron2 expect it): ``annotations/instances_train2017.json`` and
``train2017/``; an image's ``file_name`` is relative to that folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvt.data.builders.box_choice import box_draft, box_units
from tvt.data.builders.coco_index import lone_instances
from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.presence import only_present

INDEX = "annotations/instances_train2017.json"
IMAGES = "train2017"


class CocoBoxes:
    """Objects that are the only one of their category in their image."""

    task = "Object_Localization"
    layout = "coco"
    version = 1
    options = 2
    expects: Sequence[str] = (INDEX, IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit an object whose image is there.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / INDEX
        instances = ((f"{IMAGES}/{found.image.get('file_name')}", found) for found in lone_instances(path))
        return only_present(source, box_units(instances), path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.box_choice.box_draft`."""
        return box_draft(source, unit, answer, rng)
