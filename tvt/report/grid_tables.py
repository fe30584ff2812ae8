"""A matrix as whole numbers under short labels, as many tables side by side as the terminal's width asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tvt.report.table_style import MISSING, dense_table, titled
from tvt.types import Bools, Floats

MOST_ROWS = 40
"""Rows and columns of a table; the rest is counted, and in the JSON."""


def grid_tables(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Floats,
    *,
    labels: Mapping[str, str],
    width: int,
    title: str,
    mark: Bools | None = None,
) -> list[RenderableType]:
    """Values times 100 as whole numbers; those of a task with itself stand apart.

    Args:
        rows, columns: names.
        values: (rows, columns), NaN where missing.
        labels: the names' short forms.
        width: columns of the terminal.
        title: of the first table.
        mark: cells that get a ``~``.
    """
    rows, columns = rows[:MOST_ROWS], columns[:MOST_ROWS]
    cells = [[_hundredths(values[i, j], mark, (i, j)) for j in range(len(columns))] for i in range(len(rows))]
    heads = [labels[name] for name in columns]
    tables: list[RenderableType] = []
    for number, block in enumerate(_blocks(heads, cells, width - max(len(labels[name]) for name in rows) - 2)):
        table = dense_table("", *(heads[j] for j in block))
        for i, row in enumerate(rows):
            styles = (_style(values[i, j], row == columns[j]) for j in block)
            table.add_row(labels[row], *(Text(cells[i][j], style=style) for j, style in zip(block, styles, strict=True)))
        tables.append(titled(title, table) if number == 0 else table)
    return tables


def _blocks(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Columns that fit side by side."""
    blocks: list[list[int]] = [[]]
    used = 0
    for j, head in enumerate(heads):
        need = max(len(head), *(len(row[j]) for row in cells), 1) + 1
        if blocks[-1] and used + need > width:
            blocks.append([])
            used = 0
        blocks[-1].append(j)
        used += need
    return blocks


def _hundredths(value: float, mark: Bools | None, at: tuple[int, int]) -> str:
    if not np.isfinite(value):
        return MISSING
    text = f"{100 * value:.0f}" if abs(value) < 1e4 else f"{100 * value:.0e}"
    return ("0" if text == "-0" else text) + ("~" if mark is not None and mark[at] else "")


def _style(value: float, own: bool) -> str:
    colour = "dim" if not np.isfinite(value) else "blue" if value > 0 else "red" if value < 0 else ""
    return f"{colour} italic".strip() if own else colour
