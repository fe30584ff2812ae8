"""The rows of a mixed dataset: checked before anything is loaded, decoded one batch at a time, named in every message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.errors import InputError, reason_of
from tvt.io import digest
from tvt.model.inputs import Sample
from tvt.model.limits import ShownRow
from tvt.model.picture import PictureError, decode
from tvt.train import layouts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_SHOWN = 10
_HELD_ROWS, _TEXT_ROWS = 64, 4096
"""Rows in memory at once, with their images and without."""


@dataclass(frozen=True, kw_only=True)
class RowsSummary:
    """The result of checking all rows."""

    rows: int
    with_images: int
    """Rows that have at least one image."""


def data_files(folder: Path) -> list[Path]:
    """The parquet files of a dataset, in order.

    Raises:
        InputError: there are none.
    """
    files = sorted((folder / "data").glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder}: no data/*.parquet there; write the dataset with tvt mix MIXTURE -o {folder}")
    return files


def dataset_digest(folder: Path) -> str:
    """Digest of the rows: of the files' bytes in order, wherever they are stored, and of images stored beside them."""
    files = data_files(folder)
    beside = sorted({path for file in files for path in _images_beside(file, folder)})
    return digest.of_value([digest.of_file(path) for path in [*files, *beside]])


def _images_beside(file: Path, folder: Path) -> Iterator[Path]:
    """The images that a parquet file names and does not hold; tvt mix names none, and then no image is read for it."""
    named = (row for batch in _batches(file, bytes_too=False) for row in batch.to_pylist())
    if any(image["path"] for row in named for image in layouts.row_of(row)["images"]):
        for batch in _batches(file, bytes_too=True):
            places = (layouts.image_path(path, folder) for path in layouts.named_files(layouts.canonical(batch)))
            yield from (path for path in places if path.is_file())  # check_rows reports what is missing, with its row


def _batches(file: Path, *, bytes_too: bool) -> Iterator[pa.RecordBatch]:
    """The rows of a parquet file in their own layout, few enough at a time to hold their images."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False) as opened:
        size = _HELD_ROWS if bytes_too else _TEXT_ROWS
        yield from opened.iter_batches(batch_size=size, columns=layouts.columns(opened.schema_arrow, bytes_too=bytes_too))


def check_rows(folder: Path) -> RowsSummary:
    """Check all rows without reading their images.

    Raises:
        InputError: unreadable, a column missing or in no layout that is read, no rows, or a row without question or answer; ten
            faults at most.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = with_images = 0
    faults: list[str] = []
    for path in data_files(folder):
        try:
            schema = pq.read_schema(path)
            schema_faults = layouts.schema_faults(schema)
            faults += [f"{path}: {fault}" for fault in schema_faults]
            for batch in () if schema_faults else _batches(path, bytes_too=False):
                for index, row in enumerate(batch.to_pylist()):
                    row_faults, images = _checked(row, folder if layouts.images_are_files(schema) else None)
                    with_images += images
                    faults += [f"{path}: {_name(row, rows + index)}: {fault}" for fault in row_faults]
                rows += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            faults.append(f"{path}: not readable as parquet ({reason_of(error)}); write the dataset anew with tvt mix")
        if len(faults) > _SHOWN:
            break
    if not rows and not faults:
        faults.append(f"{folder}: has no rows; the mixture's budget may be 0")
    if faults:
        more = [f"{folder}: more faults follow; mend these first"] if len(faults) > _SHOWN else []
        raise InputError(*faults[:_SHOWN], *more)
    return RowsSummary(rows=rows, with_images=with_images)


def _checked(row: dict[str, Any], beside: Path | None) -> tuple[list[str], bool]:
    """What is wrong with a row whose images' bytes were left out, and whether it has images.

    Args:
        row: in its own layout.
        beside: the dataset's folder, where all images are files.
    """
    try:
        fields = layouts.row_of(row)
    except layouts.LayoutError as error:
        return [f"{error}; mend or drop the row"], False
    faults = list(_row_faults(fields))
    if beside is not None:
        places = [layouts.image_path(image["path"] or "", beside) for image in fields["images"]]
        faults += [f"{place}: no such image; mend or drop the row" for place in places if not place.is_file()]
    return faults, bool(fields["images"])


def shown_rows(folder: Path) -> Iterator[ShownRow]:
    """What training shows of each row, a few rows in memory at a time; a picture that cannot be read is empty."""
    number = 0
    for path in data_files(folder):
        for batch in _batches(path, bytes_too=True):
            for row in map(layouts.row_of, batch.to_pylist()):
                yield _shown(row, folder, f"{path}: {_name(row, number)}")
                number += 1


