"""Transfer by level and granularity: what groups of tasks do to each other, and what their tasks do and take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Group, RenderableType

from tvt.report.labels import plain, shortened
from tvt.report.table_style import MISSING, dense_table, number, titled
from tvt.stats.intervals import Interval
from tvt.transfer.groups import MEASURES, GroupCell, Grouping

NAME = 12
"""Most characters of a group's name."""
_CELL = 18
"""Characters of a cell: ``+0.123 ±0.045 (12)``."""


def group_tables(grouping: Grouping, width: int) -> Iterator[RenderableType]:
    """Mean PGF between the groups, and mean transferability and malleability of their tasks."""
    title = f"Mean PGF by {grouping.by} ± standard error (cells), from row to column"
    names = [shortened(group, NAME) for group in grouping.groups]
    room = max((width - max(map(len, names)) - 1) // (_CELL + 1), 1)
    for first in range(0, len(names), room):
        table = dense_table("", *names[first : first + room])
        for name, source in zip(names, grouping.groups, strict=True):
            cells = (grouping.cells.get((source, target)) for target in grouping.groups[first : first + room])
            table.add_row(name, *map(_cell, cells))
        yield titled(title, table) if first == 0 else table
    yield _measures(grouping)
    if grouping.ungrouped:
        yield f"Without a {grouping.by}, left out of it: {', '.join(map(plain, grouping.ungrouped))}."


def _measures(grouping: Grouping) -> Group:
    table = dense_table("", "tasks", *(what.replace("_", " ") for what in MEASURES))
    for group in grouping.groups:
        means = (_with_error(grouping.means[group][what]) for what in MEASURES)
        table.add_row(shortened(group, NAME), str(len(grouping.members[group])), *means)
    return titled(f"Transferability, malleability by {grouping.by}: mean ± standard error from runs", table)


def _cell(of: GroupCell | None) -> str:
    """Both errors together, as far as they are known."""
    if of is None:
        return MISSING
    known = [error for error in (of.interval.error, of.item_error) if np.isfinite(error)]
    error = f" ±{float(np.hypot.reduce(known)):.3f}" if known else ""
    return f"{of.mean:+.3f}{error} ({of.cells})"


def _with_error(of: Interval) -> str:
    return number(of.value) + (f" ±{of.error:.3f}" if np.isfinite(of.error) else "")
