"""Sorting more rows than fit into memory: rows go into buckets by their place, and one bucket at a time is read back.

Sources are read front to back, once; what is not needed yet waits in files. That costs one more copy on disk, and it saves a
random access per row, which with images means reading a whole row group for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

HELD_BYTES = 64 * 2**20
"""How much waits in memory before it goes to the files. A small mix never touches them."""
PLACE = "place"


class Buckets:
    """Rows by place; bucket k holds the places from ``k * size`` on.

    Args:
        folder: where the waiting rows go.
        schema: of the rows, without their place.
        size: rows of a bucket.
    """

    def __init__(self, folder: Path, schema: pa.Schema, size: int) -> None:
        self._folder = folder
        self._schema = schema.append(pa.field(PLACE, pa.int64()))
        self._size = size
        self._held: dict[int, list[pa.RecordBatch]] = {}
        self._bytes = 0

    def add(self, batch: pa.RecordBatch, rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> None:
        """Put row ``rows[i]`` of ``batch`` to ``places[i]``; a row may go to several places."""
        order = np.argsort(places)
        rows, places = rows[order], places[order]
        bucket = places // self._size
        bounds = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(places)]
        for start, end in pairwise(bounds):
            piece = batch.take(pa.array(rows[start:end]))
            placed = pa.RecordBatch.from_arrays([*piece.columns, pa.array(places[start:end])], schema=self._schema)
            self._held.setdefault(int(bucket[start]), []).append(placed)
            self._bytes += placed.nbytes
        if self._bytes > HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        for bucket, batches in self._held.items():
            # Appended streams rather than open files: there may be more buckets than a process may have files.
            with self._file(bucket).open("ab") as stream, pa.ipc.new_stream(stream, self._schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        self._held, self._bytes = {}, 0

    def take(self, bucket: int, group: int) -> Iterator[pa.Table]:
        """Yield the rows of a bucket in the order of their places, ``group`` at a time; they are then forgotten."""
        # One chunk first: taking from many is slow for lists.
        table = self._read(bucket).combine_chunks()
        order = np.argsort(table.column(PLACE).to_numpy())
        table = table.drop_columns(PLACE)
        for start in range(0, len(order), group):
            yield table.take(pa.array(order[start : start + group]))

    def _read(self, bucket: int) -> pa.Table:
        batches: list[pa.RecordBatch] = []
        path = self._file(bucket)
        if path.exists():
            with path.open("rb") as stream:
                end = path.stat().st_size
                while stream.tell() < end:
                    batches += list(pa.ipc.open_stream(stream))
            path.unlink()
        batches += self._held.pop(bucket, [])
        return pa.Table.from_batches(batches, self._schema)

    def _file(self, bucket: int) -> Path:
        return self._folder / f"{bucket:05d}.arrows"
