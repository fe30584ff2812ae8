"""Have a job's runs done by an executor: in order, each until it is done or has failed, here or by another command."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import assert_never

from tvt.core.events import (
    AttemptEvent,
    Defect,
    Died,
    Done,
    Failed,
    Held,
    Idle,
    Note,
    Nothing,
    PhaseProgress,
    Stopped,
    StudyEvent,
)
from tvt.errors import InputError, TvtError
from tvt.study.executors import Executor
from tvt.study.jobs import ERRORS, Job, RunTask
from tvt.study.store import Store

TRIES = 3
"""How often a run may take its process down, from one point on, before it counts as failed. A checkpoint is another point."""
POLL_SECONDS = 0.5

More = Callable[[frozenset[str], frozenset[str]], Sequence[RunTask]]
"""The runs to do next, from the ids of those over and of those at work; called whenever there is room and none waits."""
Point = tuple[str, str, int]
"""A run and where in it: what was done before, as far as the disk knows."""


@dataclass
class _Going:
    task: RunTask
    slot: int
    """A small number, which only one run at work has."""
    began: Point | None = None
    """Where it was at its first message."""


class Conductor:
    """Hands runs to an executor, and decides what follows from their messages.

    Args:
        job: what to do.
        executor: who does it; closed at the end, however that comes.
        report: gets every message, with the run's name and slot.
        more: what to do next, where that is decided on the way; then the job's tasks are those that may be chosen.
    """

    def __init__(self, job: Job, executor: Executor, report: Callable[[StudyEvent], None], more: More | None = None) -> None:
        self._executor, self._report, self._more = executor, report, more
        self._store = Store(job.folder)
        self._waiting: deque[RunTask] = deque(() if more else job.tasks)
        self._going: dict[str, _Going] = {}
        self._over: set[str] = set()
        self._waited: set[str] = set()
        self._shown: set[int] = set()
        self._called_with: tuple[frozenset[str], frozenset[str]] | None = None
        """What was over and at work when ``more`` last had nothing: it is called again when that changes."""
        self._deaths: Counter[Point] = Counter()
        self._early_deaths = 0
        self._causes: dict[str, str] = {}
        """The run that each exception of a training process made fail."""

    def run(self) -> None:
        """Return when nothing is left to do.

        Raises:
            InputError: something that would stop every run; what is done stays.
            TvtError: a worker ended with a defect.
        """
        with closing(self._executor):
            while self._start():
                for event in self._executor.poll(POLL_SECONDS):
                    self._handle(event)

    def _start(self) -> bool:
        """Fill the room that there is; says whether anything is waiting or at work."""
        held = []
        while len(self._going) < self._executor.room and (task := self._next()) is not None:
            status = self._store.status(task.run_id, task.keys)
            if status in ("done", "failed"):
                self._end(task, self._slot())
            elif status == "running":
                held.append(task)
            else:
                self._going[task.run_id] = _Going(task, self._slot())
                self._executor.submit(task)
        self._wait(held)
        self._waiting.extendleft(reversed(held))
        used = {going.slot for going in self._going.values()}
        for slot in self._shown - used:
            self._report(Idle(slot=slot))
        self._shown = used
        return bool(self._waiting or self._going)

    def _next(self) -> RunTask | None:
        state = frozenset(self._over), frozenset(self._going)
        if not self._waiting and self._more is not None and state != self._called_with:
            self._waiting.extend(self._more(*state))
            self._called_with = None if self._waiting else state
        return self._waiting.popleft() if self._waiting else None

    def _slot(self) -> int:
        used = {going.slot for going in self._going.values()}
        return next(slot for slot in range(len(used) + 1) if slot not in used)

    def _wait(self, held: Sequence[RunTask]) -> None:
        """Say once of each run that another command does it, maybe on another machine."""
        for task in held:
            if task.run_id not in self._waited:
                self._waited.add(task.run_id)
                self._note(f"{task.run.name}: another process is at it; waiting for its end")

    def _handle(self, event: AttemptEvent) -> None:
        if isinstance(event, Note):
            self._report(event)
            return
        going = self._going[event.run]
        task = going.task
        if isinstance(event, PhaseProgress):
            self._early_deaths = 0
            going.began = going.began or (task.run_id, event.phase, event.done)
            self._report(replace(event, slot=going.slot, name=task.run.name))
            return
        del self._going[task.run_id]
        match event:
            case Done() | Nothing() | Failed():
                self._early_deaths = 0
                self._end(task, going.slot)
                self._check_cause(task, event.cause if isinstance(event, Failed) else None)
            case Held():
                self._waiting.append(task)
            case Died():
                self._died(going, event.how)
            case Stopped():
                raise ERRORS[event.type](*event.lines)
            case Defect():
                log = self._executor.log(task.run_id)
                raise TvtError(f"a worker ended with a defect of tvt; its traceback is in {log}")
            case _:
                assert_never(event)

    def _check_cause(self, task: RunTask, cause: str | None) -> None:
        """Stop where the same exception ends a second run: it would end all the others."""
        if cause is None:
            return
        first = self._causes.setdefault(cause, task.run.name)
        if first != task.run.name:
            log = self._executor.log(task.run_id)
            raise InputError(
                f"{first} and {task.run.name} failed alike: {cause}; the other runs would too; {log} says more; mend the "
                "cause, then run again with --retry-failed"
            )

    def _end(self, task: RunTask, slot: int) -> None:
        """A run is over."""
        self._over.add(task.run_id)
        reason = self._store.failure(task.run_id)
        run, name = task.run_id, task.run.name
        self._report(
            Done(run=run, name=name, slot=slot) if reason is None else Failed(run=run, name=name, slot=slot, reason=reason)
        )

    def _died(self, going: _Going, how: str) -> None:
        """An attempt's process is gone: another attempt, unless this keeps happening."""
        task, log = going.task, self._executor.log(going.task.run_id)
        if going.began is None:
            self._early_deaths += 1
            if self._early_deaths >= TRIES:
                raise InputError(f"workers died {TRIES} times before any run ({how}); {log} says more")
        else:
            self._deaths[going.began] += 1
            if self._deaths[going.began] >= TRIES:
                copy = self._store.folders.make(task.run_id, task.run) / "worker.log"
                with suppress(OSError):
                    shutil.copyfile(log, copy)
                place = copy.relative_to(self._store.folder)
                reason = f"{how}, {TRIES} times from the same point on; {place} may say more; try again with --retry-failed"
                self._store.fail(task.run_id, reason)
                self._end(task, going.slot)
                return
            self._note(f"{task.run.name}: {how}; trying again")
        self._waiting.appendleft(task)

    def _note(self, text: str) -> None:
        self._report(Note(text=text))
