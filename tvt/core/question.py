"""A multiple-choice question over images: what a task is made of, for training and for evaluation alike."""

from __future__ import annotations

import string
from dataclasses import dataclass

LETTERS = string.ascii_uppercase


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question with its answer.

    ``images`` are encoded files (PNG or JPEG bytes), in the order in which the prompt speaks of them; text-only questions have
    none. ``prompt`` is the whole text to ask, options included. ``answer`` is the right option's letter, ``A`` for the first.
    """

    id: str
    """Unique within its task and split."""
    task: str
    prompt: str
    options: tuple[str, ...]
    answer: str
    images: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.answer not in LETTERS[: len(self.options)] or len(self.answer) != 1:
            raise ValueError(
                f"question {self.id} of {self.task}: answer '{self.answer}' is none of its {len(self.options)} options"
            )

    @property
    def letters(self) -> str:
        """The letters of its options, ``AB`` for two."""
        return LETTERS[: len(self.options)]
