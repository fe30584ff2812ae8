"""One look for tables and plots: figures and marks, colours for colour-blind readers too, short labels, reproducible files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tvt.core.matrix import TransferMatrix
from tvt.errors import InputError
from tvt.io import atomic
from tvt.types import Bools, Floats

if TYPE_CHECKING:  # tables need neither matplotlib nor scipy
    from matplotlib.figure import Figure

    from tvt.stats.noise import Interval

HELP = "#0072B2"
"""Blue: positive transfer (Okabe and Ito's palette)."""
HARM = "#D55E00"
"""Vermillion: negative transfer."""
PALE_HELP = "#CFE3F1"
PALE_HARM = "#F8DCC8"
INK = "#222222"
GREY = "#8A8A8A"
PALE = "#E4E4E4"
DIVERGING = "RdBu"
"""Red to blue through white, safe for the common kinds of colour blindness."""
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 200
FORMATS = ("svg", "png")

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # task names may hold dollar signs
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "tvt",  # else every drawing of the same figures is another file
    "figure.facecolor": "white",
}


def styled() -> AbstractContextManager[None]:
    """Context in which figures are drawn and saved."""
    from matplotlib import rc_context

    context: AbstractContextManager[None] = rc_context(_RC)
    return context


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, atomically; call inside :func:`styled`.

    Returns:
        The files.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = []
    for suffix in FORMATS:
        data = io.BytesIO()
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        figure.savefig(data, format=suffix, dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata=metadata)
        path = folder / f"{slug(name)}.{suffix}"
        try:
            atomic.write_bytes(path, data.getvalue())
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; name another folder for the plots") from error
        paths.append(path)
    return paths


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "study"


def draw(make: Callable[[], Figure], folder: Path, name: str) -> list[Path]:
    """Make and save a figure in the common style."""
    with styled():
        return save(make(), folder, name)


TABLE: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "title_justify": "left",
    "title_style": "bold",
    "pad_edge": False,
    "caption_justify": "left",
}
"""Keyword arguments of every table with rules."""
MISSING = "–"
ESTIMATE = "≈"
"""Stands before a figure that rests on cells that were not measured."""


def dense_table(*heads: str, left: int = 1, header: bool = True) -> Table:
    """A table without rules, for many figures; the first ``left`` columns are of words, the others of figures."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", show_header=header)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < left else "right", no_wrap=True)
    return table


def titled(title: str, table: Table) -> Group:
    """A table below its title; its own would be folded to the table's width."""
    return Group(Text(title, style="bold"), table)


def resting(estimated: object) -> str:
    """The mark of a figure that rests on estimates, where it does."""
    return ESTIMATE if estimated else ""


def resting_legend(cells: Mapping[str, Sequence[str]], most: int = 4) -> str:
    """What the mark means; by target, the sources whose cell was estimated."""
    pairs = [f"{source} on {target}" for target, sources in cells.items() for source in sources]
    more = f" and {len(pairs) - most} more" if len(pairs) > most else ""
    return f"{ESTIMATE} rests on cells that were not measured but estimated: {', '.join(pairs[:most])}{more}."


def number(value: float) -> str:
    """Three decimals; what is missing reads "–", never 0."""
    return f"{value:.3f}" if math.isfinite(value) else MISSING


def percent(value: float) -> str:
    """Of a share."""
    return f"{100 * value:.0f}%" if math.isfinite(value) else MISSING


def interval(of: Interval) -> str:
    """A figure with its interval, where there is one."""
    return f"{number(of.value)} [{number(of.low)}, {number(of.high)}]" if math.isfinite(of.low) else number(of.value)


LONGEST = 4


def short_labels(matrix: TransferMatrix) -> dict[str, str]:
    """A unique label of a few letters for every source and target: its abbreviation, its initials, or these with a number."""
    names = tuple(dict.fromkeys((*matrix.sources, *matrix.targets)))
    given = {task.name: task.abbreviation for task in matrix.tasks if task.abbreviation}
    labels: dict[str, str] = {name: given[name] for name in names if name in given}
    taken = set(labels.values())
    for name in names:
        if name in labels:
            continue
        label = _initials(name)
        number = 2
        while label in taken:
            label, number = f"{_initials(name)[: LONGEST - len(str(number))]}{number}", number + 1
        labels[name] = label
        taken.add(label)
    return labels


def plain(name: str) -> str:
    """A task's name for people: underscores become spaces."""
    return name.replace("_", " ")


def shortened(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``width`` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def join(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _initials(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    words = [word for word in re.split(r"[\W_]+", name) if word]
    if len(words) < 2:
        return (words[0] if words else name)[:LONGEST]
    # A number tells tasks of one family apart, so it stays whole.
    parts = [word if word.isdigit() else word[0].upper() for word in words]
    return "".join(parts)[:LONGEST]


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
