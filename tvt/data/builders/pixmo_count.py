"""Counting from PixMo-Count, which stands in for TallyQA: objects on photographs of the web, each with a point on it.

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

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.counting import MOST, OPTIONS, check_image, lowest_option, number_options, stratum_of, unanimous
from tvt.data.builders.marks import fit_within, lies_inside
from tvt.data.builders.raw_files import inside, read_bytes, read_image
from tvt.errors import InputError

INDEX = "data/train-*.parquet"
IMAGES = "images"
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
    expects: Sequence[str] = (INDEX, IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit a label of an image that is there; those that were counted differently are left out.

        Raises:
            InputError: a table is damaged, or none of its images is there.
        """
        files = _files(source / IMAGES)
        counted: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        rows = 0
        for path in sorted(source.glob(INDEX)):
            for record in _rows(path):
                rows += 1
                if record["image_sha256"] in files:
                    counted[record["image_sha256"], record["label"].lower()].append(record)
        if rows and not counted:
            raise InputError(
                f"{source / IMAGES}: none of {rows} rows' images; download each image_url and call the file by its image_sha256"
            )
        return [
            _unit(f"{IMAGES}/{files[sha]}", label, records[0])
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


def _rows(path: Path) -> Iterator[dict[str, Any]]:
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


def _unit(path: str, label: str, record: dict[str, Any]) -> Unit:
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
