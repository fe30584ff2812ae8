"""Object localization from LVIS v1, the source that BLINK was made from.

Layout (read in lvis-dataset/lvis-api, ``lvis/lvis.py``, and in loaders of LVIS v1 that take an image's path from the last two
parts of its ``coco_url``): ``lvis_v1_train.json`` and COCO's images in ``train2017/``. Fields: ``images`` with ``id, width,
height, coco_url, not_exhaustive_category_ids``, ``annotations`` with ``id, image_id, category_id, bbox, area``, ``categories``
with ``id, name``. A category's name is written as BLINK writes it, with spaces for underscores: ``tank_top_(clothing)`` is
"tank top (clothing)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvt.data.builders.box_choice import box_draft, box_units
from tvt.data.builders.coco_index import lone_instances
from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.presence import only_present
from tvt.errors import InputError

INDEX = "lvis_v1_train.json"


class Lvis:
    """Objects that are the only one of their category in an image that is annotated with all of that category."""

    task = "Object_Localization"
    layout = "lvis"
    version = 1
    options = 2
    expects: Sequence[str] = (INDEX, "train2017")

    def units(self, source: Path) -> list[Unit]:
        """One unit an object whose image is there.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / INDEX
        instances = lone_instances(path)
        return only_present(source, box_units((_image_path(found.image, path), found) for found in instances), path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.box_choice.box_draft`."""
        return box_draft(source, unit, answer, rng)


def _image_path(image: Mapping[str, Any], index: Path) -> str:
    """Folder and name of the image's file, the last two parts of its address."""
    parts = str(image.get("coco_url", "")).split("/")[-2:]
    if len(parts) < 2 or not all(parts):
        raise InputError(f"{index}: image {image['id']} has no coco_url; get {INDEX} of LVIS v1 (v0.5 has other fields)")
    return "/".join(parts)
