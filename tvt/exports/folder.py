"""An export as a folder: rows and pictures for the trainer, its configuration, and a check of all of it before it is there.

``export.json`` is written last and says what was written and checked. The same request finds its own folder and leaves it as it
is, with whatever the trainer has put there since.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvt.errors import InputError
from tvt.exports.pictures import Pictures
from tvt.exports.plan import Export, LinesExport, Plan
from tvt.exports.rows import LINES, PARQUET, Row, RowsWritten, mixed_files, read_rows, row_of
from tvt.io import atomic, digest, json_lines, json_text
from tvt.types import Progress, silent

RECORD = "export.json"
LAYOUT = 1
"""Raised whenever the same request gives other files."""
_SHOWN = 10
_PATTERN = "*?[]"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder that a trainer can be run in."""

    folder: Path
    record: dict[str, Any]
    """What ``export.json`` says: trainer, command, counts, model, notes, files."""
    written: bool
    """False where the same export was there already."""

    @property
    def command(self) -> str:
        """What to run, from anywhere."""
        return f"cd {shlex.quote(str(self.folder.absolute()))} && {self.record['command']}"


def check_place(folder: Path) -> None:
    """Refuse a folder whose name a trainer would misread.

    Raises:
        InputError: it has signs that ``datasets`` takes for a pattern, or is a file.
    """
    atomic.refuse_file(folder)
    if odd := sorted({sign for sign in str(folder.absolute()) if sign in _PATTERN}):
        signs = " ".join(odd)
        raise InputError(f"{folder}: trainers take {signs} in a folder's name for a pattern; name another folder with -o DIR")


def previous(folder: Path, identity: str) -> Exported | None:
    """The same export, if ``folder`` is that; ``None`` if it is free.

    Raises:
        InputError: something else is in it.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        record: dict[str, Any] = json_text.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = record["digest"] == identity
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder}: not empty, and no export of tvt; name a new folder with -o DIR") from None
    if not same:
        raise InputError(f"{folder}: holds another export (mixture, rows, model or trainer); name a new folder with -o DIR")
    return Exported(folder=folder, record=record, written=False)


def identity_of(plan: Plan, trainer: str, rows: str) -> str:
    """The digest of an export: of what changes its files. ``rows`` is that of the mixed dataset."""
    values = [LAYOUT, trainer, rows, plan.model.name, plan.model.kind, plan.template, plan.max_pixels, plan.min_pixels]
    return digest.of_value(values)


def write_folder(
    kind: Export, plan: Plan, mixed: Path, folder: Path, *, trainer: str, identity: str, progress: Progress = silent
) -> Exported:
    """Write and check an export.

    Args:
        kind: the trainer.
        plan: the mixture, its model and settings.
        mixed: the mixed dataset to take the rows from.
        folder: where to; it must be free.
        trainer: its name.
        identity: see :func:`identity_of`.
        progress: called with how far it is.

    Raises:
        InputError: rows that the trainer would misread, by name; a folder that cannot be written; a check that fails.
    """
    try:
        with atomic.new_folder(folder) as temporary:
            plan = replace(plan, rows=_write_rows(kind, plan, mixed, temporary, progress))
            for name, text in kind.render(plan).items():
                (temporary / name).write_text(text, encoding="utf-8")
            for name in ("manifest.csv", "mixture.yaml"):
                shutil.copyfile(mixed / name, temporary / name)
            check_folder(kind, plan, temporary)
            record = _record(kind, plan, trainer, identity)
            (temporary / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; nothing was left behind, name another place with -o") from error
    return Exported(folder=folder, record=record, written=True)


def _record(kind: Export, plan: Plan, trainer: str, identity: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "trainer": trainer,
        "digest": identity,
        "command": kind.command(plan),
        "model": plan.model.name,
        "model_type": plan.model.kind,
        "model_type_from": plan.model.source,
        "rows": plan.rows.total,
        "sources": plan.rows.counts,
        "with_images": plan.rows.with_images,
        "images": plan.rows.images,
        "notes": [*(plan.model.unverified if kind.by_type and not plan.template else []), *kind.notes(plan)],
    }


def _write_rows(kind: Export, plan: Plan, mixed: Path, folder: Path, progress: Progress) -> RowsWritten:
    pictures = Pictures(folder, plan.max_pixels, plan.min_pixels)
    summary = _Summary()
    if kind.rows == "parquet":
        _write_parquet(mixed, folder, pictures, summary, progress, plan.total)
    elif isinstance(kind, LinesExport):
        _write_lines(kind, mixed, folder, pictures, summary, progress, plan.total)
    if summary.faults:
        more = [f"... and {len(summary.faults) - _SHOWN} more"] if len(summary.faults) > _SHOWN else []
        raise InputError(*summary.faults[:_SHOWN], *more)
    return summary.result(pictures)


def _write_lines(  # noqa: PLR0917
    kind: LinesExport, mixed: Path, folder: Path, pictures: Pictures, summary: _Summary, progress: Progress, total: int
) -> None:
    with (folder / LINES).open("wb") as stream:
        for number, row in enumerate(read_rows(mixed), 1):
            summary.add(row, kind.placeholders)
            placed = replace(row, images=tuple(pictures.place(content, row.where) for content in row.contents))
            stream.write(json_lines.line(kind.line(placed)).encode())
            progress("writing rows", number, total)


def _write_parquet(  # noqa: PLR0917
    mixed: Path, folder: Path, pictures: Pictures, summary: _Summary, progress: Progress, total: int
) -> None:
    """The mixed dataset's own files, with pictures as every trainer shows them, and a row for each answer of a conversation.

    TRL takes the loss on a whole completion, questions between its answers too.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / PARQUET).mkdir()
    done = 0
    for path in mixed_files(mixed):
        with pq.ParquetFile(path) as opened:
            schema = opened.schema_arrow
            with pq.ParquetWriter(folder / PARQUET / path.name, schema) as writer:
                for batch in opened.iter_batches(batch_size=64):
                    rows = []
                    for fields in batch.to_pylist():
                        row = row_of(fields)
                        summary.add(row, ())
                        contents = [pictures.convert(content, row.where).content for content in row.contents]
                        fields["images"] = [{"bytes": content, "path": None} for content in contents]
                        rows += [{**fields, "prompt": asked, "completion": [answer]} for asked, answer in row.single_answers]
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                    progress("writing rows", done := done + batch.num_rows, total)


