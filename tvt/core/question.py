"""A question over images, answered by an option, a number or any text, and what is wrong with a set of questions.

A task is made of questions, for training and evaluation alike. A set of them can be larger or smaller than its manifest states,
or hold the same question twice.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tvt.core.choices import METRICS
from tvt.errors import printed_line

LETTERS = string.ascii_uppercase


class Turn(NamedTuple):
    """An earlier turn of a conversation."""

    prompt: str
    """What was asked."""
    answer: str
    """How it was answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question with its answer.

    ``images`` are encoded files (PNG or JPEG bytes), in the order in which the prompt speaks of them; text-only questions have
    none. ``prompt`` is the whole text to ask, options included. ``answer`` is the right option's letter, ``A`` for the first;
    of a question without options it is a number, as text, or any other text.
    """

    id: str
    """Unique within its task and split."""
    task: str
    prompt: str
    options: tuple[str, ...]
    answer: str
    images: tuple[bytes, ...] = ()
    question: str | None = None
    """The bare question, without options, where the source tells it apart; templates use it."""
    provenance: str | None = None
    """Where the question comes from, as a JSON object; it changes nothing else."""
    answers: tuple[str, ...] = ()
    """All accepted answers of a question without options, ``answer`` first; empty: ``answer`` alone."""
    turns: tuple[Turn, ...] = ()
    """Earlier turns of the conversation, the oldest first. The first of them shows the images."""
    metric: str | None = None
    """How the answer to an open-ended question is scored, where its task says so; it is no part of files."""

    def __post_init__(self) -> None:
        if answer_fault(self.answer, len(self.options)) is not None:
            what = f"none of its {len(self.options)} options" if self.options else "empty, and it has no options"
            raise ValueError(f"question {self.id} of {self.task}: answer '{self.answer}' is {what}")
        if (fault := conversation_fault(self.answer, self.options, self.answers, self.turns)) is not None:
            raise ValueError(f"question {self.id} of {self.task}: {fault}")

    @property
    def open_ended(self) -> bool:
        """Whether the model answers in its own words, a number or any text, and chooses none of several options."""
        return not self.options

    @property
    def numeric(self) -> bool:
        """Whether it is open-ended and answered by a number."""
        return self.open_ended and is_number(self.answer)

    @property
    def free_text(self) -> bool:
        """Whether it is open-ended and answered by a text that is no number."""
        return self.open_ended and not is_number(self.answer)

    @property
    def scored_by(self) -> str:
        """The metric of its answer: ``accuracy`` with options, else its own, or the one for numbers or for text."""
        if self.options:
            return "accuracy"
        return self.metric or ("mra" if self.numeric else METRICS.default)

    @property
    def accepted(self) -> tuple[str, ...]:
        """All accepted answers; the first is the one that training shows."""
        return self.answers or (self.answer,)

    @property
    def letters(self) -> str:
        """The letters of its options, ``AB`` for two."""
        return LETTERS[: len(self.options)]


def answer_fault(answer: str, options: int) -> str | None:
    """What is wrong with an answer to a question with so many options, or ``None``."""
    if not options:
        return None if answer.strip() else "empty, and so is the list of options; fill one of them in"
    if options > len(LETTERS):
        return (
            f"one of {options} options, which are more than there are letters ({len(LETTERS)}); drop some options, or the row"
        )
    if len(answer) == 1 and answer in LETTERS[:options]:
        return None
    return f"not one of {', '.join(LETTERS[:options])}; give the right option's letter"


def conversation_fault(
    answer: str, options: Sequence[str], answers: Sequence[str], turns: Sequence[tuple[str, str]]
) -> str | None:
    """What is wrong with a question's accepted answers or its earlier turns, or ``None``."""
    if answers and options:
        return "'answers' is for questions without options; drop it, or the options"
    if answers and answers[0] != answer:
        return f"the first of 'answers' is '{answers[0][:20]}', and 'answer' is another; put it first"
    if not all(text.strip() for text in answers):
        return "one of 'answers' is empty; fill it in, or drop it"
    if not all(text.strip() for turn in turns for text in turn):
        return "a turn has an empty prompt or answer; fill it in, or drop the turn"
    return None


def is_number(text: str) -> bool:
    """Whether a text is a finite decimal number."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


MOST = 3
"""Cells, or sets of questions, that a sentence names."""


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """The questions that a task is scored on, counted."""

    name: str
    """The task, and which part of its questions where it is not those for the evaluation."""
    rows: int
    """How many there are."""
    stated: int | None = None
    """How many the manifest states; ``None`` where it does not, or where they are drawn."""
    repeated: int = 0
    """Questions that were asked before under another id: same prompt, options and images. They count double in a score."""
    example: tuple[str, str] | None = None
    """The ids of one of them and of the question that it repeats."""
    contradicting: int = 0
    """Those of them whose right answer is another one."""

    @property
    def odd(self) -> bool:
        """Whether there is anything to say."""
        return self.repeated > 0 or (self.stated is not None and self.stated != self.rows)

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> QuestionSet:
        """From plain values, as ``dataclasses.asdict`` gives them.

        Raises:
            TypeError: it is none.
        """
        example = plain["example"]
        return cls(**{**plain, "example": None if example is None else (str(example[0]), str(example[1]))})


def question_warnings(sets: Iterable[QuestionSet]) -> list[str]:
    """Sentences about questions: fewer or more than stated, or the same ones twice."""
    every = list(sets)
    wrong = [item for item in every if item.stated is not None and item.stated != item.rows]
    twice = [item for item in every if item.repeated]
    lines = []
    if wrong:
        lines.append(f"not the questions that the manifests state: {some([_count(item) for item in wrong])}")
    if twice:
        lines.append(f"questions asked twice under two ids, which count double: {some([_repeated(f) for f in twice])}")
    return lines


def _count(questions: QuestionSet) -> str:
    if questions.stated is not None and questions.rows > questions.stated:
        return (
            f"{questions.name} has {questions.rows:,} rows for {questions.stated:,} (the first {questions.stated:,} are asked)"
        )
    return f"{questions.name} has {questions.rows:,} of {questions.stated:,} rows"


def _repeated(questions: QuestionSet) -> str:
    example = "" if questions.example is None else f", e.g. {_cut(questions.example[0])} repeats {_cut(questions.example[1])}"
    contradicting = f", {questions.contradicting:,} with another right answer" if questions.contradicting else ""
    return f"{questions.name} ({questions.repeated:,} of {questions.rows:,}{contradicting}{example})"


def some(parts: Sequence[str], between: str = "; ") -> str:
    """The first few parts of a sentence, and how many more there are."""
    more = len(parts) - MOST
    return between.join(parts[:MOST]) + (f"{between}... and {more} more" if more > 0 else "")


def _cut(text: str) -> str:
    return printed_line(text if len(text) <= 40 else text[:40] + "...")
