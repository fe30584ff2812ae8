"""What a person sees while a command works: bars where things are counted, a line where nobody knows how long it takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from tvt.report.printing import new_console

BAR_AFTER_SECONDS = 2.0


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where a person is watching and once it has taken a while."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=new_console(stderr=True), transient=True)
    task = bars.add_task(what, total=None)
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total)
        if not bars.live.is_started and sys.stderr.isatty() and time.monotonic() - started > BAR_AFTER_SECONDS:
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
    from rich.markup import escape
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=new_console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(escape(what), total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""


LINE_AFTER_SECONDS = 1.0
"""What is done sooner needs no line."""


@contextmanager
def status_line(doing: str) -> Iterator[Callable[[str], None]]:
    """Say what is done at the moment, where a person is watching and once it has taken a while; the line is gone afterwards.

    Notes on stderr come out above the line; nothing may be printed on stdout meanwhile, where stdout is the same terminal.

    Args:
        doing: what is done. What is said later comes behind it; an empty text takes the line away for good.
    """
    if not sys.stderr.isatty():
        yield _not_shown
        return
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots", Text(doing))
    # stdout is left alone: its bytes must go where the user sent them.
    line = Live(spinner, console=new_console(stderr=True), transient=True, redirect_stdout=False)
    timer = Timer(LINE_AFTER_SECONDS, line.start)
    timer.daemon = True
    timer.start()

    def stop() -> None:
        timer.cancel()
        timer.join()
        line.stop()

    def tell(what: str) -> None:
        if what:
            spinner.update(text=Text(f"{doing} {what}"))
        else:
            stop()

    try:
        yield tell
    finally:
        stop()


def _not_shown(what: str) -> None:
    """Shows nothing."""
