"""Scores: how many questions each run answered correctly on each target. A matrix is a view of them.

An answer may be worth something between 0 and 1, e.g. a number that comes near: counts of right answers are then sums of
credits, decimal numbers. Whole ones are integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvt.core.credit import Tally
from tvt.core.frozen import Frozen

BASE = "base"
"""The source name of a base row: the model before any finetuning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One evaluation: a run's accuracy on one target.

    ``source`` is what the run was finetuned on, ``None`` for the base model. ``run`` names the repetition (the seed).
    ``correct`` (a sum of credits) and ``total`` are counts of questions and are both ``None`` where only an accuracy is known.
    ``both_correct`` counts the questions right both before and after finetuning (the sum of the products of both credits); it
    makes the paired item error exact.
    """

    run: str
    source: str | None
    target: str
    accuracy: float
    correct: Tally | None = None
    total: int | None = None
    both_correct: Tally | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedScore:
    """An evaluation that is missing for a known reason, e.g. a run that diverged."""

    run: str
    source: str | None
    target: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureScore(Frozen):
    """One evaluation of a run on several sources, or on less than the whole budget of one (a dose).

    ``weights`` are shares of the study's budget by source; those of a dose sum to less than 1.
    """

    mixture: str
    run: str
    weights: Mapping[str, float]
    target: str
    correct: Tally
    total: int
    both_correct: Tally | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers, or mean credit."""
        return self.correct / self.total
