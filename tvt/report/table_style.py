"""One look for all tables in the terminal, and for the figures in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # commands that measure nothing need no scipy
    from tvt.stats.intervals import Interval

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
