"""A question over images, answered by an option or a number: what a task is made of, for training and evaluation alike."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass

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
