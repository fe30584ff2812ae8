"""Results: items, cells of one adapter on one task, and a benchmark's macro average, in which every task counts alike however
many questions it has.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tvt.core.answer_statistics import AnswerStatistics, GivenAnswer, answer_statistics
from tvt.core.question import Question
from tvt.core.recipe import WarningSettings
from tvt.core.scores import Score, Tally, mean_relative_accuracy, tally
from tvt.evaluate.readers import Reader
from tvt.evaluate.scorer import RawAnswer

Metric = Literal["accuracy", "mra", "accuracy and mra"]
"""How a cell's answers are scored: right or wrong, by mean relative accuracy, or some so and some so."""

_Z = 1.959963984540054


def wilson_interval(correct: float, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share: sensible also for few questions and near 0 and 1.

    For a sum of graded scores it is wider than necessary: a score in [0, 1] varies at most as much as right or wrong does.
    """
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
    outcome: RawAnswer
    predicted: str | None
    """A letter or a number; ``None`` where none could be read from the answer, which scores 0."""
    answer: str
    numeric: bool = False
    """Whether it is answered by a number."""

    @property
    def score(self) -> float:
        """What the answer is worth, in [0, 1]: 0 or 1 for a letter, the mean relative accuracy of a number."""
        if self.numeric:
            return mean_relative_accuracy(None if self.predicted is None else float(self.predicted), float(self.answer))
        return float(self.predicted == self.answer)

    @property
    def correct(self) -> bool:
        """Whether it has the full score."""
        return self.score == 1

    @property
    def tied(self) -> bool:
        """Whether another letter scored exactly as high as the one predicted, which comes first in the alphabet."""
        scores = self.outcome.scores
        return scores is not None and scores.count(max(scores)) > 1


def judge(question: Question, item: str, outcome: RawAnswer, reader: Reader) -> ItemResult:
    """The result of a raw answer: which letter or number it names; a generated answer is read by ``reader``."""
    if question.numeric:
        number = reader.read_number(outcome.raw or "")
        predicted: str | None = None if number is None else repr(number).removesuffix(".0")
    elif outcome.scores is not None:
        predicted = question.letters[outcome.scores.index(max(outcome.scores))]
    else:
        predicted = reader.read_letter(outcome.raw or "", question.options)
    return ItemResult(
        id=question.id,
        item=item,
        outcome=outcome,
        predicted=predicted,
        answer=question.answer,
        numeric=question.numeric,
    )


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
    reader: Reader | None = None
    """What read the answers that are text."""

    @property
    def total(self) -> int:
        return len(self.items)

    @property
    def metric(self) -> Metric:
        """How its answers are scored."""
        numeric = sum(item.numeric for item in self.items)
        return "accuracy" if not numeric else "mra" if numeric == self.total else "accuracy and mra"

    @property
    def correct(self) -> Tally:
        """Sum of the scores: how many are right where answers are right or wrong."""
        return tally(item.score for item in self.items)

    @property
    def accuracy(self) -> float:
        """Mean score of the items."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of the accuracy, from the number of questions."""
        return wilson_interval(self.correct, self.total)

    @property
    def generated(self) -> bool:
        """Whether answers were read from text, so that some may name nothing."""
        return any(item.outcome.raw is not None for item in self.items)

    @property
    def unparsed(self) -> int:
        """Questions whose answer names no letter, or no number where one was required."""
        return self.statistics.unread

    @property
    def tied(self) -> int:
        return sum(item.tied for item in self.items)

    @property
    def letters(self) -> dict[str, int]:
        """How often each letter was predicted, in the alphabet's order."""
        return dict(sorted(Counter(item.predicted for item in self.choices if item.predicted).items()))

    @property
    def choices(self) -> tuple[ItemResult, ...]:
        """The questions with options."""
        return tuple(item for item in self.items if not item.numeric)

    @cached_property
    def statistics(self) -> AnswerStatistics:
        """How the answers are spread over the letters, and how many of them could not be read."""
        return answer_statistics(
            GivenAnswer(predicted=item.predicted, answer=item.answer, scores=item.outcome.scores, numeric=item.numeric)
            for item in self.items
        )

    @property
    def letter_mass(self) -> float | None:
        """Mean probability that the next token is an option letter at all; low: the model would say something else."""
        return self.statistics.letter_mass

    @property
    def collapsed(self) -> str | None:
        """The letter that the model gives to nearly everything, far more often than it is right, by the usual thresholds."""
        return self.statistics.letter if self.statistics.collapsed(WarningSettings()) else None

    def both_correct(self, base: CellResult) -> Tally:
        """Sum of the products of this one's scores and the base model's: how many questions both got right where answers are
        right or wrong. Both must have been asked the same ones.

        Raises:
            ValueError: other questions.
        """
        if [(item.id, item.item) for item in self.items] != [(item.id, item.item) for item in base.items]:
            raise ValueError(f"{self.target}: the base model was asked other questions")
        return tally(mine.score * theirs.score for mine, theirs in zip(self.items, base.items, strict=True))

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
        values: dict[str, Any] = {
            **({} if self.metric == "accuracy" else {"metric": self.metric}),
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }
        if base is not None and base is not self:
            values["both_correct"] = self.both_correct(base)
        if self.reader is not None and self.generated:
            values["reader"] = self.reader.identity
        values |= {"unparsed": self.unparsed, "letters": self.letters, "collapsed": self.collapsed}
        if self.letter_mass is not None:
            values |= {"tied": self.tied, "letter_mass": self.letter_mass}
        return values


Members = Mapping[str, str | None]
"""The tasks of a benchmark; those with the same name of a group are averaged first and count as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """The macro average over the tasks of a benchmark that were scored."""

    benchmark: str
    value: float
    low: float
    """Lower end of the 95% interval, from the numbers of questions."""
    high: float
    tasks: int
    """How many tasks were scored, ..."""
    of: int
    """... of how many that the benchmark has."""
    counted: int
    """How many figures were averaged in the end: groups count as one."""
    questions: int

    @property
    def title(self) -> str:
        """What was averaged."""
        over = f"{self.tasks} tasks" if self.tasks == self.of else f"{self.tasks} of {self.of} tasks"
        grouped = f", {self.counted} after grouping" if self.counted < self.tasks else ""
        return f"{self.benchmark}: macro over {over}{grouped}"

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {"accuracy": self.value, "low": self.low, "high": self.high}
        return {**values, "tasks": self.tasks, "of": self.of, "counted": self.counted, "questions": self.questions}


def macro(benchmark: str, cells: Mapping[str, CellResult], members: Members) -> Macro | None:
    """The macro average over the tasks of ``members`` that ``cells`` has; ``None`` where it has none.

    The interval puts the tasks' Wilson intervals together: with weights ``w``, shares ``p`` and intervals ``[l, u]``, its ends
    are ``sum w p - sqrt(sum (w (p - l))^2)`` and ``sum w p + sqrt(sum (w (u - p))^2)`` (the method of variance estimates
    recovery: Zou, Huang and Zhang, *A note on confidence interval estimation for a linear function of binomial proportions*,
    Computational Statistics & Data Analysis 53, 2009). It takes the questions of different tasks as independent.

    Args:
        benchmark: its name.
        cells: an adapter's results by task.
        members: all tasks of the benchmark, with the groups that count as one.
    """
    weights = _weights({task: group for task, group in members.items() if task in cells})
    if not weights:
        return None
    value = math.fsum(weight * cells[task].accuracy for task, weight in weights.items())
    below = math.hypot(*(weight * (cells[task].accuracy - cells[task].interval[0]) for task, weight in weights.items()))
    above = math.hypot(*(weight * (cells[task].interval[1] - cells[task].accuracy) for task, weight in weights.items()))
    return Macro(
        benchmark=benchmark,
        value=value,
        low=max(0.0, value - below),
        high=min(1.0, value + above),
        tasks=len(weights),
        of=len(members),
        counted=len({group or f"\0{task}" for task, group in members.items() if task in weights}),
        questions=sum(cells[task].total for task in weights),
    )


def _weights(scored: Members) -> dict[str, float]:
    """The share of each task in the average."""
    groups: dict[str, list[str]] = defaultdict(list)
    for task, group in scored.items():
        groups[group or f"\0{task}"].append(task)
    return {task: 1 / (len(groups) * len(tasks)) for tasks in groups.values() for task in tasks}
