"""Spatial relations from VSR (Visual Spatial Reasoning), the source that BLINK was made from.

Layout (read in cambridgeltl/visual-spatial-reasoning, ``data/README.md`` and its files; this is its folder ``data``):
``splits/random/train.jsonl`` and ``dev.jsonl``, objects with ``image``, ``caption``, ``label`` (1 true, 0 false), ``relation``,
``vote_true_validator_id`` and ``vote_false_validator_id`` (lists, or texts such as ``"[2, 10, 1]"``), and COCO's images in
``images/``. The test split is not touched.

A caption, "The X is RELATION the Y.", becomes BLINK's question "Is the X RELATION the Y?", and where it has no "is", "Does the
X consist of the Y?" (both forms were read in BLINK's questions as Yushi-Hu/VisualSketchpad has them, ``tasks/blink_spatial``),
"Does the X contain the Y?" or "Does the X have the Y as a part?" (these two are formed alike; the last one's words are ours).
BLINK's options are "yes" and "no", always in this order, so a unit's answer is fixed. Relation and answer are strata together:
no relation means mostly yes or mostly no.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvt.data.builders.contract import Draft, UnfitError, Unit
from tvt.data.builders.raw_files import inside, only_present, read_image, read_json_lines
from tvt.data.csv_table import Faults
from tvt.io import json_text

SPLITS = ("splits/random/train.jsonl", "splits/random/dev.jsonl")
IMAGES = "images"
OPTIONS = ("yes", "no")
LEAST_VOTES = 2
"""Validators who judged a caption, all alike."""
LEAST_IMAGE = 160
"""Shorter side of an image, in pixels."""

_VERBS = {
    "contains": "Does the {one} contain the {other}?",
    "consists of": "Does the {one} consist of the {other}?",
    "has as a part": "Does the {one} have the {other} as a part?",
}
"""Relations that stand without "is"."""


class Vsr:
    """Captions of the random split's training and development part, as questions."""

    task = "Spatial_Relation"
    layout = "vsr"
    version = 1
    options = 2
    expects: Sequence[str] = (*SPLITS, IMAGES)

    def units(self, source: Path) -> list[Unit]:
        """One unit a caption of an image that is there; those that are labelled both true and false are left out.

        Raises:
            InputError: a split is damaged, or none of its images is there; every fault, one line each.
        """
        result: defaultdict[str, list[Unit]] = defaultdict(list)
        for split in SPLITS:
            path = source / split
            faults = Faults(path)
            for line, record in read_json_lines(path):
                unit = _unit(record)
                if unit is None:
                    faults.add(
                        line, "image, caption, label, relation or votes missing or wrong; get the file again from the source"
                    )
                else:
                    result[unit.key].append(unit)
            faults.check()
        units = [same[0] for same in result.values() if len({unit.answer for unit in same}) == 1]
        return only_present(source, units, source / SPLITS[0])

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """An image and whether the caption's relation holds.

        Raises:
            UnfitError: too few validators, they did not agree, the caption has another form, or the image is too small.
            InputError: the image is missing or damaged.
        """
        label, votes = unit.data["label"], unit.data["votes"]
        if sum(votes) < LEAST_VOTES:
            raise UnfitError(f"fewer than {LEAST_VOTES} validators")
        if votes[1 - label]:
            raise UnfitError("the validators do not agree")
        question = question_of(unit.data["caption"], unit.data["relation"])
        image = read_image(inside(source, unit.images[0]))
        if min(image.size) < LEAST_IMAGE:
            raise UnfitError("the image is too small")
        return Draft(
            images=(image,),
            question=question,
            options=OPTIONS,
            answer=answer,
            provenance={
                "image": unit.images[0],
                "caption": unit.data["caption"],
                "relation": unit.data["relation"],
                "label": label,
                "votes_true": votes[1],
                "votes_false": votes[0],
            },
        )


def question_of(caption: str, relation: str) -> str:
    """BLINK's question for a caption of VSR.

    Raises:
        UnfitError: the caption is not made as VSR's are, of two things and the relation.
    """
    verb = _VERBS.get(relation)
    words = re.escape(relation) if verb else f"(?P<be>is|are) {re.escape(relation)}"
    match = re.fullmatch(rf"the (?P<one>[\w' -]+?) {words} the (?P<other>[\w' -]+?) ?\.?", caption.strip(), re.IGNORECASE)
    if match is None:
        raise UnfitError("the caption has another form")
    if verb:
        return verb.format(one=match["one"], other=match["other"])
    return f"{match['be'].capitalize()} the {match['one']} {relation} the {match['other']}?"


def _unit(record: dict[str, Any]) -> Unit | None:
    image, caption, relation, label = (record.get(key) for key in ("image", "caption", "relation", "label"))
    votes = _votes(record.get("vote_false_validator_id")), _votes(record.get("vote_true_validator_id"))
    texts = all(isinstance(text, str) and text.strip() and text.isprintable() for text in (image, caption, relation))
    if not texts or type(label) is not int or label not in (0, 1) or None in votes:
        return None
    relation = " ".join(str(relation).split())
    return Unit(
        key=f"{image}/{caption}",
        images=(f"{IMAGES}/{image}",),
        answer=1 - label,
        stratum=f"{relation}: {OPTIONS[1 - label]}",
        data={"caption": caption, "relation": relation, "label": label, "votes": votes},
    )


def _votes(value: Any) -> int | None:
    """How many validators a field lists, or ``None`` where it lists none as it should."""
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except (ValueError, RecursionError):
            return None
    return len(value) if isinstance(value, list) else None
