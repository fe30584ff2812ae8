"""Rows of a file as they are, whatever its format: JSON, JSON Lines, CSV, parquet, or a folder that ``datasets`` saved."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tvt.data.hub.formats import HubRow
from tvt.data.hub.rows import as_stored_features
from tvt.data.imports.media import RowError
from tvt.data.tasks import QuestionData
from tvt.errors import InputError, needs_data_extra, reason_of, suggest
from tvt.io import json_text

_BATCH_ROWS = 64
_SAVED = ("state.json", "dataset_dict.json")
"""What ``save_to_disk`` writes into the folder of a dataset, and of several splits."""
_WRAPPED = ("data", "rows", "annotations", "questions")
"""Keys under which a JSON object holds its rows."""


class RawRow(NamedTuple):
    """A row, or why it is none."""

    where: str
    """Its line or its number, as messages name it."""
    content: HubRow | RowError


def raw_rows(data: QuestionData) -> Iterator[RawRow]:
    """Yield the rows of ``data.path`` that ``where`` asks for.

    Raises:
        InputError: the file is not there, of no kind that is read, or damaged as a whole.
    """
    path = Path(str(data.path))
    rows = _reader(path)(path, data)
    wanted = data.where.items()
    for row in rows:
        if isinstance(row.content, RowError) or all(str(row.content.get(name)) == value for name, value in wanted):
            yield row


def _reader(path: Path) -> Callable[[Path, QuestionData], Iterator[RawRow]]:
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        return _saved if any((path / name).is_file() for name in _SAVED) else _folder
    readers = {".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: read are {', '.join(readers)}, and folders that datasets saved; name one of them")
    return reader


def _json(path: Path, data: QuestionData) -> Iterator[RawRow]:
    """The objects of a JSON list, or JSON Lines by another name."""
    try:
        content = json_text.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply; write a list of objects") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            yield from _json_lines(path, data)
            return
        raise InputError(f"{path}:{error.lineno}: no JSON ({error.msg}); write a list of objects") from error
    if isinstance(content, dict):
        key = next((name for name in _WRAPPED if isinstance(content.get(name), list)), None)
        content = content[key] if key is not None else [content]
    if not isinstance(content, list):
        raise InputError(f"{path}: holds a {type(content).__name__}; write a list of objects")
    for number, item in enumerate(content):
        yield RawRow(f"row {number}", _object(item))


def _json_lines(path: Path, _: QuestionData) -> Iterator[RawRow]:
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            try:
                content = _object(json_text.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8")))
            except UnicodeDecodeError:
                content = RowError("lines that are no JSON", "not UTF-8; save the file as UTF-8")
            except (ValueError, RecursionError) as error:
                content = RowError(
                    "lines that are no JSON", f"no JSON ({getattr(error, 'msg', 'nested too deeply')}); one object a line"
                )
            yield RawRow(f"line {number}", content)


def _object(item: Any) -> HubRow | RowError:
    return (
        item
        if isinstance(item, Mapping)
        else RowError("rows that are no objects", f"it is a {type(item).__name__}; write an object")
    )


def _csv(path: Path, _: QuestionData) -> Iterator[RawRow]:
    csv.field_size_limit(2**27)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            sample = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=_delimiter(path, sample), strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise InputError(f"{path}: empty; the first line must name the columns")
            line = reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield RawRow(f"line {line}", _record(header, cells))
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}: no CSV ({error}); save the table anew") from error


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _record(header: list[str], cells: list[str]) -> HubRow | RowError:
    if len(cells) != len(header):
        return RowError(
            "ragged rows", f"{len(cells)} fields where the header has {len(header)}; quote fields that hold a comma"
        )
    return {name: cell.strip() or None for name, cell in zip(header, cells, strict=True)}


def _parquet(path: Path, _: QuestionData) -> Iterator[RawRow]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = _label_names(file.schema_arrow)
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield RawRow(f"row {number}", _named(row, names))
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: no whole parquet file ({reason_of(error)}); write it anew") from error


def _label_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of columns that ``datasets`` wrote as ClassLabel."""
    try:
        features = json_text.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {
        name: kind["names"] for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def _named(row: dict[str, Any], names: Mapping[str, list[str]]) -> HubRow:
    """The row with classes by name."""
    for column, classes in names.items():
        if isinstance(value := row.get(column), int) and 0 <= value < len(classes):
            row[column] = classes[value]
    return row


def _saved(path: Path, data: QuestionData) -> Iterator[RawRow]:
    """A folder of ``save_to_disk``: a dataset, or several splits of which one is read."""
    with needs_data_extra():
        import datasets
    try:
        listed = path / _SAVED[1]
        splits = json_text.loads(listed.read_text(encoding="utf-8"))["splits"] if listed.is_file() else []
        found = datasets.load_from_disk(str(path / _split(path, splits, data)))
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:  # LookupError: of a split without rows
        raise InputError(f"{path}: cannot be read ({reason_of(error)}); save the dataset anew") from error
    names = {name: kind.names for name, kind in found.features.items() if isinstance(kind, datasets.ClassLabel)}
    for number, row in enumerate(as_stored_features(found)):
        yield RawRow(f"row {number}", _named(dict(row), names))


def _split(path: Path, splits: list[str], data: QuestionData) -> str:
    """The folder of the split that was asked for, or else of the one that there is, or of ``train``."""
    if not splits:
        return ""
    wanted = data.split if "split" in data.model_fields_set else splits[0] if len(splits) == 1 else "train"
    if wanted not in splits:
        raise InputError(f"{path}: no split '{wanted}'{suggest(wanted, splits)}; there are {', '.join(splits)}")
    return wanted


def _folder(path: Path, data: QuestionData) -> Iterator[RawRow]:
    """All files of a folder in the order of their names: parquet, also in ``data/``, else JSON Lines."""
    patterns = ("*.parquet", "data/*.parquet", "*.jsonl", "*.json", "*.csv")
    files = next((found for pattern in patterns if (found := sorted(path.glob(pattern)))), [])
    if not files:
        raise InputError(
            f"{path}: neither saved by datasets nor a folder of .parquet, .jsonl, .json or .csv files; name a file"
        )
    for file in files:
        for row in _reader(file)(file, data):
            yield RawRow(f"{file.relative_to(path)} {row.where}", row.content)
