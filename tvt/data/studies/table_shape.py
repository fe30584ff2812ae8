"""The shape of a table of results as people keep it: models down or across, summaries beside the tasks, the base model by
another name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tvt.core.scores import BASE
from tvt.data.csv_table import Table
from tvt.data.csv_text import Row
from tvt.data.studies.score_rows import BASE_NAMES
from tvt.errors import InputError, suggest

_SUMMARY = re.compile(
    r"(?:(?:macro|micro|weighted|total|task)[ _-]*)?(?:average|avg|mean|overall|std|stdev|std[ _-]?dev|stderr|median)"
    r"\.?(?:[ _-]*(?:score|acc|accuracy))?",
    re.IGNORECASE,
)


def is_summary(name: str) -> bool:
    """Whether a column or row of that name sums others up (``Average``, ``Overall``, ``mean``) and is no task or model."""
    return _SUMMARY.fullmatch(name) is not None


def transposed(table: Table) -> Table:
    """The matrix with models down and tasks across, of one with models across and tasks down.

    Raises:
        InputError: a table with a row a cell, or two rows of one task.
    """
    columns = {name.casefold() for name in table.header}
    if columns & {"source", "ft_task"} and columns & {"target", "task"}:
        raise InputError(f"{table.path}:1: --transpose is for a matrix, and this table has a row for each cell; drop it")
    names = [row.cells[0] for row in table.rows]
    for at, row in enumerate(table.rows):
        if not names[at]:
            raise InputError(f"{table.path}:{row.line}: no task; with --transpose the first column names them")
        if names[at] in names[:at]:
            first = table.rows[names.index(names[at])].line
            raise InputError(
                f"{table.path}:{row.line}: task '{names[at]}' stands on line {first} already; remove one of the two"
            )
    rows = (
        Row(1, [table.header[column], *(row.cells[column] for row in table.rows)]) for column in range(1, len(table.header))
    )
    return Table(table.path, ("source", *names), tuple(rows))


def without_summaries(table: Table, columns: Sequence[int], labels: Sequence[int]) -> tuple[Table, list[int], list[str]]:
    """The table without rows that sum others up, and the columns that do not.

    Args:
        table: the table.
        columns: its columns of values.
        labels: the columns of names, in which a summary makes its row one.

    Returns:
        The table, the columns that stay, and notes of what was left out. Nothing is left out where nothing would stay.
    """
    stay = [column for column in columns if not is_summary(table.header[column])]
    stay = stay if stay else list(columns)
    gone = [table.header[column] for column in columns if column not in stay]
    rows, dropped = table.rows, dict[str, None]()
    for label in labels:
        kept = tuple(row for row in rows if not is_summary(row.cells[label]))
        if kept and len(kept) < len(rows):
            dropped |= dict.fromkeys(row.cells[label] for row in rows if is_summary(row.cells[label]))
            rows = kept
    notes = [_left_out(table, "column", gone)] if gone else []
    notes += [_left_out(table, "row", list(dropped))] if dropped else []
    return replace(table, rows=rows), stay, notes


def _left_out(table: Table, what: str, names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    if len(names) == 1:
        return f"{table.path}: {what} {listed} is left out: it sums up the others"
    return f"{table.path}: {what}s {listed} are left out: they sum up the others"


def with_base(table: Table, label: int, base: str | None) -> Table:
    """The table with the rows of the base model named ``base``.

    Args:
        table: the table.
        label: the column of sources.
        base: what they are called there; ``None`` leaves the table as it is.

    Raises:
        InputError: no row is called so, with what to do.
    """
    if base is None:
        return table
    names = list(dict.fromkeys(row.cells[label] for row in table.rows))
    folded = base.strip().casefold()
    if folded not in (name.casefold() for name in names):
        across = any(name.casefold() == folded for name in table.header)
        hint = "; it is a column: pass --transpose" if across else suggest(base, names) or f"; there are {_some(names)}"
        raise InputError(f"{table.path}: --base {base}: no row is called so{hint}")
    rows = (
        replace(row, cells=[BASE if at == label and cell.casefold() == folded else cell for at, cell in enumerate(row.cells)])
        for row in table.rows
    )
    return replace(table, rows=tuple(rows))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")


def check_across(table: Table) -> None:
    """Refuse a matrix whose base model is a column.

    Raises:
        InputError: there is such a column, with what to do.
    """
    across = next((name for name in table.header[1:] if name.casefold() in BASE_NAMES - {""}), None)
    if across is not None:
        raise InputError(f"{table.path}:1: the base model '{across}' is a column; pass --transpose if the models stand across")
