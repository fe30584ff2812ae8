"""Files of others that a manifest names by ``format``: their questions as a parquet file in tvt's cache.

What lies in the cache holds as long as the file, the images and videos that it names, and what describes it have not changed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from tvt.data.hub.formats import format_of
from tvt.data.imports.descriptions import description_of
from tvt.data.imports.importing import Importer, fault_lines
from tvt.data.imports.media import files_read
from tvt.data.questions.files import write_parquet
from tvt.data.tasks import QuestionData
from tvt.errors import InputError
from tvt.io import atomic, digest, json_text
from tvt.io.atomic import exclusively
from tvt.io.digest import cache_folder, states

_VERSION = 1
"""Raised whenever the same rows would give other questions."""


def is_foreign(data: QuestionData) -> bool:
    """Whether questions lie in a file that is not in tvt's own columns."""
    return data.path is not None and data.format != QuestionData.model_fields["format"].default


def imported_questions(data: QuestionData) -> Path:
    """The questions of a file as parquet in tvt's cache, written there unless the very same rows were before.

    Raises:
        InputError: the file cannot be had, or rows cannot be read; every fault, grouped by its reason.
    """
    place = cache_folder() / "imports" / _name(data)
    if (known := _still(place, data)) is not None:
        return known
    with exclusively(place.parent / f".lock-{place.name[-1]}"):
        return _still(place, data) or _write(data, place)


def _name(data: QuestionData) -> str:
    """A name for what was asked for: the same file read in the same way."""
    asked = data.model_dump(mode="json", include={"config", "split", "format", "where", "columns", "frames"})
    folder = None if data.image_folder is None else str(Path(data.image_folder).absolute())
    path = Path(str(data.path)).absolute()
    versions = [_VERSION, format_of(data).version, "split" in data.model_fields_set]
    key = digest.of_value({**asked, "path": str(path), "image_folder": folder, "version": versions})
    stem = re.sub(r"[^\w.-]+", "_", path.stem)[:40]
    return f"{stem}-{key[:16]}"


def _still(place: Path, data: QuestionData) -> Path | None:
    """The questions, where nothing that they rest on has changed."""
    try:
        record: dict[str, Any] = json_text.loads(place.with_name(f"{place.name}.json").read_text(encoding="utf-8"))
        same = states([Path(state[0]) for state in record["rests_on"]]) == record["rests_on"]
        same = same and record["described"] == _described(data)
        path = place.with_name(str(record["file"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return path if same and path.is_file() else None


def _described(data: QuestionData) -> str | None:
    """The ``dataset_info.json`` that says how the file is read: one that is added later changes the questions."""
    found = description_of(data)
    return None if found is None else str(found.path)


def _write(data: QuestionData, place: Path) -> Path:
    """Read all rows and write them, wholly or not at all."""
    path = Path(str(data.path))
    importer = Importer([data], data.config or path.stem)
    temporary = place.with_name(f"{place.name}.new.parquet")
    try:
        with files_read() as beside:
            write_parquet(importer.questions(), temporary)
        report = importer.report
        if report.unread:
            lines = fault_lines(report.unread, step="tvt data import --all")
            step = "mend or drop these rows, or write those that can be read with tvt data import"
            raise InputError(
                f"{path}: {len(report.unread):,} of {report.rows:,} rows cannot be read; {step}", *map(str.strip, lines)
            )
        if not report.understood:
            raise InputError(f"{path}: no rows; fill the file or name another one in the manifest")
        content = digest.of_file(temporary)
        final = place.with_name(f"{place.name}-{content[:12]}.parquet")  # readers of an earlier one are not disturbed
        temporary.replace(final)
    except pa.ArrowException as error:
        raise InputError(f"{path}: cannot be written as questions ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    own = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    record = {"schema": 1, "file": final.name, "described": _described(data), "rests_on": states([*own, *sorted(beside)])}
    atomic.write_text(place.with_name(f"{place.name}.json"), json.dumps(record))
    return final
