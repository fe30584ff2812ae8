"""Reading CSV files strictly: every fault with its line, all of them at once, and never a traceback.

:func:`read_table` gives a table of text, :func:`find_columns` says where things stand in it, and :func:`read_rows` makes each
row a value of a pydantic model, a :class:`CsvRow`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tvt.core.notebook import Frame, is_frame
from tvt.core.scores import Tally
from tvt.data.csv_text import Row, split_rows
from tvt.errors import InputError, suggest

MAX_BYTES = 256 * 2**20
"""Larger files are refused: no table of scores is that long."""
MAX_FAULTS = 20
"""How many faults of a file are listed; the rest is counted."""
MISSING = frozenset({"", "na", "n/a", "n.a.", "-", "--", "–", "—"})
"""What an empty cell may say, in lower case."""

TWO_RUNS = " (two runs of one model: one below the other, with a column 'run')"
"""What to do where one name stands twice because the model was trained twice."""

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?[0-9]{1,15}(?:\.0*)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)
_SIGN = "%"
_OTHER_FORMATS = ("{", "[", "<", "%PDF", "#!", "---")


@dataclass
class Faults:
    """Collects the faults of one file, so that they can be reported at once."""

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
class Table:
    """A rectangular table of text. ``header`` is stripped; an empty first name is an index column (as pandas writes)."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]

    def at(self, column: str) -> int | None:
        """Position of a column by its exact name, ``None`` where there is none."""
        return self.header.index(column) if column in self.header else None

    def signs(self, column: int) -> tuple[list[Row], list[Row]]:
        """The rows that have a percent sign in a column, and the rows whose number there has none."""
        filled = [row for row in self.rows if row.cells[column].lower() not in MISSING]
        return [r for r in filled if r.cells[column].endswith(_SIGN)], [
            r for r in filled if not r.cells[column].endswith(_SIGN)
        ]

    def without_signs(self, column: int) -> Table:
        """The same table without the percent signs in a column."""
        rows = (replace(r, cells=[c.rstrip("% ") if at == column else c for at, c in enumerate(r.cells)]) for r in self.rows)
        return replace(self, rows=tuple(rows))


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


def number(text: str) -> float | None:
    """A finite number, ``None`` for a missing one; ``45.2%`` is 0.452.

    Raises:
        ValueError: what is wrong with the cell, with the next step.
    """
    if text.lower() in MISSING:
        return None
    if _NUMBER.fullmatch(text):
        value = float(text)
        if abs(value) == float("inf"):
            raise ValueError(f"'{text}' is too large; check the value")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"'{text}' is not finite; leave a missing value empty or write NA")
    if text.endswith(_SIGN) and _NUMBER.fullmatch(text.rstrip("% ")):
        return float(text.rstrip("% ")) / 100
    raise ValueError(f"'{text[:40]}' is not a number; leave a missing value empty or write NA")


def _count(text: str) -> int | None:
    """A whole number, ``None`` for a missing one."""
    if text.lower() in MISSING:
        return None
    if _INTEGER.fullmatch(text):
        return int(float(text))
    raise ValueError(f"'{text[:40]}' is not a whole number; give the count of questions")


def _right_answers(text: str) -> Tally | None:
    """A count of right answers or the sum of their scores, ``None`` for a missing one."""
    try:
        value = number(text if not text.endswith(_SIGN) else "no count")
    except ValueError:
        step = "give the count of right answers, or the sum of their credits"
        raise ValueError(f"'{text[:40]}' is not a number; {step}") from None
    return int(value) if value is not None and value.is_integer() else value


Number = Annotated[float | None, BeforeValidator(number)]
Count = Annotated[int | None, BeforeValidator(_count)]
RightAnswers = Annotated[Tally | None, BeforeValidator(_right_answers)]


