"""What became of imported rows, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tvt.core.question import Question
from tvt.data.imports.importing import ImportReport, fault_lines
from tvt.errors import printed_line

_LONGEST = 100
"""Marks of a text that are shown of an example."""
KINDS = {
    "options": "with options",
    "number": "answered by a number",
    "text": "answered in words",
    "turns": "of several turns",
    "images": "images",
}
"""What rows, or images, are counted as."""


def import_lines(report: ImportReport, files: Sequence[Path], *, every: bool = False) -> Iterator[str]:
    """How many rows were understood and as what, three of them, and what was left out.

    Args:
        report: what became of the rows.
        files: where they come from.
        every: whether each row that was left out is listed.
    """
    as_what = ", ".join(f"{name}" if len(report.formats) == 1 else f"{name} {n:,}" for name, n in report.formats.most_common())
    yield f"{', '.join(map(str, files))}: {report.understood:,} of {report.rows:,} rows understood ({as_what})"
    counted = ", ".join(f"{count:,} {KINDS[kind]}" for kind in KINDS if (count := report.kinds[kind]))
    yield f"  {counted}" if report.kinds["images"] != 1 else f"  {counted.removesuffix('s')}"
    if report.made_ids:
        yield f"  {report.made_ids:,} without an id got one, made of their content"
    if report.changed_ids:
        yield f"  {report.changed_ids:,} with the id of an earlier row got a number behind it"
    for note, count in sorted(report.notes.items()):
        yield f"  {count:,} rows: {note}" if count > 1 else f"  1 row: {note}"
    yield f"the first {len(report.examples)}:" if len(report.examples) > 1 else "the first:"
    for question in report.examples:
        yield from _example(question)
    for what, rows in (
        ("cannot be read and are left out", report.unread),
        ("are left out, for an evaluation set has them", report.shared),
    ):
        if rows:
            yield (
                f"{len(rows):,} rows {what}:" if len(rows) > 1 else f"1 row {what.replace('are', 'is').replace('them', 'it')}:"
            )
            yield from (f"  {printed_line(line)}" for line in fault_lines(rows, every=every))


def _example(question: Question) -> Iterator[str]:
    images = f", {len(question.images)} image{'s' * (len(question.images) != 1)}" if question.images else ""
    yield f"  {_cut(question.id)}{images}"
    yield f"    asked: {_cut(question.prompt)}"
    option = question.options[question.letters.index(question.answer)] if question.options else None
    yield f"    answer: {_cut(question.answer)}" + (
        f" of {len(question.options)} ({_cut(option)})" if option is not None else ""
    )


def _cut(text: str) -> str:
    line = printed_line(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def import_record(report: ImportReport, files: Sequence[Path]) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "schema": 1,
        "files": [str(path) for path in files],
        "rows": report.rows,
        "understood": report.understood,
        "formats": dict(report.formats),
        **{kind: report.kinds[kind] for kind in KINDS},
        "made_ids": report.made_ids,
        "changed_ids": report.changed_ids,
        "notes": dict(report.notes),
        "examples": [_plain(question) for question in report.examples],
        "unread": [asdict(row) for row in report.unread],
        "shared": [asdict(row) for row in report.shared],
    }


def _plain(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "task": question.task,
        "prompt": question.prompt,
        "options": list(question.options),
        "answer": question.answer,
        "images": len(question.images),
    }
