"""Counting from TallyQA, the source that BLINK was made from.

Layout (read in manoja328/TallyQA_dataset, ``README.md``, and in loaders of others): ``train.json``, a list of objects with
``image``, ``question``, ``answer`` (a number), ``issimple``, ``data_source``, ``image_id`` and ``question_id``; ``image`` is a
path such as ``VG_100K_2/2410408.jpg`` or ``train2014/COCO_train2014_000000000009.jpg``, with the folders of Visual Genome and
of COCO's 2014 images beside ``train.json``. Questions whose image is there are used, so one of the folders is enough.

The question is TallyQA's own, as in BLINK ("How many blue floats are there?"). Which of TallyQA's questions BLINK took is not
published; simple and complex ones are taken in turn. The test split is not touched.
"""

from __future__ import annotations

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

_FIELDS: dict[str, type] = {"image": str, "question": str, "answer": int, "issimple": bool}


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
            if unanimous([record["answer"] for record in records]) and 0 <= records[0]["answer"] <= MOST
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
                "simple": unit.data["simple"],
                "data_source": unit.data["data_source"],
            },
        )


def _records(path: Path) -> list[dict[str, Any]]:
    """The entries of the index.

    Raises:
        InputError: it is damaged; the first faults and the number of the others.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: no list of questions; get the file again from the source")
    faults = [
        f"{path}: question {at}: {', '.join(wrong)} missing or of a wrong type; get the file again from the source"
        for at, entry in enumerate(entries)
        if (wrong := _wrong(entry))
    ]
    if faults:
        more = len(faults) - MAX_FAULTS
        raise InputError(*faults[:MAX_FAULTS], *([f"{path}: and {more} more"] if more > 0 else []))
    return entries


def _wrong(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return list(_FIELDS)
    kinds = {key: type(entry.get(key)) for key in _FIELDS}  # exactly: a truth value is no number
    return [key for key, kind in _FIELDS.items() if kinds[key] is not kind]


def _unit(key: str, record: dict[str, Any]) -> Unit:
    question, count = " ".join(record["question"].split()), record["answer"]
    lowest = lowest_option(count, key)
    number, origin = record.get("question_id"), record.get("data_source")
    return Unit(
        key=key,
        images=(record["image"],),
        stratum=f"{'simple' if record['issimple'] else 'complex'}: {stratum_of(count, lowest)}",
        data={
            "question": question,
            "count": count,
            "lowest": lowest,
            "simple": record["issimple"],
            "question_id": number if isinstance(number, int) else None,
            "data_source": origin if isinstance(origin, str) else None,
        },
    )
