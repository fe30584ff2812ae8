"""A study at work: bars where a person is watching, else a line for each change; and the picture of ``tvt study watch``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import assert_never

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from tvt.core.events import Done, Failed, Idle, Note, Phase, PhaseProgress, StudyEvent
from tvt.report.study_tables import MARKS, duration, grid_table, legend

_SHARES: dict[Phase, tuple[float, float]] = {"mixing": (0.0, 0.05), "training": (0.05, 0.65), "scoring": (0.7, 0.3)}
"""Where each phase begins in a run, and how much of the run it is."""


class StudyProgress:
    """Shows the events of a study; a context manager.

    Args:
        total: runs to do.
        console: where to, usually stderr.
    """

    def __init__(self, total: int, console: Console) -> None:
        self._total, self._console = total, console
        self._done, self._started = 0, time.monotonic()
        self._slots: dict[int, TaskID] = {}
        self._shares: dict[int, float] = {}
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.fields[told]}"))
        self._bars = Progress(*columns, console=console, transient=True)
        self._whole = self._bars.add_task("runs", total=total, told=f"0/{total}")

    def __enter__(self) -> StudyProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, event: StudyEvent) -> None:
        """Show one message of :class:`tvt.study.conductor.Conductor`."""
        match event:
            case Note():
                self._print(f"note: {event.text}")
            case PhaseProgress():
                self._move(event)
            case Done() | Failed():
                self._done += 1
                self._shares[event.slot] = 0.0
                mark, reason = ("FAILED", f": {event.reason}") if isinstance(event, Failed) else ("done", "")
                left = self._left()
                self._print(f"{mark} {self._done}/{self._total}  {event.name}{reason}{f'  ({left})' if left else ''}")
            case Idle():
                if event.slot in self._slots:
                    self._bars.update(self._slots[event.slot], visible=False)
            case _:
                assert_never(event)
        self._bars.update(self._whole, completed=self._progress(), told=f"{self._done}/{self._total}  {self._left()}")

    def _move(self, event: PhaseProgress) -> None:
        slot, done, total = event.slot, event.done, event.total
        if slot not in self._slots:
            self._slots[slot] = self._bars.add_task("", total=1, told="")
        # Training is most of a run, as a rule; the shares only smooth the time left.
        begin, span = _SHARES[event.phase]
        self._shares[slot] = begin + span * (done / total if total else 0.0)
        text = f"{event.phase} {done:,}/{total:,}" if total else f"{event.phase} ..."
        self._bars.update(
            self._slots[slot], description=event.name, completed=done, total=total or None, told=text, visible=True
        )

    def _progress(self) -> float:
        return self._done + sum(self._shares.values())

    def _left(self) -> str:
        """The time left, once there is something to judge it by."""
        progress, spent = self._progress(), time.monotonic() - self._started
        if progress < 0.5 or self._done >= self._total:
            return ""
        return f"{duration(spent * (self._total - progress) / progress)} left"

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


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
