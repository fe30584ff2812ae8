"""Jigsaw from TARA, news photographs of the New York Times: the source that BLINK was made from.

Layout (read in zeyofu/TARA, ``eval.py``, whose folder ``data/nyt_preprocessed`` this is): ``input/train.jsonl``, an object with
``image_url`` a line, and ``images/``, where an image is called by its address without ``https://static01.nyt.com/``, with ``-``
for ``/``, and ``.jpg`` at its end. The index is shared by TARA's makers, the images are downloaded by whoever uses it; those
that are there are used. The splits for evaluation (``gold_dev.jsonl``, ``gold_test.jsonl``) are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.jigsaw import jigsaw_draft, jigsaw_unit
from tvt.data.builders.presence import only_present
from tvt.data.builders.raw_files import read_json_lines
from tvt.data.csv_table import Faults
from tvt.errors import InputError

INDEX = "input/train.jsonl"
IMAGES = "images"
_ADDRESS = "https://static01.nyt.com/"


class Tara:
    """Photographs of TARA's training split."""

    task = "Jigsaw"
    layout = "tara"
    version = 1
    options = 2
    expects: Sequence[str] = (INDEX, IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit a photograph that is there; the index names some of them several times.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / INDEX
        faults = Faults(path)
        names: dict[str, None] = {}
        for line, record in read_json_lines(path):
            address = record.get("image_url")
            if isinstance(address, str) and address:
                names[f"{IMAGES}/{image_name(address)}"] = None
            else:
                faults.add(line, "no image_url; get the file again from the source")
        faults.check()
        return only_present(source, [jigsaw_unit(name) for name in names], path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """See :func:`tvt.data.builders.jigsaw.jigsaw_draft`; a download that is no image is unfit, as there always are some."""
        try:
            return jigsaw_draft(source, unit, answer, rng)
        except InputError as error:
            raise UnfitError("the download is no whole image") from error


def image_name(address: str) -> str:
    """What TARA's code calls the file of an image."""
    name = address.replace(_ADDRESS, "").replace("/", "-")
    return name if name.endswith(".jpg") else f"{name}.jpg"
