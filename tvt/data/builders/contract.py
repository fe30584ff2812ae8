"""What a builder is: it lists what can become a question (units), and draws the question of one (drafts).

What all builders share (which units are taken, where the right answer stands, no image twice, ids, files) is not theirs:
:mod:`tvt.data.builders.build` does it for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Something in the raw data of which a question can be made."""

    key: str
    """What it is, unique within the source and the same wherever the source lies, e.g. ``v_churchill/1-4``."""
    images: tuple[str, ...]
    """Source images (paths relative to the source, or ids) that its question shows: rows do not share them."""
    answer: int | None = None
    """Index of the right option where the raw data decides it; ``None`` where the builder may place it anywhere."""
    stratum: str = ""
    """Units of different strata (an object class, say) are taken in turn, so that no one class fills the rows."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the builder wants to know again when it drafts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question before it has an id and a file."""

    images: tuple[Image.Image, ...]
    """As they are shown, marks drawn, RGB."""
    question: str
    """The bare question."""
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    provenance: Mapping[str, Any]
    """The source's items and what was decided, enough to find and recompute the question: plain values."""
    prompt: str | None = None
    """The whole text to ask; ``None``: the question, and the options as BLINK lists them (:func:`prompt_of`)."""


class UnfitError(Exception):
    """A unit of which no fair question can be made; the message says why in a few words, the same for all such units."""


class Builder(Protocol):
    """Makes the questions of one task from one layout of raw data. Stateless; everything random comes from ``rng``."""

    task: str
    """The task's name, e.g. ``Visual_Correspondence``."""
    layout: str
    """The raw data that it reads, e.g. ``hpatches``."""
    version: int
    """Raised whenever the same raw data would give other questions."""
    options: int
    """Options of a question."""
    expects: Sequence[str]
    """Files or folders that must be in the source's folder (glob patterns), the first thing that is looked for."""

    def units(self, source: Path) -> Iterable[Unit]:
        """All units of the source, in any order; reads indices and no images where it can.

        Raises:
            InputError: an index is damaged; every fault, one line each.
        """
        ...

    def draft(self, source: Path, unit: Unit, answer: int, rng: np.random.Generator) -> Draft:
        """The question of a unit with its right option at ``answer`` (the unit's own answer where it has one).

        Raises:
            UnfitError: no fair question can be made of it; another unit is taken.
            InputError: a file is missing or damaged.
        """
        ...


def prompt_of(question: str, options: Sequence[str]) -> str:
    """A question and its options as BLINK writes them."""
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=False))
    return f"{question}\nSelect from the following choices.\n{listed}"
