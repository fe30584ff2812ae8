"""Questions in a parquet file, read row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tvt.data.csv_table import Faults
from tvt.data.questions.batches import IMAGES, OPTIONAL, REQUIRED, SCHEMA, Rows, flat_images, list_lengths, lists_of
from tvt.errors import InputError, suggest

BATCH_BYTES = 8 * 2**20
BATCH_ROWS = 8192
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
        self._batch_rows = int(np.clip(BATCH_BYTES / max(mean, 1), 1, BATCH_ROWS))
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
                found = self._schema.field(field.name).type
                faults.append(f"{self.path}: column '{field.name}' is {found}; it must be {field.type}")
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
                    wanted = None if rows is None else rows[np.searchsorted(rows, first) : np.searchsorted(rows, end)]
                    if wanted is None or len(wanted):
                        yield from self._group(file, group, wanted)
        except _DAMAGE as error:
            message = f"{self.path}: damaged ({_first_line(error)}); write the file anew"
            raise InputError(*(faults.lines if faults is not None else ()), message) from error

    def _group(self, file: pq.ParquetFile, group: int, wanted: Rows | None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The batches of one row group; reading ends with the last row wanted."""
        start = int(self._starts[group])
        names = [name for name in SCHEMA.names if name in self._schema.names]
        for batch in file.iter_batches(self._batch_rows, row_groups=[group], columns=names):
            numbers = np.arange(start, start + batch.num_rows, dtype=np.int64)
            start += batch.num_rows
            if wanted is not None:
                numbers, batch = _pick(numbers, batch, wanted)  # noqa: PLW2901
            if len(numbers):
                yield numbers, _canonical(batch)
            if wanted is not None and start > wanted[-1]:
                return


def _pick(numbers: Rows, batch: pa.RecordBatch, wanted: Rows) -> tuple[Rows, pa.RecordBatch]:
    picked = wanted[np.searchsorted(wanted, numbers[0]) : np.searchsorted(wanted, numbers[-1], side="right")]
    return (picked, batch) if len(picked) == len(numbers) else (picked, batch.take(pa.array(picked - numbers[0])))


def _fits(found: pa.DataType, needed: pa.DataType) -> bool:
    """Whether a column can be read as the type needed, without guessing."""
    if needed == IMAGES:
        inner = found.value_type if _is_list(found) else None
        return inner is not None and pa.types.is_struct(inner) and _has_bytes(inner)
    if pa.types.is_list(needed):
        return _is_list(found) and _fits(found.value_type, needed.value_type)
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_large_list(found))


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
        columns.append(column.cast(field.type))
    found = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    found.validate(full=True)  # text that is no UTF-8 would fail later, and elsewhere
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
