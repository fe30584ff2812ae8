"""Results: items, cells of one adapter on one task, and a benchmark's macro average, in which every task counts alike however
many questions it has.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tvt.core.answer_statistics import AnswerStatistics, GivenAnswer, answer_statistics
from tvt.core.choices import METRICS
from tvt.core.metrics import metric_of
from tvt.core.question import Question
from tvt.core.recipe import WarningSettings
from tvt.core.scores import Score, Tally, tally
from tvt.evaluate.readers import Reader
from tvt.evaluate.scorer import RawAnswer
from tvt.model.chat import after_reasoning

_Z = 1.959963984540054
_SHOWN = 3
"""Questions of a task that are named, of those that its metric cannot score."""


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
    """A letter, a number or a text; ``None`` where none could be read from the answer, which scores 0."""
    answer: str
    metric: str = "accuracy"
    """How it is scored: by ``accuracy`` with options, else by one of :data:`tvt.core.choices.METRICS`."""
    accepted: tuple[str, ...] = ()
    """All accepted answers; empty: ``answer`` alone."""

    @property
    def score(self) -> float:
        """What the answer is worth, in [0, 1]: 0 or 1 for a letter, else what its metric says."""
        if self.predicted is None or not self.open_ended:
            return float(self.predicted == self.answer)
        return float(METRICS.find(self.metric).score(self.predicted, self.accepted or (self.answer,)))

    @property
    def open_ended(self) -> bool:
        """Whether it is answered by a number or a text, and not by an option."""
        return self.metric != "accuracy"

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
    """The result of a raw answer: which letter, number or text it names; a generated answer is read by ``reader``.

    Where the metric compares texts, the answer is taken as it is, without the model's reasoning.
    """
    metric, raw = metric_of(question), outcome.raw or ""
    if metric is None and outcome.scores is not None:
        predicted: str | None = question.letters[outcome.scores.index(max(outcome.scores))]
    elif metric is None:
        predicted = reader.read_letter(raw, question.options)
    elif metric.reads == "number":
        number = reader.read_number(raw)
        predicted = None if number is None else repr(number).removesuffix(".0")
    else:
        predicted = after_reasoning(raw) or None
    return ItemResult(
        id=question.id,
        item=item,
        outcome=outcome,
        predicted=predicted,
        answer=question.answer,
        metric=question.scored_by,
        accepted=question.answers,
    )


def metric_faults(task: str, questions: Sequence[Question], mode: str) -> list[str]:
    """Why questions cannot be scored as their metric says: their right answers do not suit it, or letters alone are scored."""
    faults: list[str] = []
    for question in questions:
        metric = metric_of(question)
        if metric is None:
            continue
        where = f"{task}: question {question.id}"
        if mode == "options" and metric.reads == "text":
            step = "evaluation.mode: generate in the recipe (tvt evaluate: --mode generate)"
            return [f"{where} is answered by free text ({metric.label}), and mode 'options' scores letters alone; take {step}"]
        if fault := metric.fault(question.accepted):
            faults.append(f"{where}: {fault}")
    return [*faults[:_SHOWN], f"{task}: {len(faults) - _SHOWN} more such questions"] if len(faults) > _SHOWN else faults


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
    def metrics(self) -> tuple[str, ...]:
        """How its answers are scored, ``accuracy`` first."""
        return tuple(sorted({item.metric for item in self.items}, key=lambda name: (name != "accuracy", name)))

    @property
    def metric(self) -> str:
        """The same in words, e.g. ``accuracy and mra``."""
        return " and ".join(self.metrics)

    @property
    def mark(self) -> str:
        """What tables put before its value; empty where all answers are right or wrong by their option."""
        labels = [METRICS.find(name).label for name in self.metrics if name != "accuracy"]
        return " and ".join(labels) if len(labels) == len(self.metrics) else f"partly {' and '.join(labels)}" if labels else ""

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
        """Questions whose answer names no letter, or no number where one was required, or is empty."""
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
        return tuple(item for item in self.items if not item.open_ended)

    @cached_property
    def statistics(self) -> AnswerStatistics:
        """How the answers are spread over the letters, and how many of them could not be read."""
        return answer_statistics(
            GivenAnswer(predicted=item.predicted, answer=item.answer, scores=item.outcome.scores, open_ended=item.open_ended)
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
