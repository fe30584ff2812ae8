"""What came out: items, and cells of one adapter on one task."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tvt.core.question import Question
from tvt.core.scores import Score
from tvt.evaluate.extraction import EXTRACTORS, Manner
from tvt.evaluate.scorer import Outcome

COLLAPSE_SHARE = 0.9
"""One letter given to more than this share of the questions ..."""
COLLAPSE_EXCESS = 0.2
"""... and to so many more than it is right for: a model that no longer looks."""


_Z = 1.959963984540054


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share: sensible also for few questions and near 0 and 1."""
    share, spread = correct / total, _Z * _Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemResult:
    """One question's result."""

    id: str
    item: str
    """Digest of the question as it was asked."""
    outcome: Outcome
    predicted: str | None
    """``None`` where no letter could be read from the answer; that counts as wrong."""
    answer: str

    @property
    def correct(self) -> bool:
        return self.predicted == self.answer

    @property
    def tied(self) -> bool:
        """Whether another letter scored exactly as high as the one predicted, which comes first in the alphabet."""
        scores = self.outcome.scores
        return scores is not None and scores.count(max(scores)) > 1


def judge(question: Question, item: str, outcome: Outcome, manner: Manner) -> ItemResult:
    """Say which letter an outcome names."""
    if outcome.scores is not None:
        predicted: str | None = question.letters[outcome.scores.index(max(outcome.scores))]
    else:
        predicted = EXTRACTORS[manner](outcome.raw or "", question.options)
    return ItemResult(id=question.id, item=item, outcome=outcome, predicted=predicted, answer=question.answer)


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """An adapter's result on one task, question by question."""

    adapter: str | None
    """``None`` is the base model."""
    digest: str | None
    """The adapter's."""
    key: str
    """Folder of its answers below the evaluations' folder."""
    target: str
    items: tuple[ItemResult, ...]
    asked: int
    """How many of them were asked now; the others were known."""

    @property
    def total(self) -> int:
        return len(self.items)

    @property
    def correct(self) -> int:
        return sum(item.correct for item in self.items)

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of the accuracy, from the number of questions."""
        return wilson_interval(self.correct, self.total)

    @property
    def unparsed(self) -> int:
        """Questions whose answer names no letter."""
        return sum(item.predicted is None for item in self.items)

    @property
    def tied(self) -> int:
        return sum(item.tied for item in self.items)

    @property
    def letters(self) -> dict[str, int]:
        """How often each letter was predicted, in the alphabet's order."""
        return dict(sorted(Counter(item.predicted for item in self.items if item.predicted).items()))

    @property
    def letter_mass(self) -> float | None:
        """Mean probability that the next token is an option letter at all; low: the model wants to say something else."""
        sums = [math.fsum(map(math.exp, item.outcome.scores)) for item in self.items if item.outcome.scores is not None]
        return sum(sums) / len(sums) if sums else None

    @property
    def collapsed(self) -> str | None:
        """The letter that the model gives to nearly everything, far more often than it is right."""
        letters = self.letters
        if not letters:
            return None
        letter = max(letters, key=lambda found: letters[found])
        share, right = letters[letter] / self.total, sum(item.answer == letter for item in self.items) / self.total
        return letter if share > COLLAPSE_SHARE and share - right > COLLAPSE_EXCESS else None

    def both_correct(self, base: CellResult) -> int:
        """How many questions this and the base model got right; both must have been asked the same ones.

        Raises:
            ValueError: other questions.
        """
        if [(item.id, item.item) for item in self.items] != [(item.id, item.item) for item in base.items]:
            raise ValueError(f"{self.target}: the base model was asked other questions")
        return sum(mine.correct and theirs.correct for mine, theirs in zip(self.items, base.items, strict=True))

    def score(self, *, run: str, source: str | None, base: CellResult | None = None) -> Score:
        """This cell as a score of a study.

        Args:
            run: the repetition, e.g. the seed.
            source: what the adapter was trained on, ``None`` for the base model.
            base: the base model's cell on the same questions.
        """
        return Score(
            run=run,
            source=source,
            target=self.target,
            accuracy=self.accuracy,
            correct=self.correct,
            total=self.total,
            both_correct=None if base is None or base is self else self.both_correct(base),
        )

    def summary(self, base: CellResult | None = None) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.interval
        told: dict[str, Any] = {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }
        if base is not None and base is not self:
            told["both_correct"] = self.both_correct(base)
        told |= {"unparsed": self.unparsed, "letters": self.letters, "collapsed": self.collapsed}
        if self.letter_mass is not None:
            told |= {"tied": self.tied, "letter_mass": self.letter_mass}
        return told
