"""Counting from counted images (TallyQA, or PixMo-Count): four numbers near each other, of which one is right.

The options are four consecutive numbers, in no order, as BLINK has them ("(A) 0 (B) 3 (C) 2 (D) 1"). Which four is fixed by the
unit's key, evenly among those that hold the right number and none below 0. Numbers and windows are strata together, and strata
are taken in turn: among the rows that show the same four numbers, each of them is right equally often. So neither the smallest
nor a middle number, nor how often a count occurs, gives the answer away.

TallyQA is the source that BLINK was made from. Layout (read in manoja328/TallyQA_dataset, ``README.md``, and
google-research/big_vision, ``datasets/tallyqa/tallyqa.py``): ``train.json``, a list of objects with ``image``, ``question``,
``answer`` (a number, or a text that is one), ``data_source``, ``image_id`` and ``question_id``; ``issimple`` stands in the test
split only. ``image`` is a path such as ``VG_100K_2/2410408.jpg`` or ``train2014/COCO_train2014_000000000009.jpg``, with the
folders of Visual Genome (``VG_100K``, ``VG_100K_2``) and of COCO's 2014 images (``train2014``, ``val2014``) beside
``train.json``. Questions whose image is there are used, so one of the folders is enough.

The question is TallyQA's own, as in BLINK ("How many blue floats are there?"). Which of TallyQA's questions BLINK took is not
published. Those that people wrote for TallyQA (``data_source`` is ``amt``; its README calls them complex) and those
imported from other datasets are taken in turn. The test split is not touched.

PixMo-Count stands in for TallyQA: it has objects on photographs of the web, each with a point on it.
Layout (the dataset's card, allenai/pixmo-count): ``data/train-*.parquet`` with ``image_url``, ``image_sha256``, ``count``,
``points`` (``x`` and ``y`` in pixels) and ``label``, as the hub has them. The dataset holds no images. They belong into
``images/``, where each is called by its ``image_sha256``, with any suffix or none; this naming is ours. Rows whose image is
there are used, and an image that is not the annotated one any more (its digest is another) is passed over. The splits for
evaluation are not touched.

The question is written here, in the form of BLINK's ("How many blue floats are there?"): the labels are plurals.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.marks import fit_within, lies_inside
from tvt.data.builders.raw_files import inside, only_present, read_bytes, read_image, read_json
from tvt.data.csv_table import MAX_FAULTS
from tvt.errors import InputError

OPTIONS = 4
MOST = 12
"""Larger counts are not asked for: people do not see them at a glance."""
LEAST_IMAGE = 160
"""Shorter side of an image, in pixels."""


def lowest_option(count: int, key: str) -> int:
    """The lowest of the four numbers offered to the unit of this key, for a count of 0 to ``MOST``."""
    first, last = max(0, count - OPTIONS + 1), min(count, MOST - OPTIONS + 1)
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return first + number % (last - first + 1)


def stratum_of(count: int, lowest: int) -> str:
    """The stratum of a count that is offered among four numbers."""
    return f"{count} of {lowest} to {lowest + OPTIONS - 1}"


def number_options(count: int, lowest: int, answer: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Four consecutive numbers from ``lowest`` on, the count at ``answer``, the others in no order."""
    others = [number for number in range(lowest, lowest + OPTIONS) if number != count]
    shuffled = [others[at] for at in rng.permutation(len(others))]
    shuffled.insert(answer, count)
    return tuple(map(str, shuffled))


def check_image(image: Image.Image) -> None:
    """Raise UnfitError where there is too little to count on."""
    if min(image.size) < LEAST_IMAGE:
        raise UnfitError("the image is too small")


def unanimous(counts: Sequence[int]) -> bool:
    """Whether all counts of the same things in the same image are the same."""
    return len(set(counts)) == 1


PIXMO_INDEX = "data/train-*.parquet"
PIXMO_IMAGES = "images"
LONGEST_SIDE = 1024
"""Larger photographs are scaled down: more pixels help nobody to count."""
LEAST_APART = 0.01
"""Two points are at least this share of the image's longer side apart: nearer ones may mark one thing twice."""

_COLUMNS = ("image_sha256", "count", "points", "label")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"[A-Za-z][A-Za-z '\-]{0,40}")


