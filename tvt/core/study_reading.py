"""How a study that somebody measured is read from a table: the options that every command which takes a STUDY has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from tvt.core.task import Ceiling

Metric = Literal["pgf", "gain"]
"""What values in a table are: PGF, or gains that are no PGF."""
Unit = Literal["fraction", "percent"]


class Reading(TypedDict, total=False):
    """What a person says of a table; what is left out is seen from the table, or refused."""

    metric: Metric | None
    """``pgf``, or ``gain`` for values that are no PGF; ``None`` is PGF unless the values may be accuracies."""
    unit: Unit | None
    """Of the values; ``None`` infers it where that is clear."""
    ceiling: Ceiling
    """What counts as a perfect score."""
    base: str | None
    """The row of the base model, where it is not called ``base``."""
    transpose: bool
    """Whether the models stand across and the tasks down."""
    questions: int | Mapping[str, int] | None
    """How many questions the accuracies of each target are of, where the table does not say."""
