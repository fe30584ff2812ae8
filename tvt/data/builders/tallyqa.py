"""Counting from TallyQA, the source that BLINK was made from.

Layout (read in manoja328/TallyQA_dataset, ``README.md``, and google-research/big_vision, ``datasets/tallyqa/tallyqa.py``):
``train.json``, a list of objects with ``image``, ``question``, ``answer`` (a number, or a text that is one), ``data_source``,
``image_id`` and ``question_id``; ``issimple`` stands in the test split only. ``image`` is a path such as
``VG_100K_2/2410408.jpg`` or ``train2014/COCO_train2014_000000000009.jpg``, with the folders of Visual Genome (``VG_100K``,
``VG_100K_2``) and of COCO's 2014 images (``train2014``, ``val2014``) beside ``train.json``. Questions whose image is there are
used, so one of the folders is enough.

The question is TallyQA's own, as in BLINK ("How many blue floats are there?"). Which of TallyQA's questions BLINK took is not
published. Those that people wrote for TallyQA (``data_source`` is ``amt``; its README calls them complex) and those
imported from other datasets are taken in turn. The test split is not touched.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.counting import MOST, OPTIONS, check_image, lowest_option, number_options, stratum_of, unanimous
from tvt.data.builders.presence import only_present
from tvt.data.builders.raw_files import inside, read_image, read_json
from tvt.data.csv_table import MAX_FAULTS
from tvt.errors import InputError

INDEX = "train.json"
LONGEST_QUESTION = 120
"""Characters: what is longer is a story."""

_WRITTEN = "amt"
"""``data_source`` of the questions that people wrote for TallyQA."""


class TallyQA:
    """Questions of TallyQA's training split whose count is between 0 and ``MOST``."""

    task = "Counting"
    layout = "tallyqa"
    version = 1
    options = OPTIONS
    expects: Sequence[str] = (INDEX,)

    def units(self, source: Path) -> list[Unit]:
        """One unit a question of an image that is there; those that were answered differently are left out.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / INDEX
        asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in _records(path):
            asked[f"{record['image']}/{' '.join(record['question'].split())}"].append(record)
        units = [
            _unit(key, records[0])
            for key, records in asked.items()
            if unanimous([record["answer"] for record in records]) and records[0]["answer"] <= MOST
        ]
        return only_present(source, units, path)

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """An image and TallyQA's question, the count at ``answer``.

        Raises:
            UnfitError: no plain question that begins with "how many", or the image is too small.
            InputError: the image is missing or damaged.
        """
        question, count, lowest = unit.data["question"], unit.data["count"], unit.data["lowest"]
        if not question.lower().startswith("how many ") or not question.endswith("?") or not question.isprintable():
            raise UnfitError("the question does not ask how many")
        if len(question) > LONGEST_QUESTION or question.count("?") > 1:
            raise UnfitError("the question is not one plain question")
        image = read_image(inside(source, unit.images[0]))
        check_image(image)
        return Draft(
            images=(image,),
            question=question,
            options=number_options(count, lowest, answer, rng),
            answer=answer,
            provenance={
                "question_id": unit.data["question_id"],
                "image": unit.images[0],
                "count": count,
                "data_source": unit.data["data_source"],
            },
        )


def _records(path: Path) -> list[dict[str, Any]]:
    """The entries of the index, their answers as numbers.

    Raises:
        InputError: it is damaged; the first faults and the number of the others.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: no list of questions; get the file again from the source")
    faults: list[str] = []
    for at, entry in enumerate(entries):
        count = _number(entry.get("answer")) if isinstance(entry, dict) else None
        if count is None or not isinstance(entry.get("image"), str) or not isinstance(entry.get("question"), str):
            faults.append(f"{path}: entry {at}: image, question or answer missing or wrong; get the file again from the source")
        else:
            entry["answer"] = count
    if faults:
        more = len(faults) - MAX_FAULTS
        raise InputError(*faults[:MAX_FAULTS], *([f"{path}: and {more} more"] if more > 0 else []))
    return entries


def _number(value: Any) -> int | None:
    """A count, or ``None`` where a value is none."""
    if type(value) is int:  # a truth value is none
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else None


def _unit(key: str, record: dict[str, Any]) -> Unit:
    count, origin = record["answer"], record.get("data_source")
    lowest = lowest_option(count, key)
    return Unit(
        key=key,
        images=(record["image"],),
        stratum=f"{'written' if origin == _WRITTEN else 'imported'}: {stratum_of(count, lowest)}",
        data={
            "question": " ".join(record["question"].split()),
            "count": count,
            "lowest": lowest,
            "question_id": _number(record.get("question_id")),
            "data_source": origin if isinstance(origin, str) else None,
        },
    )