class _Summary:
    """What the rows are, and which of them the trainer would misread."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.with_images = self.earlier = self.several = self.answers = 0
        self.faults: list[str] = []
        self._named: set[tuple[str, str]] = set()

    def add(self, row: Row, placeholders: tuple[str, ...]) -> None:
        """Count a row and look for the trainer's placeholders in its texts."""
        self.counts[row.source] += 1
        self.with_images += bool(row.contents)
        self.earlier += bool(row.untrained)
        self.several += len(row.trained) > 1
        self.answers += len(row.trained)
        found = [mark for mark in placeholders if any(mark in message["content"] for message in row.messages)]
        if found and (row.source, row.id) not in self._named:
            self._named.add((row.source, row.id))
            marks = " and ".join(found)
            self.faults.append(
                f"{row.where}: its text has {marks}, for which this trainer puts a picture; reword or drop the row"
            )

    def result(self, pictures: Pictures) -> RowsWritten:
        """The summary once all rows are written."""
        return RowsWritten(
            counts=dict(sorted(self.counts.items())),
            with_images=self.with_images,
            images=len(pictures),
            most_pixels=pictures.most_pixels,
            least_side=pictures.least_side,
            earlier=self.earlier,
            several=self.several,
            answers=self.answers,
        )


def check_folder(kind: Export, plan: Plan, folder: Path) -> None:
    """Read the rows back as the trainer will, and hold counts, places of images and their files against the mixture.

    Raises:
        InputError: what does not fit, and that it is a fault of tvt.
    """
    faults = []
    if isinstance(kind, LinesExport):
        faults = _line_faults(kind, plan, folder)
    elif kind.rows == "parquet":
        import pyarrow.parquet as pq

        rows = sum(pq.read_metadata(path).num_rows for path in (folder / PARQUET).glob("*.parquet"))
        faults = [] if rows == plan.rows.answers else [f"{PARQUET}: {rows} rows were written for {plan.rows.answers} answers"]
    expected = {part.source: part.count for part in plan.parts}
    if kind.rows is not None and plan.rows.counts != dict(sorted(expected.items())):
        faults.append(f"rows by source are {plan.rows.counts}, and the mixture takes {expected}")
    if faults:
        raise InputError(*faults[:_SHOWN], "the export does not fit the mixture, nothing was written: this is a fault of tvt")


def _line_faults(kind: LinesExport, plan: Plan, folder: Path) -> list[str]:
    faults: list[str] = []
    sizes: dict[str, bool] = {}
    rows = 0
    with (folder / LINES).open(encoding="utf-8") as stream:
        for rows, text in enumerate(stream, 1):
            line: Mapping[str, Any] = json_text.loads(text)
            paths, places = kind.places(line)
            if len(paths) != places:
                faults.append(f"{LINES}: row {rows} has {len(paths)} images and {places} places for them")
            for path in paths:
                if path not in sizes:
                    sizes[path] = (folder / path).is_file() and (folder / path).stat().st_size > 0
                if not sizes[path]:
                    faults.append(f"{LINES}: row {rows} names {path}, which is not there")
    return faults if rows == plan.total else [*faults, f"{LINES}: {rows} rows were written for {plan.total}"]
