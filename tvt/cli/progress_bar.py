"""Progress bars for commands that count one thing, or several one after the other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AFTER_SECONDS = 2.0


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where a person is watching and once it has taken a while."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(what, total=None)
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total)
        if not bars.live.is_started and sys.stderr.isatty() and time.monotonic() - started > AFTER_SECONDS:
            bars.start()

    try:
        yield show
    finally:
        if bars.live.is_started:  # else it would end a line that was never begun
            bars.stop()


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is counted, named when it is; a total of 0 is one that nobody knows. On stderr, where a person
    is watching.
    """
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""
