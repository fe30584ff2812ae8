"""Whether the questions that a task is scored on are those that its manifest states, and whether some are asked twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from tvt.core.question import Question
from tvt.core.question_set import QuestionSet
from tvt.data.questions.files import read_questions, whole_files
from tvt.data.task_questions import as_stored, is_drawn, rows_of
from tvt.data.tasks import QuestionData
from tvt.io.seen import recall, remember, states

_VERSION = 1
"""Raised whenever the same files would be counted otherwise."""


def count_set(name: str, questions: Iterable[Question], *, rows: int | None = None, stated: int | None = None) -> QuestionSet:
    """Count questions, and those among them that repeat an earlier one: same prompt (whatever its white space), options and
    images, under another id.

    Args:
        name: of the task or its part.
        questions: all that are asked.
        rows: how many there are, where not all are asked; default: as many as ``questions``.
        stated: how many the manifest states.
    """
    first: dict[bytes, Question] = {}
    repeated = contradicting = asked = 0
    example: tuple[str, str] | None = None
    for question in questions:
        asked += 1
        bare = replace(question, images=(), provenance=None)
        earlier = first.setdefault(_shown(question), bare)
        if earlier is not bare:
            repeated += 1
            contradicting += earlier.answer != question.answer
            example = example or (question.id, earlier.id)
    return QuestionSet(
        name=name,
        rows=asked if rows is None else rows,
        stated=stated,
        repeated=repeated,
        example=example,
        contradicting=contradicting,
    )


def _shown(question: Question) -> bytes:
    """Digest of what a question shows."""
    found = hashlib.blake2b(" ".join(question.prompt.split()).encode(), digest_size=16)
    for part in (*(option.encode() for option in question.options), *question.images):
        found.update(hashlib.blake2b(part, digest_size=16).digest())
    return found.digest()


def look_at_set(data: QuestionData, name: str, limit: int | None = None) -> QuestionSet:
    """Count the questions of a task where they lie. What is known of parquet files that have not changed is not read again.

    Questions that are drawn are as many as asked for, and no two are the same. Of datasets that are not kept as a file, such
    as videos, only the rows are counted here.

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
    if stored.path is None:
        return QuestionSet(name=name, rows=rows, stated=data.questions)
    asked = min(rows, data.questions or rows, limit or rows)
    return replace(_counted(Path(stored.path), name, asked), rows=rows, stated=data.questions)


def _counted(path: Path, name: str, asked: int) -> QuestionSet:
    files = whole_files(path)
    about = None if files is None else {"repeated questions": _VERSION, "files": states(files), "asked": asked}
    if about is not None and (known := recall(about)) is not None:
        return replace(QuestionSet.load(json.loads(known)), name=name)
    found = count_set(name, islice(read_questions(path), asked))
    if about is not None:
        remember(about, json.dumps(asdict(found)))
    return found
