"""Questions in a JSON Lines file, with image files in its folder, or in a parquet file, read row group by row group."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tvt.data.csv_table import Faults
from tvt.data.questions.batches import (
    IMAGES,
    OPTIONAL,
    REQUIRED,
    SCHEMA,
    TURNS,
    Rows,
    flat_images,
    image_lists,
    list_lengths,
    lists_of,
)
from tvt.errors import InputError, suggest
from tvt.io import json_text

JSONL_BATCH_BYTES = 8 * 2**20
JSONL_BATCH_ROWS = 4096
MAX_LINE = 16 * 2**20
MAX_IMAGE = 256 * 2**20
_OTHERS = ("messages", "conversations", "conversation", "completion")
"""Columns of other trainers, which these rows have not."""
_TEXTS = ("id", "task", "prompt", "answer", "question", "provenance")


class JsonlQuestions:
    """One JSON Lines file; opening it finds where its lines start.

    Raises:
        InputError: a line is too long to be a question.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = os.path.realpath(path.parent)
        self._parents: dict[str, bool] = {}
        offsets, lines, at, line = array("q"), array("q"), 0, 0
        with path.open("rb") as stream:
            while raw := stream.readline(MAX_LINE):
                line += 1
                if len(raw) == MAX_LINE:
                    raise InputError(f"{path}:{line}: longer than {MAX_LINE // 2**20} MiB; images belong into files beside it")
                if raw.strip():
                    offsets.append(at)
                    lines.append(line)
                at += len(raw)
        self._offsets, self._lines = np.array(offsets, np.int64), np.array(lines, np.int64)
        self.rows = len(offsets)

    def where(self, row: int) -> str:
        """File and line."""
        return f"{self.path}:{self._lines[row]}"

    def fault(self, faults: Faults, row: int, what: str) -> None:
        """Note what is wrong with a row."""
        faults.add(int(self._lines[row]), what)

    def batches(self, rows: Rows | None = None, faults: Faults | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """See :meth:`tvt.data.questions.files.QuestionSource.batches`."""
        result = Faults(self.path) if faults is None else faults
        numbers: list[int] = []
        records: list[dict[str, Any]] = []
        size = 0
        with self.path.open("rb") as stream:
            for row in range(self.rows) if rows is None else rows.tolist():
                record = self._read(stream, row, result)
                if faults is None:
                    result.check()
                if record is None:
                    continue
                numbers.append(row)
                records.append(record)
                size += len(record["prompt"]) + sum(map(len, record["images"]))
                if size >= JSONL_BATCH_BYTES or len(records) >= JSONL_BATCH_ROWS:
                    yield np.array(numbers, np.int64), _batch(records)
                    numbers, records, size = [], [], 0
        if records:
            yield np.array(numbers, np.int64), _batch(records)

    def _read(self, stream: BinaryIO, row: int, faults: Faults) -> dict[str, Any] | None:
        """The record of a row with its images' bytes, or ``None`` after noting why it cannot be read."""
        offset = int(self._offsets[row])
        if stream.tell() != offset:
            stream.seek(offset)
        record = self._parse(stream.readline(MAX_LINE), row, faults)
        if record is None:
            return None
        images = [self._image(name, row, faults) for name in record["images"]]
        return {**record, "images": [image for image in images if image is not None]}

    def _parse(self, raw: bytes, row: int, faults: Faults) -> dict[str, Any] | None:
        try:
            record = json_text.loads(raw.decode("utf-8-sig" if row == 0 else "utf-8"))
        except UnicodeDecodeError:
            self.fault(faults, row, "not UTF-8; save the file as UTF-8")
            return None
        except (ValueError, RecursionError) as error:
            self.fault(faults, row, f"no JSON ({getattr(error, 'msg', None) or 'nested too deeply'}); one object a line")
            return None
        if not isinstance(record, dict):
            self.fault(faults, row, f"no JSON object; each line needs {', '.join(REQUIRED)}")
            return None
        record = {**dict.fromkeys(OPTIONAL), "images": [], **record}
        wrong = _wrong(record)
        for what in wrong:
            self.fault(faults, row, what)
        return None if wrong else {name: record[name] for name in SCHEMA.names}

    def _image(self, name: str, row: int, faults: Faults) -> bytes | None:
        """The bytes of an image that lies in the file's folder."""
        if name.startswith("data:"):
            step = "save the picture as a file beside this one and name it"
            self.fault(faults, row, f"image '{name[:40]}' is a data URI; {step}")
            return None
        if not self._inside(name):
            step = "put it beside the file and name it relative to it"
            self.fault(faults, row, f"image '{name}' lies outside the file's folder; {step}")
            return None
        try:
            data = _read(os.path.join(self._folder, name))
            if data is not None:
                return data
            self.fault(faults, row, f"image '{name}' is no file of at most {MAX_IMAGE // 2**20} MiB; check the path")
        except FileNotFoundError:
            self.fault(faults, row, f"no image '{name}'; put it into {self.path.parent} or mend the path")
        except OSError as error:
            self.fault(faults, row, f"image '{name}': {error.strerror or error}; check the path")
        return None

    def _inside(self, name: str) -> bool:
        """Whether an image's path stays in the file's folder, links followed. Folders are looked up once: that is slow."""
        if name.startswith("/") or "\0" in name:
            return False
        parent, _, leaf = name.rpartition("/")
        if parent not in self._parents:
            self._parents[parent] = self._is_inside(parent)
        plain = leaf not in ("", ".", "..") and not os.path.islink(os.path.join(self._folder, name))
        return self._parents[parent] and (plain or self._is_inside(name))

    def _is_inside(self, name: str) -> bool:
        real = os.path.realpath(os.path.join(self._folder, name))
        return real == self._folder or real.startswith(os.path.join(self._folder, ""))


def _read(path: str) -> bytes | None:
    """A file's bytes; ``None`` where it is no regular file, or too large for an image."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without waiting: it might be a pipe
    try:
        result = os.fstat(handle)
        if not stat.S_ISREG(result.st_mode) or result.st_size > MAX_IMAGE:
            return None
        with open(handle, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(handle)


def _wrong(record: dict[str, Any]) -> list[str]:
    """What is wrong with the fields of a record."""
    if "answer" not in record and (others := next((name for name in _OTHERS if name in record), None)) is not None:
        return [f"has '{others}', as rows of other trainers have; tvt data import reads such files"]
    faults = []
    for name in SCHEMA.names:
        if name not in record:
            near = suggest(name, [str(key) for key in record if key not in SCHEMA.names])
            faults.append(f"no '{name}'{near}; each line needs {', '.join(REQUIRED)}")
        elif name in OPTIONAL and record[name] is None:
            continue
        elif name == "turns":
            if not _is_turns(record[name]):
                faults.append('\'turns\' is no list of turns; write e.g. "turns": [{"prompt": "...", "answer": "..."}]')
        elif name in _TEXTS:
            if not _is_text(record[name]):
                faults.append(f"'{name}' is no text; write it as a JSON string")
        elif not isinstance(record[name], list) or not all(map(_is_text, record[name])):
            faults.append(f'\'{name}\' is no list of texts; write e.g. "{name}": ["...", "..."]')
    return faults


def _is_turns(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(turn, dict) and set(turn) == {"prompt", "answer"} and all(map(_is_text, turn.values())) for turn in value
    )


def _is_text(value: object) -> bool:
    """Text that UTF-8 can hold: JSON lets half of a surrogate pair through."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= mark <= "\udfff" for mark in value))


def _batch(records: list[dict[str, Any]]) -> pa.RecordBatch:
    columns = [
        image_lists(values) if field.name == "images" else pa.array(values, field.type)
        for field in SCHEMA
        for values in [[record[field.name] for record in records]]
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


PARQUET_BATCH_BYTES = 8 * 2**20
PARQUET_BATCH_ROWS = 8192
_DAMAGE = (pa.ArrowException, ValueError, OSError, MemoryError)
"""What Arrow raises over damaged bytes."""


class ParquetQuestions:
    """One parquet file.

    Raises:
        InputError: no parquet, or columns missing or of another type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._open() as file:
                self._schema = file.schema_arrow
                metadata = file.metadata
        except _DAMAGE as error:
            raise InputError(f"{path}: no whole parquet file ({_first_line(error)}); write it anew") from error
        sizes = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *(group.num_rows for group in sizes)])
        self.rows = int(self._starts[-1])
        mean = sum(group.total_byte_size for group in sizes) / max(self.rows, 1)
        self._batch_rows = int(np.clip(PARQUET_BATCH_BYTES / max(mean, 1), 1, PARQUET_BATCH_ROWS))
        self._check_columns()

    def _open(self) -> pq.ParquetFile:
        # Page by page: otherwise a file with one huge row group would be held in memory.
        return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)

    def _check_columns(self) -> None:
        faults = []
        for field in SCHEMA:
            if field.name not in self._schema.names:
                if field.name in OPTIONAL:
                    continue
                near = suggest(field.name, self._schema.names)
                faults.append(f"{self.path}: no column '{field.name}'{near}; needed: {', '.join(REQUIRED)}")
            elif not _fits(self._schema.field(field.name).type, field.type):
                result = self._schema.field(field.name).type
                faults.append(f"{self.path}: column '{field.name}' is {result}; it must be {field.type}")
        others = next((name for name in _OTHERS if name in self._schema.names), None)
        if faults and others is not None:
            faults = [f"{self.path}: has '{others}', as rows of other trainers have; tvt data import reads such files"]
        if faults:
            raise InputError(*faults)

    def where(self, row: int) -> str:
        """File and row."""
        return f"{self.path}: row {row}"

    def fault(self, faults: Faults, row: int, what: str) -> None:
        """Note what is wrong with a row."""
        faults.add(None, f"row {row}: {what}")

    def batches(self, rows: Rows | None = None, faults: Faults | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """See :meth:`tvt.data.questions.files.QuestionSource.batches`."""
        try:
            with self._open() as file:
                for group in range(len(self._starts) - 1):
                    first, end = self._starts[group], self._starts[group + 1]
                    chosen = None if rows is None else rows[np.searchsorted(rows, first) : np.searchsorted(rows, end)]
                    if chosen is None or len(chosen):
                        yield from self._group(file, group, chosen)
        except _DAMAGE as error:
            message = f"{self.path}: damaged ({_first_line(error)}); write the file anew"
            raise InputError(*(faults.lines if faults is not None else ()), message) from error

    def _group(self, file: pq.ParquetFile, group: int, chosen: Rows | None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The batches of one row group; reading ends with the last row chosen."""
        start = int(self._starts[group])
        names = [name for name in SCHEMA.names if name in self._schema.names]
        for batch in file.iter_batches(self._batch_rows, row_groups=[group], columns=names):
            numbers = np.arange(start, start + batch.num_rows, dtype=np.int64)
            start += batch.num_rows
            if chosen is not None:
                numbers, batch = _pick(numbers, batch, chosen)  # noqa: PLW2901
            if len(numbers):
                yield numbers, _canonical(batch)
            if chosen is not None and start > chosen[-1]:
                return


def _pick(numbers: Rows, batch: pa.RecordBatch, rows: Rows) -> tuple[Rows, pa.RecordBatch]:
    picked = rows[np.searchsorted(rows, numbers[0]) : np.searchsorted(rows, numbers[-1], side="right")]
    return (picked, batch) if len(picked) == len(numbers) else (picked, batch.take(pa.array(picked - numbers[0])))


def _fits(type_: pa.DataType, needed: pa.DataType) -> bool:
    """Whether a column can be read as the type needed, without guessing."""
    if needed == IMAGES:
        inner = type_.value_type if _is_list(type_) else None
        return inner is not None and pa.types.is_struct(inner) and _has_bytes(inner)
    if pa.types.is_struct(needed):
        names = {field.name: field.type for field in type_} if pa.types.is_struct(type_) else {}
        return all(field.name in names and _fits(names[field.name], field.type) for field in needed)
    if pa.types.is_null(type_):
        return False
    if pa.types.is_list(needed):
        return _is_list(type_) and _fits(type_.value_type, needed.value_type)
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def _has_bytes(inner: pa.DataType) -> bool:
    index = inner.get_field_index("bytes")
    return index >= 0 and bool(pa.types.is_binary(inner[index].type) or pa.types.is_large_binary(inner[index].type))


def _canonical(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in our schema, without the images' paths."""
    columns = []
    for field in SCHEMA:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        if field.type == IMAGES:
            column = lists_of(list_lengths(column), flat_images(column).cast(pa.binary()))
        elif field.type == TURNS and column.type != TURNS:
            column = pa.array([_turns_alone(turns) for turns in column.to_pylist()], TURNS)
        columns.append(column.cast(field.type))
    result = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    result.validate(full=True)  # text that is no UTF-8 would fail later, and elsewhere
    return result


def _turns_alone(turns: list[dict[str, str]] | None) -> list[dict[str, str]] | None:
    """Turns without what other fields their structs have."""
    return turns and [{name: turn[name] for name in ("prompt", "answer")} for turn in turns]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