def _shown(row: dict[str, Any], folder: Path, name: str) -> ShownRow:
    """What training shows of a row that is as :data:`tvt.train.layouts.SCHEMA` has it."""
    return ShownRow(
        name=name,
        texts=tuple(message["content"] for message in row["prompt"]),
        answers=tuple(message["content"] for message in row["completion"]),
        images=tuple(_content(image, folder) for image in row["images"] or []),
    )


def _content(image: dict[str, Any], folder: Path) -> bytes:
    """The encoded picture."""
    if image["bytes"] is not None:
        return bytes(image["bytes"])
    try:
        return layouts.image_path(image["path"], folder).read_bytes()
    except (OSError, TypeError):
        return b""


def load_rows(folder: Path, cache: Path) -> Dataset:
    """The rows for random access, images still encoded; ``cache`` takes an uncompressed copy that is mapped into memory.

    Nothing here is passed to ``datasets`` as a pattern: a folder may have any name.
    """
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    files = data_files(folder)
    stamps = [(path.name, (state := path.stat()).st_size, state.st_mtime_ns) for path in files]
    copy = cache / f"{digest.of_value(stamps)[:16]}.arrow"
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = copy.with_suffix(".unfinished")
        with pa.OSFile(str(unfinished), "wb") as stream, pa.ipc.new_stream(stream, layouts.SCHEMA) as writer:
            for path in files:
                for batch in _batches(path, bytes_too=True):
                    writer.write_batch(layouts.canonical(batch))
        unfinished.replace(copy)
    return datasets.Dataset.from_file(str(copy))


class Examples:
    """The rows as torch's DataLoader takes them: a batch of them at a time, decoded, possibly none."""

    def __init__(self, rows: Dataset, folder: Path, max_pixels: int | None = None, min_pixels: int | None = None) -> None:
        self._rows, self._folder, self.max_pixels, self.min_pixels = rows, folder, max_pixels, min_pixels

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._example(self._rows[index], index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def name(self, index: int) -> str:
        """What a row is called in messages."""
        return f"{self._folder}: {_name(self._rows[index], index)}"

    def shown(self) -> Iterator[ShownRow]:
        """What each row shows, a row at a time."""
        return (_shown(row, self._folder, _name(row, index)) for index, row in enumerate(self._rows))

    def first_of_sources(self) -> Iterator[Sample]:
        """The first row of every source; of rows that name no source, the first of all."""
        sources = self._rows["source"][:] if "source" in self._rows.column_names else [None]
        first: dict[str | None, int] = {}
        for index, source in enumerate(sources):
            first.setdefault(source, index)
        for index in first.values():
            yield Sample(name=f"{self._folder}: {_name(self._rows[index], index)}", **self[index])

    def _example(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        images = [self._image(image, row, index, place) for place, image in enumerate(row["images"] or [], 1)]
        return {"images": images, "prompt": list(row["prompt"]), "completion": list(row["completion"])}

    def _image(self, image: dict[str, Any], row: dict[str, Any], index: int, place: int) -> Any:
        where = f"{_name(row, index)}: image {place}"
        content = image["bytes"]
        if content is None:
            try:
                content = layouts.image_path(image["path"], self._folder).read_bytes()
            except (OSError, TypeError) as error:
                raise self._unreadable(where, error) from error
        try:
            return decode(content, self.max_pixels, self.min_pixels)
        except PictureError as error:
            raise self._unreadable(where, error) from error

    def _unreadable(self, where: str, error: Exception) -> InputError:
        return InputError(f"{self._folder}: {where} cannot be read ({error}); mend the row and mix anew")


def _name(row: dict[str, Any], index: int) -> str:
    named = f" ({row['source']}, id {row['id']})" if row.get("id") and row.get("source") else ""
    return f"row {index}{named}"


def _row_faults(row: dict[str, Any]) -> Iterator[str]:
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        messages = row[name] or []
        if not messages or not all(isinstance(message.get("content"), str) for message in messages):
            yield f"{name} is not a list of messages with text; mix anew"
        elif messages[-1].get("role") != role:
            yield f"the last message of {name} is not of role {role}; mix anew"
        elif name == "completion" and messages[0].get("role") != "assistant":
            yield "the first message of completion is not of role assistant; mix anew"
        elif name == "completion" and not all(m["content"].strip() for m in messages if m.get("role") == "assistant"):
            yield "an answer is empty; mend or drop the row and mix anew"
