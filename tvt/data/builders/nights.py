"""Visual similarity from NIGHTS, the triplets of DreamSim: a reference image and two variations, of which people chose one.

Layout (read in ssundaram21/dreamsim, ``dataset/README.md`` and ``dataset/dataset.py``; the columns' names in loaders of others
that read them by name): ``data.csv`` with the columns ``id``, ``left_vote``, ``right_vote``, ``votes``, ``ref_path``,
``left_path``, ``right_path``, ``split`` and ``prompt``, and the images ``ref/000/000.png``, ``distort/000/000_0.png`` and
``distort/000/000_1.png``. A vote of 1 says that people found this variation more like the reference; DreamSim itself uses
triplets with at least 6 votes, all alike.

Question and prompt are BLINK's own (seen in files that quote its ``prompt`` column; its length agrees with the 414 characters
that EvalScope's page of BLINK gives, its template included).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit, prompt_of
from tvt.data.builders.raw_files import inside, read_image
from tvt.data.csv_table import Faults, Row, Table, number, read_table

MIN_VOTES = 6
"""Fewer people than these are not asked after: DreamSim's own threshold."""
MIN_SIDE = 128
"""Smaller images show too little of what people compared."""

QUESTION = "Which image is most similar to the reference image?"
TASK = (
    "Given three similar but different images, take the first image as reference. "
    "Can you tell which one of the latter two images is most similar to the first one?"
)
OPTIONS = ("the second image", "the third image")

_COLUMNS = ("id", "split", "votes", "left_vote", "right_vote", "ref_path", "left_path", "right_path")


class Nights:
    """Triplets of the ``train`` split; the other splits stay untouched, for whoever measures on them."""

    task = "Visual_Similarity"
    layout = "nights"
    version = 1
    options = 2
    expects: Sequence[str] = ("data.csv", "ref", "distort")

    def units(self, source: Path) -> Iterator[Unit]:
        """Every triplet of the ``train`` split; its category (``prompt``) is its stratum where the table has it.

        Raises:
            InputError: ``data.csv`` is damaged.
        """
        table = read_table(source / "data.csv")
        faults = Faults(table.path)
        at = {name: _at(table, name, faults) for name in _COLUMNS}
        faults.check()
        prompt = table.at("prompt")
        found = [
            unit
            for row in table.rows
            if row.cells[at["split"]] == "train"
            if (unit := _unit(row, at, prompt, faults)) is not None
        ]
        for key, times in Counter(unit.key for unit in found).items():
            if times > 1:
                faults.add(None, f"id {key} stands {times} times; get data.csv again from the source")
        faults.check()
        yield from found

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The reference and the two variations, the one that people chose at ``answer``.

        Raises:
            UnfitError: too few votes, people did not agree, or the images are too small.
            InputError: an image is missing or damaged.
        """
        if unit.data["votes"] < MIN_VOTES:
            raise UnfitError(f"fewer than {MIN_VOTES} votes")
        if sorted(unit.data["shares"]) != [0, 1]:
            raise UnfitError("people did not agree")
        reference, left, right = unit.images
        chosen, other = (left, right) if unit.data["shares"][0] == 1 else (right, left)
        order = (reference, chosen, other) if answer == 0 else (reference, other, chosen)
        images = tuple(read_image(inside(source, name)) for name in order)
        if min(min(image.size) for image in images) < MIN_SIDE:
            raise UnfitError("an image is too small")
        if len({image.tobytes() for image in images}) < 3:
            raise UnfitError("two of the images are the same")
        return Draft(
            images=images,
            question=QUESTION,
            options=OPTIONS,
            answer=answer,
            provenance={"id": unit.data["id"], "votes": unit.data["votes"], "shown": list(order), "chosen": chosen},
            prompt=prompt_of(TASK, OPTIONS),
        )


def _at(table: Table, name: str, faults: Faults) -> int:
    position = table.at(name)
    if position is None:
        faults.add(1, f"no column '{name}'; get data.csv again from the source")
    return position or 0


def _unit(row: Row, at: dict[str, int], prompt: int | None, faults: Faults) -> Unit | None:
    """A row as a unit, or ``None`` after noting what is wrong with it."""
    votes, left, right = (number(row.cells[at[name]]) for name in ("votes", "left_vote", "right_vote"))
    key = row.cells[at["id"]]
    if not key or not isinstance(votes, float) or not isinstance(left, float) or not isinstance(right, float):
        faults.add(row.line, "id, votes, left_vote or right_vote is missing or no number; get data.csv again from the source")
        return None
    images = tuple(row.cells[at[name]] for name in ("ref_path", "left_path", "right_path"))
    if not all(images):
        faults.add(row.line, "ref_path, left_path or right_path is missing; get data.csv again from the source")
        return None
    return Unit(
        key=key,
        images=images,
        stratum=row.cells[prompt] if prompt is not None else "",
        data={"id": key, "votes": int(votes), "shares": (left, right)},
    )