class CsvRow(BaseModel):
    """A row as typed values. A field that is a mapping holds several columns."""

    model_config = ConfigDict(frozen=True)
    prefix: ClassVar[str] = ""
    """What the fault of a cell begins with; may name the ``{column}`` or another cell of the row by its field."""

    line: int

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong with the row beyond its single cells; ``names`` are those that it may use."""
        yield from ()


R = TypeVar("R", bound=CsvRow)
Columns = Mapping[str, int | Mapping[str, int]]
"""Where a row's fields stand: the position of a column, or the positions of several by their names."""


def find_columns(table: Table, aliases: Mapping[str, str], faults: Faults, required: Iterable[str] = ()) -> dict[str, int]:
    """Map fields to positions; a field that two columns claim, a column without a field, and a missing column are faults.

    Args:
        table: the table.
        aliases: column name in lower case -> field.
        faults: where to note faults.
        required: fields that must be there.
    """
    result: dict[str, int] = {}
    for position, name in enumerate(table.header):
        role = aliases.get(name.casefold())
        if role is None:
            if name:
                hint = suggest(name, list(aliases)) or f"; known: {', '.join(dict.fromkeys(aliases))}"
                faults.add(1, f"unknown column '{name}'{hint}; rename or remove it")
        elif role in result:
            faults.add(1, f"'{table.header[result[role]]}' and '{name}' both name the {role}; keep one")
        else:
            result[role] = position
    for name in required:
        if name not in result:
            faults.add(1, f"no column '{name}'; add it")
    return result


def read_rows(table: Table, model: type[R], columns: Columns, faults: Faults, names: Sequence[str] = ()) -> list[R]:
    """The sound rows as values of ``model``; the faults of the others are noted with their lines.

    Args:
        table: the table.
        model: the kind of row.
        columns: where its fields stand; a field that is not there keeps its default.
        faults: where to note faults.
        names: see :meth:`CsvRow.faults`.
    """
    rows = []
    for row in table.rows:
        cells = {
            name: row.cells[at] if isinstance(at, int) else {key: row.cells[position] for key, position in at.items()}
            for name, at in columns.items()
        }
        try:
            value = model.model_validate({"line": row.line, **cells})
        except ValidationError as error:
            result = [model.prefix.format(column=f["loc"][-1], **cells) + str(f["ctx"]["error"]) for f in error.errors()]
        else:
            result = list(value.faults(names))
            if not result:
                rows.append(value)
        for fault in result:
            faults.add(row.line, fault)
    return rows


def distinct(rows: Iterable[R], key: Callable[[R], Hashable], fault: Callable[[R, int], str], faults: Faults) -> list[R]:
    """The first row of each key; of a later one, what ``fault`` says of it and the first one's line is noted."""
    lines: dict[Hashable, int] = {}
    result = []
    for row in rows:
        first = lines.setdefault(key(row), row.line)
        if first == row.line:
            result.append(row)
        else:
            faults.add(row.line, fault(row, first))
    return result


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
        raise InputError(f"{path}: is not a CSV file (it has NUL bytes); export the table as UTF-8 CSV")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is not a CSV file in UTF-8; export the table as UTF-8 CSV") from error


def _rows(text: str, faults: Faults) -> Iterator[Row]:
    """The rows that are not blank."""
    if text.lstrip().startswith(_OTHER_FORMATS):
        faults.add(1, f"is not a CSV file (it starts with '{text.strip()[:1]}'); the first line must name the columns")
        return
    try:
        yield from split_rows(text)
    except ValueError as error:
        line, _, what = str(error).partition(": ")
        faults.add(int(line), what)


def _check_header(header: tuple[str, ...], line: int, faults: Faults) -> None:
    if len(header) < 2:
        hint = (
            "it has bars for commas; save it with commas"
            if "|" in header[0]
            else "it has one column; a table needs two or more"
        )
        faults.add(line, f"is not a CSV table: {hint}")
    seen: set[str] = set()
    for position, name in enumerate(header):
        if not name and position > 0:
            faults.add(line, f"column {position + 1} has no name; name or remove it")
        elif name in seen:
            faults.add(line, f"column '{name}' stands twice; rename or remove one{TWO_RUNS}")
        seen.add(name)
