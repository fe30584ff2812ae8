"""Whether the questions that a task is scored on are those that its manifest states, and whether some are asked twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tvt.core.question import Question
from tvt.core.question_set import QuestionSet
from tvt.data.hub.questions import asked_rows
from tvt.data.questions.files import read_questions, whole_files
from tvt.data.task_questions import as_stored, is_drawn, rows_of
from tvt.data.tasks import QuestionData
from tvt.io.seen import recall, remember, states

_VERSION = 1
"""Raised whenever the same files would be counted otherwise."""


class Asked(NamedTuple):
    """A question, as far as it must be known to find it again."""

    id: str
    shown: bytes
    """Digest of what it shows."""
    answer: str


def as_asked(questions: Iterable[Question]) -> Iterator[Asked]:
    """Questions by what they show: prompt (whatever its white space), options and images."""
    for question in questions:
        found = hashlib.blake2b(" ".join(question.prompt.split()).encode(), digest_size=16)
        for part in (*(option.encode() for option in question.options), *question.images):
            found.update(hashlib.blake2b(part, digest_size=16).digest())
        yield Asked(question.id, found.digest(), question.answer)


def count_set(name: str, every: Iterable[Asked], *, rows: int | None = None, stated: int | None = None) -> QuestionSet:
    """Count questions, and those among them that show what an earlier one shows.

    Args:
        name: of the task or its part.
        every: all that are asked.
        rows: how many there are, where not all are asked; default: as many as are asked.
        stated: how many the manifest states.
    """
    first: dict[bytes, Asked] = {}
    count = repeated = contradicting = 0
    example: tuple[str, str] | None = None
    for question in every:
        count += 1
        earlier = first.setdefault(question.shown, question)
        if earlier is not question:
            repeated += 1
            contradicting += earlier.answer != question.answer
            example = example or (question.id, earlier.id)
    return QuestionSet(
        name=name,
        rows=count if rows is None else rows,
        stated=stated,
        repeated=repeated,
        example=example,
        contradicting=contradicting,
    )


def look_at_set(data: QuestionData, name: str, limit: int | None = None) -> QuestionSet:
    """Count the questions of a task where they lie. What is known of parquet files that have not changed is not read again.

    Questions that are drawn are as many as asked for, and no two are the same. Those of datasets that are not kept as a file,
    such as questions about videos, are known by their rows.

    Args:
        data: where they are.
        name: of the task or its part.
        limit: only so many are asked.

    Raises:
        InputError: not there, or faulty.
    """
    if is_drawn(data):
        return QuestionSet(name=name, rows=data.questions or 0)
    stored = as_stored(data)
    rows = rows_of(stored)
    count = min(rows, data.questions or rows, limit or rows)
    if stored.path is not None:
        found = _counted(Path(stored.path), name, count)
    else:
        found = count_set(name, islice(map(Asked._make, asked_rows(stored)), count))
    return replace(found, rows=rows, stated=data.questions)


def _counted(path: Path, name: str, count: int) -> QuestionSet:
    """Count the first questions of a file, or remember how many there were."""
    files = whole_files(path)
    about = None if files is None else {"repeated questions": _VERSION, "files": states(files), "asked": count}
    if about is not None and (known := recall(about)) is not None:
        return replace(QuestionSet.load(json.loads(known)), name=name)
    found = count_set(name, as_asked(islice(read_questions(path), count)))
    if about is not None:
        remember(about, json.dumps(asdict(found)))
    return found