class PixmoCount:
    """Rows of the training split whose count is between 0 and ``MOST``."""

    task = "Counting"
    layout = "pixmo_count"
    version = 1
    options = OPTIONS
    expects: Sequence[str] = (PIXMO_INDEX, PIXMO_IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit a label of an image that is there; those that were counted differently are left out.

        Raises:
            InputError: a table is damaged, or none of its images is there.
        """
        files = _files(source / PIXMO_IMAGES)
        counted: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        rows = 0
        for path in sorted(source.glob(PIXMO_INDEX)):
            for record in _pixmo_rows(path):
                rows += 1
                if record["image_sha256"] in files:
                    counted[record["image_sha256"], record["label"].lower()].append(record)
        if rows and not counted:
            raise InputError(
                f"{source / PIXMO_IMAGES}: none of {rows} rows' images; "
                "download each image_url and call the file by its image_sha256"
            )
        return [
            _pixmo_unit(f"{PIXMO_IMAGES}/{files[sha]}", label, records[0])
            for (sha, label), records in counted.items()
            if unanimous([record["count"] for record in records]) and 0 <= records[0]["count"] <= MOST
        ]

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """A photograph and how many of its label are there, the count at ``answer``.

        Raises:
            UnfitError: the label is no plain word, points and count disagree, or the image is another one or too small.
            InputError: the image is missing or damaged.
        """
        label, count, points = unit.data["label"], unit.data["count"], unit.data["points"]
        if not _LABEL.fullmatch(label):
            raise UnfitError("the label is no plain word")
        if len(points) != count:
            raise UnfitError("points and count disagree")
        path = inside(source, unit.images[0])
        if hashlib.sha256(read_bytes(path)).hexdigest() != unit.data["sha256"]:
            raise UnfitError("the image is not the annotated one (its sha256 is another)")
        photograph = read_image(path)
        check_image(photograph)
        _check_points(points, photograph.size)
        image, scale = fit_within(photograph, LONGEST_SIDE)
        return Draft(
            images=(image,),
            question=f"How many {label} are there?",
            options=number_options(count, unit.data["lowest"], answer, rng),
            answer=answer,
            provenance={
                "image_sha256": unit.data["sha256"],
                "label": label,
                "count": count,
                "points": [list(point) for point in points],
                "scale": round(scale, 6),
            },
        )


def _check_points(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> None:
    if not all(lies_inside(point, size, 0) for point in points):
        raise UnfitError("a point lies outside the image")
    if any(math.dist(one, other) < LEAST_APART * max(size) for one, other in combinations(points, 2)):
        raise UnfitError("two points may mark one thing")


def _files(folder: Path) -> dict[str, str]:
    """Names of the image files by the digest that they are called by."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; this folder of images is needed") from error
    return {name.partition(".")[0]: name for name in names if _DIGEST.fullmatch(name.partition(".")[0])}


def _pixmo_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Raises:
        InputError: no Parquet file, or one with other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: no Parquet file with {', '.join(_COLUMNS)}; get the file again from the source") from error
    faults = [at for at, row in enumerate(rows) if not _sound(row)]
    if faults:
        raise InputError(f"{path}: row {faults[0]} and {len(faults) - 1} more are damaged; get the file again from the source")
    yield from rows


def _sound(row: dict[str, Any]) -> bool:
    return isinstance(row["image_sha256"], str) and type(row["count"]) is int and isinstance(row["label"], str)


def _pixmo_unit(path: str, label: str, record: dict[str, Any]) -> Unit:
    sha, count = record["image_sha256"], record["count"]
    key = f"{sha}/{label}"
    lowest = lowest_option(count, key)
    return Unit(
        key=key,
        images=(path,),
        stratum=stratum_of(count, lowest),
        data={"sha256": sha, "label": label, "count": count, "lowest": lowest, "points": _points(record["points"])},
    )


def _points(value: Any) -> tuple[tuple[float, float], ...]:
    """Points as pairs; the hub's table has either a list of points, or a list of all x and one of all y."""
    if isinstance(value, dict):
        pairs = list(zip(value.get("x") or (), value.get("y") or (), strict=False))
    else:
        pairs = [(point.get("x"), point.get("y")) for point in value or () if isinstance(point, dict)]
    return tuple((float(x), float(y)) for x, y in pairs if isinstance(x, (int, float)) and isinstance(y, (int, float)))


TALLYQA_INDEX = "train.json"
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
    expects: Sequence[str] = (TALLYQA_INDEX,)

    def units(self, source: Path) -> list[Unit]:
        """One unit a question of an image that is there; those that were answered differently are left out.

        Raises:
            InputError: the index is damaged, or none of its images is there.
        """
        path = source / TALLYQA_INDEX
        by_question: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in _records(path):
            by_question[f"{record['image']}/{' '.join(record['question'].split())}"].append(record)
        units = [
            _tallyqa_unit(key, records[0])
            for key, records in by_question.items()
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


def _tallyqa_unit(key: str, record: dict[str, Any]) -> Unit:
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
