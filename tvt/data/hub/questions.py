"""Questions of a dataset of the hub, or of a local copy of it.

Where its format says so, a part of a dataset (configuration and split) is written once as a file of questions, checked row by
row, into tvt's cache; everything after that reads a file. Others are read anew each time, as the miniature is drawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tvt.core.question import Question
from tvt.data.csv_table import MAX_FAULTS, Faults
from tvt.data.hub.formats import HubRow, RowFormat, format_of, text_of
from tvt.data.hub.rows import HubRows, content_of, is_commit, label, local_folder, open_rows
from tvt.data.questions.batches import SCHEMA, Rows, UncheckedQuestion, batch_of
from tvt.data.questions.checks import scan
from tvt.data.questions.files import GROUP_BYTES, GROUP_ROWS, QuestionSource
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.io import digest
from tvt.io.atomic import exclusively, new_file
from tvt.io.digest import cache_folder, recall, remember, states

_VERSION = 1
"""Raised whenever files in the cache would be written otherwise."""
_UNKNOWN_ROWS = 2**40
"""Rows of a part of a dataset before it was read."""


class ShownQuestion(NamedTuple):
    """What a question shows; also of those whose answers are hidden."""

    id: str
    prompt: str
    images: tuple[bytes, ...]


def is_stored(data: QuestionData) -> bool:
    """Whether the questions of a dataset are stored as a file."""
    return format_of(data).materialise


def stored_questions(data: QuestionData) -> Path:
    """The questions as a parquet file in tvt's cache, written there unless the very same rows were before.

    Raises:
        InputError: the dataset cannot be had, its answers are hidden, or rows are faulty; every fault, one line each.
    """
    seen = _seen(data)
    if seen is not None and (known := recall(seen)) is not None and (cache_folder() / known).is_file():
        return cache_folder() / known
    path = _place(data)
    if not path.is_file():
        with exclusively(path.parent / ".lock"):
            if not path.is_file():
                _store(data, path)
    if seen is not None:
        remember(seen, str(path.relative_to(cache_folder())))
    return path


def is_here(data: QuestionData) -> bool:
    """Whether the questions can be had without the hub: a local copy is there, or they were stored before."""
    if (folder := local_folder(data)) is not None:
        return folder.is_dir()
    return is_stored(data) and is_commit(data.revision) and _place(data).is_file()


def _place(data: QuestionData) -> Path:
    """Where the questions are stored; asks the hub unless a whole commit is pinned."""
    key = digest.of_value({**_request(data), **content_of(data)})
    folder = cache_folder() / "datasets" / _name(str(data.dataset).strip("/"))
    return folder / f"{_name(data.config or 'default')}-{_name(data.split)}-{key[:16]}.parquet"


def read_rows(data: QuestionData, task: str) -> Iterator[Question]:
    """Yield the questions of a task straight from the rows of a dataset.

    After the first faulty row nothing is yielded any more, and the rest is read for further faults.

    Raises:
        InputError: the dataset cannot be had, or rows are faulty, their videos for instance; every fault, one line each.
    """
    form, faults = format_of(data), Faults(Path(f"{task}: {label(data)}"))
    for number, row in _numbered(data, form):
        try:
            question = form.question(row, data).checked()
        except ValueError as error:
            faults.add(None, f"row {number}: {error}")
        except InputError as error:
            for fault in error.faults:
                faults.add(None, f"row {number}: {fault}")
        else:
            if not faults.lines:
                yield question
        if len(faults.lines) > MAX_FAULTS:
            break
    faults.check()


def shown_questions(data: QuestionData) -> Iterator[ShownQuestion]:
    """Yield what the questions show, hidden answers or not: for finding duplicates.

    Raises:
        InputError: the dataset cannot be had, or a row is faulty.
    """
    form = format_of(data)
    for number, row in enumerate(_opened(data, form)):
        try:
            result = form.question(row, data)
        except ValueError as error:
            raise InputError(f"{label(data)}: row {number}: {error}") from error
        yield ShownQuestion(result.id, result.prompt, result.images)


def row_digests(data: QuestionData) -> Iterator[tuple[str, bytes, str]]:
    """Yield the id of each row of a dataset that is not stored, the digest of what it asks, and the right answer.

    Raises:
        InputError: the dataset cannot be had, or a row is faulty.
    """
    form = format_of(data)
    for number, row in _numbered(data, form):
        try:
            yield text_of(row, form.id_column), digest.of_value(form.shown(row)).encode(), text_of(row, form.answer_column)
        except ValueError as error:
            raise InputError(f"{label(data)}: row {number}: {error}") from error


def rows_identity(data: QuestionData) -> str:
    """Digest of all that decides the questions of a dataset which is not stored.

    Raises:
        InputError: the dataset cannot be had, or what a row needs is missing; every fault, one line each.
    """
    form, faults, result = format_of(data), Faults(Path(label(data))), hashlib.sha256()
    for number, row in _numbered(data, form):
        try:
            content = {"row": _plain(dict(row)), "content": form.content(row, data)}
            result.update(digest.of_value(content).encode())
        except ValueError as error:
            faults.add(None, f"row {number}: {error}")
    faults.check()
    return digest.of_value({"rows": result.hexdigest(), "format": data.format, "version": form.version, "frames": data.frames})


def count_rows(data: QuestionData) -> int:
    """How many rows a dataset has."""
    return sum(1 for _ in _numbered(data, format_of(data)))


class _DatasetPart:
    """The rows of a dataset as the part of a :class:`QuestionSource`; every batch that was read is also handed on."""

    rows = _UNKNOWN_ROWS

    def __init__(self, data: QuestionData, hand_on: Callable[[pa.RecordBatch], object]) -> None:
        self.path = Path(label(data))
        self._data = data
        self._form = format_of(data)
        self._hand_on = hand_on

    def where(self, row: int) -> str:
        """Dataset and row, counted among those that ``where`` asks for."""
        return f"{self.path}: row {row}"

    def fault(self, faults: Faults, row: int, what: str) -> None:
        """Note what is wrong with a row."""
        faults.add(None, f"row {row}: {what}")

    def batches(self, _rows: Rows | None = None, faults: Faults | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """See :meth:`QuestionSource.batches`; all rows, whatever is asked for."""
        numbers: list[int] = []
        group: list[UncheckedQuestion] = []
        size = 0
        for number, row in _numbered(self._data, self._form):
            try:
                result = self._form.question(row, self._data)
            except ValueError as error:
                if faults is None:
                    raise InputError(f"{self.where(number)}: {error}") from error
                self.fault(faults, number, str(error))
                continue
            numbers.append(number)
            group.append(result)
            size += sum(map(len, result.images))
            if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
                yield self._batch(numbers, group)
                numbers, group, size = [], [], 0
        if group:
            yield self._batch(numbers, group)

    def _batch(self, numbers: list[int], group: list[UncheckedQuestion]) -> tuple[Rows, pa.RecordBatch]:
        batch = batch_of(group)
        self._hand_on(batch)
        return np.array(numbers, np.int64), batch


def _store(data: QuestionData, path: Path) -> None:
    """Check all rows and write them, wholly or not at all."""
    with new_file(path) as temporary:
        with pq.ParquetWriter(temporary, SCHEMA, compression="zstd", use_dictionary=["task"]) as writer:
            part = _DatasetPart(data, writer.write_batch)
            result = scan(QuestionSource(part.path, [part]))
        if not result.rows:
            raise InputError(f"{label(data)}: no rows; check 'split:' and 'where:'")


def _opened(data: QuestionData, form: RowFormat) -> HubRows:
    """The rows, with all columns that they need.

    Raises:
        InputError: the dataset cannot be had, or columns are missing.
    """
    if local_folder(data) is None and (step := form.copying(data)) is not None:
        raise InputError(f"{data.dataset}: it is read from a local copy only; {step}")
    rows = open_rows(data)
    rows.check(form.needed)
    return rows


def _numbered(data: QuestionData, form: RowFormat) -> Iterator[tuple[int, HubRow]]:
    """The rows with their numbers.

    Raises:
        InputError: the manifest says too little, columns are missing, or answers are hidden.
    """
    if (fault := form.manifest_fault(data)) is not None:
        raise InputError(f"{label(data)}: {fault}")
    for number, row in enumerate(_opened(data, form)):
        if form.hidden(row):
            raise InputError(
                f"{label(data)}: its answers are hidden (row {number}), so nothing can be scored; take another split"
            )
        yield number, row


def _request(data: QuestionData) -> dict[str, Any]:
    """What was asked for, as plain values for a digest."""
    request = data.model_dump(mode="json", include={"dataset", "config", "split", "format", "where"})
    return {**request, "version": [_VERSION, format_of(data).version]}


def _seen(data: QuestionData) -> dict[str, Any] | None:
    """What a local copy's questions rest on; ``None`` for the hub.

    With it, neither ``datasets`` is loaded nor gigabytes are read to find what is stored.
    """
    folder = local_folder(data)
    if folder is None or not folder.is_dir():
        return None
    return {**_request(data), "files": states(path for path in sorted(folder.rglob("*")) if path.is_file())}


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "--", text)


def _plain(value: Any) -> Any:
    """A row's value with bytes as their digest, and times and the like as text."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
