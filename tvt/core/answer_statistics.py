"""How the answers of a cell are spread over the letters, and where that is worth a warning.

A model that gives one letter to every question, that would rather say something else than a letter, or whose answers cannot be
read, has an accuracy all the same. These statistics say that such an accuracy measures habits of answering, not what the model
sees. The thresholds are :class:`tvt.core.recipe.WarningSettings`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from tvt.core.question import QuestionSet
from tvt.core.recipe import WarningSettings

Kind = Literal["collapse", "letter_mass", "unread"]
KINDS: tuple[Kind, ...] = ("collapse", "letter_mass", "unread")


class GivenAnswer(NamedTuple):
    """One answer, as far as the statistics need it."""

    predicted: str | None
    """``None`` where nothing could be read."""
    answer: str
    scores: Sequence[float] | None
    """Log probabilities of the option letters, where these were scored."""
    open_ended: bool


@dataclass(frozen=True, kw_only=True)
class AnswerStatistics:
    """Of one run on one target. Shares are in [0, 1]; what does not apply (letters of numbers, say) is ``None``."""

    questions: int
    choices: int
    """Questions with options."""
    unread: int
    """Answers that name no letter, or no number where one was asked for."""
    letter: str | None
    """The letter that is given most often."""
    letter_share: float | None
    """To this share of the questions with options."""
    letter_right: float | None
    """It is the right answer to this share of them."""
    letter_mass: float | None
    """Mean probability that the next token is an option letter at all."""

    @property
    def unread_share(self) -> float:
        """Of all answers."""
        return self.unread / self.questions

    def collapsed(self, thresholds: WarningSettings) -> bool:
        """Whether one letter is nearly all that is read of the answers, and far more often than it is right.

        The second half keeps a task apart whose right answers are as skewed: a model that is right there is no suspect.
        Unread answers are left out of the share: they must not hide that all others are one letter.
        """
        if self.letter_share is None or self.letter_right is None:
            return False
        read = 1 - self.unread_share
        if self.choices * read < thresholds.questions:
            return False
        share = min(1.0, self.letter_share / read)
        return share >= thresholds.letter_share and share - self.letter_right > thresholds.letter_excess


def answer_statistics(answers: Iterable[GivenAnswer]) -> AnswerStatistics:
    """Count answers."""
    every = list(answers)
    choices = [item for item in every if not item.open_ended]
    letters = Counter(item.predicted for item in choices if item.predicted is not None)
    letter = min(letters, key=lambda found: (-letters[found], found)) if letters else None
    masses = [math.fsum(map(math.exp, item.scores)) for item in every if item.scores is not None]
    return AnswerStatistics(
        questions=len(every),
        choices=len(choices),
        unread=sum(item.predicted is None for item in every),
        letter=letter,
        letter_share=None if letter is None else letters[letter] / len(choices),
        letter_right=None if letter is None else sum(item.answer == letter for item in choices) / len(choices),
        letter_mass=math.fsum(masses) / len(masses) if masses else None,
    )


@dataclass(frozen=True, kw_only=True)
class ScoredCell:
    """A run on a target, with how it answered."""

    run: str
    target: str
    base: bool
    """Whether the run is the base model."""
    statistics: AnswerStatistics | None
    """``None`` where nothing is known of the answers."""


@dataclass(frozen=True, kw_only=True)
class AnswerFinding:
    """What makes the score of a cell doubtful."""

    kind: Kind
    run: str
    target: str
    base: bool
    value: float
    threshold: float
    letter: str | None = None
    """Of a collapse."""


@dataclass(frozen=True, kw_only=True)
class AnswerReport:
    """What is known of the answers behind some scores, and of the questions they answer."""

    thresholds: WarningSettings
    cells: tuple[ScoredCell, ...] = ()
    sets: tuple[QuestionSet, ...] = ()
    known: bool = True
    """Whether somebody recorded anything; not so of figures that tvt did not measure."""

    @property
    def findings(self) -> tuple[AnswerFinding, ...]:
        """All of them, by kind, the base model's first."""
        result = [finding for cell in self.cells for finding in _findings(cell, self.thresholds)]
        return tuple(sorted(result, key=lambda finding: (KINDS.index(finding.kind), not finding.base)))

    @property
    def unknown(self) -> tuple[ScoredCell, ...]:
        """Cells of whose answers nothing is known."""
        return tuple(cell for cell in self.cells if cell.statistics is None)

    @property
    def odd_sets(self) -> tuple[QuestionSet, ...]:
        """The questions that are not what their manifest says, or are asked twice."""
        return tuple(item for item in self.sets if item.odd)

    def json_value(self) -> dict[str, Any]:
        """The key ``answers`` of a command's JSON."""
        return {
            "thresholds": self.thresholds,
            "warnings": self.findings,
            "unknown": [{"run": cell.run, "target": cell.target} for cell in self.unknown],
            "questions": self.odd_sets,
        }

    def dump(self) -> dict[str, Any]:
        """As plain values, for a file; see :meth:`load`."""
        return {
            "thresholds": self.thresholds.model_dump(),
            "cells": [asdict(cell) for cell in self.cells],
            "questions": [asdict(item) for item in self.sets],
        }

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> AnswerReport:
        """The inverse of :meth:`dump`.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        cells = [
            ScoredCell(**{**cell, "statistics": None if cell["statistics"] is None else AnswerStatistics(**cell["statistics"])})
            for cell in plain["cells"]
        ]
        sets = tuple(QuestionSet.load(item) for item in plain["questions"])
        return cls(thresholds=WarningSettings.model_validate(plain["thresholds"]), cells=tuple(cells), sets=sets)


def _findings(cell: ScoredCell, thresholds: WarningSettings) -> list[AnswerFinding]:
    of = cell.statistics
    if of is None or of.questions < thresholds.questions:
        return []
    result: list[tuple[Kind, float, float, str | None]] = []
    if of.letter_share is not None and of.collapsed(thresholds):
        result.append(("collapse", of.letter_share, thresholds.letter_share, of.letter))
    if of.letter_mass is not None and of.letter_mass < thresholds.letter_mass:
        result.append(("letter_mass", of.letter_mass, thresholds.letter_mass, None))
    if of.unread_share > thresholds.unread:
        result.append(("unread", of.unread_share, thresholds.unread, None))
    return [
        AnswerFinding(
            kind=kind, run=cell.run, target=cell.target, base=cell.base, value=value, threshold=threshold, letter=letter
        )
        for kind, value, threshold, letter in result
    ]
