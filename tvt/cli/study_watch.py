"""``tvt study status --watch``: a study, shown until it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from tvt.cli.study_grid import run_grid

if TYPE_CHECKING:
    from rich.console import Console

    from tvt.report.study_watch import Watched
    from tvt.study.session import Session

_QUEUE_SECONDS = 30.0
"""How often a queue is asked for jobs that are gone."""


def watch(session: Session, interval: float) -> None:
    """Show how far a study is until nothing is left to do, or until Ctrl-C, which ends nothing but the watching.

    In a terminal it is a picture that is drawn anew, else a line for each run that changes.

    Args:
        session: the study.
        interval: seconds between two looks.
    """
    from rich.console import Console
    from rich.live import Live

    from tvt.report.study_tables import failures_table
    from tvt.report.study_watch import picture

    console = Console(highlight=False)
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            _tell_changes(session, interval, console)
        else:
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                for watched in _looks(session, interval):
                    live.update(picture(watched), refresh=True)
    failed = {task.run.name: session.store.failure(task.run_id) for task in session.tasks()}
    failures = {name: reason for name, reason in failed.items() if reason is not None}
    if failures:
        console.print(failures_table(failures))


def _tell_changes(session: Session, interval: float, console: Console) -> None:
    from tvt.report.study_watch import changes

    before: Watched | None = None
    for watched in _looks(session, interval):
        for line in changes(before, watched):
            console.print(line, markup=False, soft_wrap=True)
            console.file.flush()
        before = watched


def _looks(session: Session, interval: float) -> Iterator[Watched]:
    """The study, again and again, until nothing is left to do."""
    from tvt.report.study_watch import Watched
    from tvt.study.executors.slurm_queue import forget_gone
    from tvt.study.watch import Watch

    recipe, store, tasks = session.study.recipe, session.store, session.tasks()
    eye = Watch(session.study, store, tasks)
    asked = float("-inf")
    while True:
        if time.monotonic() - asked > _QUEUE_SECONDS:
            forget_gone(store.folder)
            asked = time.monotonic()
        look = eye.look()
        rows, columns = run_grid(recipe, tasks, look.states)
        yield Watched(
            title=f"{recipe.name}, {len(tasks)} runs, in {store.folder}",
            rows=rows,
            columns=columns,
            states={task.run.name: look.states[task.run_id] for task in tasks},
            at_work=[(at.name, at.phase, at.done, at.total) for at in look.at_work],
            seconds_left=look.seconds_left,
        )
        if look.over:
            return
        time.sleep(interval)
