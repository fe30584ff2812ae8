"""Jigsaw from COCO's photographs, which stand in for TARA's: those can only be downloaded one by one from the newspaper.

Layout (as COCO unpacks): the images in ``train2017/``; no annotation is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvt.data.builders.contract import Draft, Unit
from tvt.data.builders.jigsaw import jigsaw_draft, jigsaw_unit
from tvt.data.builders.raw_files import image_files

IMAGES = "train2017"


class CocoJigsaw:
    """All photographs of COCO's training split."""

    task = "Jigsaw"
    layout = "coco"
    version = 1
    options = 2
    expects: Sequence[str] = (IMAGES,)

    def units(self, source: Path) -> list[Unit]:
        """One unit a photograph.

        Raises:
            InputError: there is no folder of them.
        """
        return [jigsaw_unit(f"{IMAGES}/{name}") for name in image_files(source / IMAGES)]

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.jigsaw.jigsaw_draft`."""
        return jigsaw_draft(source, unit, answer, rng)
