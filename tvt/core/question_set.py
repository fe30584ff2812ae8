"""What is odd about a set of questions: fewer or more than its manifest states, or the same ones twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvt.errors import printed_line

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
    def load(cls, told: Mapping[str, Any]) -> QuestionSet:
        """From plain values, as ``dataclasses.asdict`` gives them.

        Raises:
            TypeError: it is none.
        """
        example = told["example"]
        return cls(**{**told, "example": None if example is None else (str(example[0]), str(example[1]))})


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
