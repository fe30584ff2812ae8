"""A task, its names, and its questions."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import AfterValidator, Field

from tvt.core.values import FrozenModel
from tvt.errors import printed_line, suggest

Ceiling = Literal["task", "human"]
"""What counts as a perfect score: what the task states (1 as a rule), or what people reach."""


def printable(text: str) -> bool:
    """Whether a text is one line: without control characters, line and paragraph separators, or halves of surrogate pairs."""
    return not any(category(mark) in ("Cc", "Cs", "Zl", "Zp") for mark in text)


def one_line(text: str) -> str:
    """The text itself, for pydantic.

    Raises:
        ValueError: it is not printable.
    """
    if not printable(text):
        raise ValueError(f"{text!a} holds a control character or a line separator; remove it")
    return text


TaskName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)]
"""A name for files, tables and messages."""


class Task(FrozenModel):
    """One perception task, usable as a source (to train on), a target (to score on) or both."""

    name: TaskName
    """Unique name, e.g. ``Relative_Depth``."""
    abbreviation: str | None = None
    """Short form for plots and constraints, e.g. ``RD``."""
    level: str | None = None
    """Perceptual level (``low``, ``mid``, ``high``), where a source states it."""
    granularity: str | None = None
    """Granularity (``image``, ``crop``, ``patch``, ``pixel``), where a source states it."""
    options: Annotated[int, Field(ge=2)] | None = None
    """Number of answer options of a question."""
    ceiling: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Best accuracy thought possible, a fraction."""
    human: Annotated[float, Field(gt=0, le=1)] | None = None
    """Accuracy of people, where the benchmark reports it; a lower ceiling on request."""

    def under(self, ceiling: Ceiling) -> Task:
        """The task with the ceiling of that kind; where no accuracy of people is known, its own stays."""
        return self if ceiling == "task" or self.human is None else self.model_copy(update={"ceiling": self.human})

    @property
    def short(self) -> str:
        """The abbreviation, or the name where there is none."""
        return self.abbreviation or self.name


def resolve_name(text: str, tasks: Iterable[Task], names: Sequence[str]) -> str:
    """Return the task name that ``text`` means: a name or an abbreviation, in any case.

    Args:
        text: what the user wrote.
        tasks: tasks that may give abbreviations; those not in ``names`` are ignored.
        names: the names that are valid here.

    Raises:
        KeyError: no such task; the message carries the nearest suggestion.
    """
    if text in names:
        return text
    folded = {name.casefold(): name for name in names}
    for task in tasks:
        if task.abbreviation and task.name in names:
            folded.setdefault(task.abbreviation.casefold(), task.name)
    if text.casefold() in folded:
        return folded[text.casefold()]
    raise KeyError(f"unknown task '{text}'{suggest(text, [*names, *folded.values()])}")


LETTERS = string.ascii_uppercase


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question with its answer.

    ``images`` are encoded files (PNG or JPEG bytes), in the order in which the prompt speaks of them; text-only questions have
    none. ``prompt`` is the whole text to ask, options included. ``answer`` is the right option's letter, ``A`` for the first;
    of a question without options it is a number, as text.
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

    def __post_init__(self) -> None:
        if answer_fault(self.answer, len(self.options)) is not None:
            what = f"none of its {len(self.options)} options" if self.options else "no number, and it has no options"
            raise ValueError(f"question {self.id} of {self.task}: answer '{self.answer}' is {what}")

    @property
    def numeric(self) -> bool:
        """Whether the answer is a number, and not one of several options."""
        return not self.options

    @property
    def letters(self) -> str:
        """The letters of its options, ``AB`` for two."""
        return LETTERS[: len(self.options)]


def answer_fault(answer: str, options: int) -> str | None:
    """What is wrong with an answer to a question with so many options, or ``None``."""
    if not options:
        return (
            None
            if is_number(answer)
            else "no number, and the list of options is empty; give options, or a number for the answer"
        )
    if options > len(LETTERS):
        return (
            f"one of {options} options, which are more than there are letters ({len(LETTERS)}); drop some options, or the row"
        )
    if len(answer) == 1 and answer in LETTERS[:options]:
        return None
    return f"not one of {', '.join(LETTERS[:options])}; give the right option's letter"


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
    wrong = [found for found in every if found.stated is not None and found.stated != found.rows]
    twice = [found for found in every if found.repeated]
    lines = []
    if wrong:
        lines.append(f"not the questions that the manifests state: {some([_count(found) for found in wrong])}")
    if twice:
        lines.append(f"questions asked twice under two ids, which count double: {some([_repeated(f) for f in twice])}")
    return lines


def _count(found: QuestionSet) -> str:
    if found.stated is not None and found.rows > found.stated:
        return f"{found.name} has {found.rows:,} rows for {found.stated:,} (the first {found.stated:,} are asked)"
    return f"{found.name} has {found.rows:,} of {found.stated:,} rows"


def _repeated(found: QuestionSet) -> str:
    example = "" if found.example is None else f", e.g. {_cut(found.example[0])} repeats {_cut(found.example[1])}"
    contradicting = f", {found.contradicting:,} with another right answer" if found.contradicting else ""
    return f"{found.name} ({found.repeated:,} of {found.rows:,}{contradicting}{example})"


def some(parts: Sequence[str], between: str = "; ") -> str:
    """The first few parts of a sentence, and how many more there are."""
    more = len(parts) - MOST
    return between.join(parts[:MOST]) + (f"{between}... and {more} more" if more > 0 else "")


def _cut(text: str) -> str:
    return printed_line(text if len(text) <= 40 else text[:40] + "...")
