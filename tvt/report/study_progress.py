"""A study at work, as a person sees it: bars where one is watching, a line per finished run otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tvt.report.study_tables import duration


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

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event of :class:`tvt.study.conductor.Conductor`."""
        kind, slot = event["kind"], event.get("slot", 0)
        if kind == "note":
            self._print(f"note: {event['text']}")
        elif kind == "progress":
            self._move(slot, event)
        elif kind in ("done", "failed"):
            self._done += 1
            self._shares[slot] = 0.0
            mark = "done" if kind == "done" else "FAILED"
            reason = f": {event['reason']}" if kind == "failed" else ""
            left = self._left()
            self._print(f"{mark} {self._done}/{self._total}  {event['name']}{reason}{f'  ({left})' if left else ''}")
        elif slot in self._slots:
            self._bars.update(self._slots[slot], visible=False)
        self._bars.update(self._whole, completed=self._progress(), told=f"{self._done}/{self._total}  {self._left()}")

    def _move(self, slot: int, event: Mapping[str, Any]) -> None:
        if slot not in self._slots:
            self._slots[slot] = self._bars.add_task("", total=1, told="")
        done, total = event["done"], event["total"]
        # Training is most of a run, as a rule; the shares only smooth the time left.
        begin, span = {"mixing": (0.0, 0.05), "training": (0.05, 0.65), "scoring": (0.7, 0.3)}[event["phase"]]
        self._shares[slot] = begin + span * (done / total if total else 0.0)
        told = f"{event['phase']} {done:,}/{total:,}" if total else f"{event['phase']} ..."
        self._bars.update(
            self._slots[slot], description=event["name"], completed=done, total=total or None, told=told, visible=True
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
