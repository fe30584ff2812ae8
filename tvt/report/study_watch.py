"""A study as it goes, for whoever looks on: a picture that is drawn anew in a terminal, or a line for each change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tvt.report.study_tables import MARKS, duration, grid_table, legend

_BAR = 16
Position = tuple[str, str, int, int]
"""A run at work: its name, its phase, how much of that is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is shown of a study at one moment."""

    title: str
    rows: Mapping[str, Mapping[str, str]]
    """Statuses by row and column of the grid."""
    columns: Sequence[str]
    states: Mapping[str, str]
    """Status of each run, by its name."""
    at_work: Sequence[Position]
    seconds_left: float | None


def picture(watched: Watched) -> RenderableType:
    """All of it; what changes most stands first, since a low terminal cuts off the end."""
    parts: list[RenderableType] = [Text(watched.title), legend(list(watched.states.values()))]
    if outlook := _outlook(watched):
        parts.append(Text(outlook))
    if watched.at_work:
        parts += [Text(""), _at_work(watched.at_work)]
    return Group(*parts, Text(""), grid_table(watched.rows, watched.columns))


def _at_work(positions: Sequence[Position]) -> Table:
    """What each run is at; long names are cut, figures never."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    figures = [f"{done:,}/{total:,}" if total else "" for _, _, done, total in positions]
    table.add_column()  # the one that may be narrowed
    table.add_column(no_wrap=True, min_width=len("training"))
    table.add_column(no_wrap=True, min_width=_BAR)
    table.add_column(no_wrap=True, min_width=max(map(len, figures)), justify="right")
    for (name, phase, done, total), told in zip(positions, figures, strict=True):
        full = round(_BAR * done / total) if total else 0
        table.add_row(
            Text(name, no_wrap=True, overflow="ellipsis"),
            phase,
            Text("━" * full, style="cyan").append("╌" * (_BAR - full), style="dim"),
            told,
        )
    return table


def sentence(watched: Watched) -> str:
    """How much is done, and how long the rest will take."""
    counted = Counter(watched.states.values())
    failed = f", {counted['failed']} failed" if counted["failed"] else ""
    outlook = _outlook(watched)
    return f"{counted['done']} of {len(watched.states)} done{failed}{outlook and f', {outlook}'}"


def _outlook(watched: Watched) -> str:
    """Who is at work, and how long the rest will take; empty where nothing is left."""
    counted = Counter(watched.states.values())
    if counted["done"] + counted["failed"] == len(watched.states):
        return ""
    if not watched.at_work:
        return "none at work: " + ("runs wait in a queue" if counted["queued"] else "tvt study run goes on with it")
    if watched.seconds_left is None:
        return f"{len(watched.at_work)} at work; no estimate of time before the first run is done"
    return f"{len(watched.at_work)} at work, about {duration(watched.seconds_left)} left"


def changes(before: Watched | None, now: Watched) -> Iterator[str]:
    """A line for each run that has another status than before; at first, one for all."""
    clock = time.strftime("%H:%M:%S")
    if before is None:
        yield f"{clock}  {now.title}: {sentence(now)}"
        return
    for name, state in now.states.items():
        if state != before.states.get(name):
            yield f"{clock}  {MARKS[state][0]} {state}  {name}  ({sentence(now)})"
