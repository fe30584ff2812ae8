"""The cells of a file's text: what separates them, and numbers as other countries' programs write them.

Fields are separated by commas, or by semicolons or tabs where the header has no comma. Between semicolons or tabs, ``0,5`` is
one half, as spreadsheets write it where the comma marks the decimals.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?\s*%?", re.ASCII)
_POINT = re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?\s*%?", re.ASCII)
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """One row: the line it starts on and its stripped cells."""

    line: int
    cells: list[str]


def split_rows(text: str) -> Iterator[Row]:
    """The rows that are not blank, with decimal points.

    Raises:
        ValueError: no CSV, or decimal points beside decimal commas; the message begins with the line and a colon.
    """
    separator = _separator(text)
    rows = list(_rows(text, separator))
    return iter(rows if separator == "," else _with_points(rows))


def _separator(text: str) -> str:
    """What separates the fields of the header."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in _SEPARATORS if mark in header), ",")


def _rows(text: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Row(start, stripped)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{start}: is not a CSV file ({error}); check the quotes") from error


def _with_points(rows: list[Row]) -> list[Row]:
    """Rows below the header with decimal points for decimal commas."""
    body = rows[1:]
    comma = next(((row.line, cell) for row in body for cell in row.cells if _COMMA.fullmatch(cell)), None)
    if comma is None:
        return rows
    point = next(((row.line, cell) for row in body for cell in row.cells if _POINT.fullmatch(cell)), None)
    if point is not None:
        there = f"'{point[1]}' with a decimal point here, '{comma[1]}' with a decimal comma on line {comma[0]}"
        raise ValueError(f"{point[0]}: {there}; write all numbers one way")
    changed = (
        Row(row.line, [cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell for cell in row.cells]) for row in body
    )
    return [*rows[:1], *changed]
