"""Reading CSV files strictly: every fault with its line, all of them at once, and never a traceback."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tvt.core.notebook import Frame, is_frame
from tvt.errors import InputError

MAX_BYTES = 256 * 2**20
"""Larger files are refused: no table of scores is that long."""
MAX_FAULTS = 20
"""How many faults of a file are listed; the rest is counted."""
MISSING = frozenset({"", "na", "n/a"})
"""What an empty cell may say, in lower case."""

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?[0-9]{1,15}(?:\.0*)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)
_OTHER_FORMATS = ("{", "[", "<", "%PDF", "#!", "---")


@dataclass
class Faults:
    """Collects the faults of one file, so that they can be told at once."""

    path: Path
    lines: list[str] = field(default_factory=list)
    _order: list[int] = field(default_factory=list)

    def add(self, line: int | None, what: str) -> None:
        """Note a fault; ``line`` is ``None`` where it is the whole file's."""
        self.lines.append(f"{self.path}:{line}: {what}" if line is not None else f"{self.path}: {what}")
        self._order.append(line or 0)

    def check(self) -> None:
        """Raise InputError with the faults in the order of their lines, the first ones and the number of the others."""
        if self.lines:
            more = len(self.lines) - MAX_FAULTS
            rest = [f"{self.path}: and {more} more; mend these first"] if more > 0 else []
            ordered = [fault for _, fault in sorted(zip(self._order, self.lines, strict=True), key=lambda pair: pair[0])]
            raise InputError(*ordered[:MAX_FAULTS], *rest)


@dataclass(frozen=True)
class Row:
    """One row: the line it starts on and its stripped cells, as many as the header has."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """A rectangular table of text. ``header`` is stripped; an empty first name is an index column (as pandas writes)."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]

    def at(self, column: str) -> int | None:
        """Position of a column by its exact name, ``None`` where there is none."""
        return self.header.index(column) if column in self.header else None


def read_table(source: Path | Frame) -> Table:
    """Read a CSV file with a header, or a pandas table (an index with content is its first column); blank lines are skipped.

    Raises:
        InputError: unreadable, larger than ``MAX_BYTES``, no CSV, empty, ragged, or with repeated or unnamed columns.
    """
    path = Path("DataFrame") if is_frame(source) else Path(source)
    faults = Faults(path)
    rows = list(_rows(_frame_text(source) if is_frame(source) else _text(path), faults))
    faults.check()
    if not rows:
        raise InputError(f"{path}: empty file; the first line must name the columns")
    header, body = tuple(rows[0].cells), rows[1:]
    _check_header(header, rows[0].line, faults)
    for row in body:
        if len(row.cells) != len(header):
            faults.add(row.line, f"ragged: {len(row.cells)} fields where the header has {len(header)}; add or remove fields")
    faults.check()
    return Table(path, header, tuple(body))


def _frame_text(frame: Frame) -> str:
    """The table as CSV. pandas' own numbering of rows is no column."""
    numbered = frame.index.name is None and list(frame.index) == list(range(len(frame)))
    text: str = frame.to_csv(index=not numbered)
    return text


def number(text: str) -> float | str | None:
    """A finite number, ``None`` for a missing one, or what is wrong with the cell (text with the next step)."""
    if text.lower() in MISSING:
        return None
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else f"'{text}' is too large; check the value"
    if _NOT_FINITE.fullmatch(text):
        return f"'{text}' is not finite; leave a missing value empty or write NA"
    if text.endswith("%"):
        return f"'{text}' has a percent sign; drop it and pass --unit percent"
    return f"'{text[:40]}' is not a number; leave a missing value empty or write NA"


def integer(text: str) -> int | str | None:
    """A whole number, ``None`` for a missing one, or what is wrong with the cell."""
    if text.lower() in MISSING:
        return None
    if _INTEGER.fullmatch(text):
        return int(float(text))
    return f"'{text[:40]}' is not a whole number; give the count of questions"


def tally(text: str) -> int | float | str | None:
    """A count of right answers or a sum of credits, ``None`` for a missing one, or what is wrong with the cell."""
    whole = integer(text)
    if not isinstance(whole, str):
        return whole
    value = number(text)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return f"'{text[:40]}' is not a number; give the count of right answers, or the sum of their credits"


def _text(path: Path) -> str:
    """The file's text."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a directory; name the CSV file in it")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file; save the table as a CSV file first")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path}: {size} bytes, larger than the limit of {MAX_BYTES}; split it or drop what is not a score"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}; check the path and its permissions") from error
    if b"\0" in data:
        raise InputError(f"{path}: is no CSV (it has NUL bytes); export the table as UTF-8 CSV")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is no CSV in UTF-8; export the table as UTF-8 CSV") from error


def _rows(text: str, faults: Faults) -> Iterator[Row]:
    """The rows that are not blank."""
    if text.lstrip().startswith(_OTHER_FORMATS):
        faults.add(1, f"is no CSV (it starts with '{text.strip()[:1]}'); the first line must name the columns")
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Row(start, stripped)
            start = reader.line_num + 1
    except csv.Error as error:
        faults.add(start, f"is no CSV ({error}); check the quotes")


def _check_header(header: tuple[str, ...], line: int, faults: Faults) -> None:
    if len(header) < 2:
        other = next((name for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")) if mark in header[0]), None)
        hint = f"it has {other} for commas; save it with commas" if other else "the first line must name at least two columns"
        faults.add(line, f"is no CSV: {hint}")
    seen: set[str] = set()
    for position, name in enumerate(header):
        if not name and position > 0:
            faults.add(line, f"column {position + 1} has no name; name or remove it")
        elif name in seen:
            faults.add(line, f"column '{name}' stands twice; rename or remove one")
        seen.add(name)
