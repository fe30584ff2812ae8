"""Questions on disk: JSON Lines with image files beside them, or parquet with the images inside.

Both hold the columns ``id, task, prompt, options, answer, images``, and may have ``question``, ``provenance``, ``answers`` and
``turns``. In JSON Lines
an image is a path relative to the file, not leaving the file's folder; in parquet it is a struct of ``bytes`` and ``path``, as
``datasets`` writes its Image feature. Files are read in batches of bounded size, and any rows can be asked for without reading
what lies between row groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tvt.core.question import Question
from tvt.data.csv_table import Faults
from tvt.data.questions.batches import OPTIONAL, SCHEMA, Rows, batch_of, questions_of
from tvt.data.questions.file_formats import JsonlQuestions, ParquetQuestions
from tvt.errors import InputError
from tvt.io import json_lines
from tvt.io.atomic import new_file

GROUP_ROWS = 500
GROUP_BYTES = 16 * 2**20
KINDS = (".jsonl", ".parquet")


class QuestionPart(Protocol):
    """What questions are read from: a file, as a rule."""

    path: Path
    rows: int

    def where(self, row: int) -> str:
        """What a row is called in messages."""
        ...

    def fault(self, faults: Faults, row: int, what: str) -> None:
        """Note what is wrong with a row."""
        ...

    def batches(self, rows: Rows | None = None, faults: Faults | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """See :meth:`QuestionSource.batches`."""
        ...


class QuestionSource:
    """The questions of one file, or of all files of a folder in the order of their names.

    Args:
        path: what was asked for.
        parts: its files.
    """

    def __init__(self, path: Path, parts: Sequence[QuestionPart]) -> None:
        self.path = path
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *(part.rows for part in self.parts)])

    @property
    def rows(self) -> int:
        """How many questions there are."""
        return int(self._starts[-1])

    def batches(
        self, rows: Rows | None = None, faults: Sequence[Faults] | None = None
    ) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Yield (row numbers, batch) over all rows, or over the ascending, distinct ``rows``; a batch has some megabytes.

        Args:
            rows: the rows to read.
            faults: one collector a part; without it the first fault raises.
        """
        for k, part in enumerate(self.parts):
            start, end = self._starts[k], self._starts[k + 1]
            within = None if rows is None else rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            if within is not None and not len(within):
                continue
            for numbers, batch in part.batches(within, faults[k] if faults is not None else None):
                yield numbers + start, batch

    def questions(self, rows: Sequence[int] | None = None) -> Iterator[Question]:
        """Yield questions: all of them, or those of ``rows`` in the order asked for (which are then held in memory)."""
        if rows is None:
            for _, batch in self.batches():
                yield from questions_of(batch)
            return
        result: dict[int, Question] = {}
        for numbers, batch in self.batches(np.unique(np.asarray(rows, dtype=np.int64))):
            result.update(zip(numbers.tolist(), questions_of(batch), strict=True))
        yield from (result[row] for row in rows)

    def where(self, row: int) -> str:
        """File and line, or file and row, of a row."""
        k = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.parts[k].where(row - int(self._starts[k]))


def open_questions(path: Path) -> QuestionSource:
    """Open a file of questions, or a folder of them (its ``*.parquet``, those in ``data/``, or its ``*.jsonl``).

    Raises:
        InputError: nothing there, another format, or columns missing.
    """
    if path.is_dir():
        files = next(
            (result for pattern in ("*.parquet", "data/*.parquet", "*.jsonl") if (result := sorted(path.glob(pattern)))), []
        )
        if not files:
            raise InputError(f"{path}: no .parquet or .jsonl file in this folder; name the file of questions")
    elif path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: not a .jsonl or .parquet file; tvt data import {path} -o {path.stem}.parquet makes one")
    else:
        files = [path]
    return QuestionSource(path, [_open(file) for file in files])


def whole_files(path: Path) -> list[Path] | None:
    """The files that decide the questions of a path; ``None`` where they rest on others too, as JSON Lines do on their images.

    Raises:
        InputError: see :func:`open_questions`.
    """
    parts = open_questions(path).parts
    return None if any(isinstance(part, JsonlQuestions) for part in parts) else [part.path for part in parts]


def _open(path: Path) -> QuestionPart:
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file; save the questions as a file first")
    try:
        return JsonlQuestions(path) if path.suffix.lower() == ".jsonl" else ParquetQuestions(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the file") from error


def read_questions(path: Path) -> Iterator[Question]:
    """Yield the questions of a file or folder; see :func:`open_questions`."""
    return open_questions(path).questions()


def write_parquet(questions: Iterable[Question], path: Path) -> int:
    """Write questions as parquet with the images inside, wholly or not at all; ``datasets`` decodes them.

    Returns:
        How many were written.
    """
    with (
        new_file(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd", use_dictionary=["task"]) as writer,
    ):
        count = 0
        for group in _groups(questions):
            writer.write_batch(batch_of(group))
            count += len(group)
    return count


def _groups(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """Questions in groups of bounded size."""
    group: list[Question] = []
    size = 0
    for question in questions:
        group.append(question)
        size += sum(map(len, question.images))
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def write_jsonl(questions: Iterable[Question], path: Path) -> int:
    """Write questions as JSON Lines, their images into the folder ``NAME-images`` beside it, the list last.

    Returns:
        How many were written.
    """
    folder = path.parent / f"{path.stem}-images"
    count = 0
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for question in questions:
            names = [_write_image(image, folder).relative_to(path.parent).as_posix() for image in question.images]
            record: dict[str, Any] = {
                "id": question.id,
                "task": question.task,
                "prompt": question.prompt,
                "options": list(question.options),
                "answer": question.answer,
                "images": names,
                **{name: value for name in OPTIONAL if (value := getattr(question, name)) not in (None, ())},
            }
            if question.turns:
                record["turns"] = [turn._asdict() for turn in question.turns]
            stream.write(json_lines.line(record))
            count += 1
    return count


def _write_image(data: bytes, folder: Path) -> Path:
    """Write an image under its digest, once."""
    suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg" if data.startswith(b"\xff\xd8") else ".img"
    path = folder / (hashlib.sha256(data).hexdigest()[:32] + suffix)
    if not path.exists():
        with new_file(path, sync=False) as temporary:
            temporary.write_bytes(data)
    return path
