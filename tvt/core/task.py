"""A task: what it is called, how it is classified, and the best accuracy thought possible on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal
from unicodedata import category

from pydantic import AfterValidator, Field

from tvt.core.values import FrozenModel
from tvt.errors import suggest

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
