"""Runs as jobs of Slurm, submitted through submitit. What happens in them is told by files in the study's folder."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tvt.core.health import Check
from tvt.core.recipe import Recipe
from tvt.errors import InputError
from tvt.io.installed import version
from tvt.io.lock import attempted, exclusively
from tvt.study.executors import slurm_queue
from tvt.study.executors.event_file import EventFile
from tvt.study.executors.interface import Engine, Event, Executor, executor_check
from tvt.study.executors.slurm_job import Attempt
from tvt.study.executors.slurm_submit import Submitter, need_slurm, uninterrupted
from tvt.study.executors.slurm_watch import Watch
from tvt.study.jobs import Job, Task
from tvt.study.queued import Queued, mark, marked, unmark
from tvt.study.store import Store

FOLDER = "slurm"
"""Of scripts, logs and events, below ``logs``."""


@dataclass(frozen=True)
class _Sent:
    queued: Queued
    events: EventFile
    mine: bool
    """Whether it is cancelled with this executor: not if another command, which is still there, submitted it."""


class Slurm(Engine):
    """Jobs of a Slurm cluster."""

    spans_machines = True

    def room(self, recipe: Recipe) -> int:
        """As many as the recipe allows in the queue."""
        return recipe.runtime.slurm.array_parallelism

    def checks(self, recipe: Recipe) -> Iterator[Check]:
        """The package, and Slurm's commands."""
        if not (installed := version("submitit")):
            yield executor_check("fail", "slurm needs submitit, which is not installed", "pip install 'tvt[slurm]'")
        elif shutil.which("sbatch") is None:
            yield executor_check("fail", "slurm, but there is no sbatch here", "start the study on a machine that submits jobs")
        else:
            found = f"slurm (submitit {installed}); sbatch is here; this machine's devices are not looked at"
            yield executor_check("ok", found, "")

    def need(self, recipe: Recipe) -> None:
        """See :func:`tvt.study.executors.slurm_submit.need_slurm`."""
        need_slurm()

    def start(self, job: Job, workers: int | None) -> Executor:
        """See :class:`SlurmExecutor`."""
        return SlurmExecutor(job, workers or self.room(job.recipe))


class SlurmExecutor:
    """One Slurm job per run; those submitted between two looks are one array.

    A run that is in this cluster's queue already, because a command was killed or another one is there, is followed.

    Args:
        job: what may be asked for.
        room: jobs in the queue or at work at once.

    Raises:
        InputError: Slurm does not answer.
    """

    def __init__(self, job: Job, room: int) -> None:
        self.room = room
        self._job, self._store = job, Store(job.folder)
        self._cluster = slurm_queue.cluster()
        self._submitter = Submitter(job.recipe, job.folder / "logs" / FOLDER)
        self._waiting: list[Task] = []
        self._sent: dict[str, _Sent] = {}
        self._logs: dict[str, Path] = {}
        self._watch = Watch()
        slurm_queue.forget_gone(job.folder)
        self._open = ExitStack()
        (job.folder / "logs" / FOLDER).mkdir(parents=True, exist_ok=True)
        self._alone = self._open.enter_context(attempted(job.folder / "logs" / FOLDER / ".lock"))

    def submit(self, task: Task) -> None:
        """Follow the run's job if there is one; else the next look submits one."""
        queued = marked(self._store.run_folder(task.run_id))
        if queued is not None and (queued.executor, queued.cluster) == ("slurm", self._cluster):
            self._follow(task.run_id, queued, mine=self._alone)
        else:
            self._waiting.append(task)

    def hear(self, seconds: float) -> list[Event]:
        """Events of all jobs; a job that is gone without an end has died."""
        if self._waiting:
            self._send()
        end = time.monotonic() + seconds
        while not (told := self._news()) and time.monotonic() < end:
            time.sleep(0.1)
        return told

    def log(self, run_id: str) -> Path:
        """What the run's job printed."""
        return self._logs[run_id]

    def close(self) -> None:
        """Cancel the jobs; where Slurm does not answer, they go on, and the next command finds them."""
        mine = {run_id: sent.queued.job for run_id, sent in self._sent.items() if sent.mine}
        with self._open:
            slurm_queue.cancel(mine.values())
            for run_id, job in mine.items():
                unmark(self._store.run_folder(run_id), job)

    def _send(self) -> None:
        tasks, self._waiting = self._waiting, []
        names = [f"{FOLDER}/{task.run_id}-{uuid.uuid4().hex[:8]}.events" for task in tasks]
        logs = self._job.folder / "logs"
        attempts = [Attempt(self._job.only(t).dump(), str(logs / name)) for t, name in zip(tasks, names, strict=True)]
        # Whoever tidies up meanwhile takes files for abandoned that no marker names.
        with exclusively(logs / ".lock"), uninterrupted():
            jobs = self._submitter.submit(attempts)
            for task, name, job in zip(tasks, names, jobs, strict=True):
                queued = Queued(executor="slurm", cluster=self._cluster, job=job, events=name)
                self._follow(task.run_id, queued, mine=True)
                mark(self._store.run_folder(task.run_id), queued)

    def _follow(self, run_id: str, queued: Queued, *, mine: bool) -> None:
        self._sent[run_id] = _Sent(queued, EventFile(self._job.folder / "logs" / queued.events), mine)
        self._logs[run_id] = self._submitter.log(queued.job)
        self._watch.look_soon()

    def _news(self) -> list[Event]:
        try:
            gone, notes = self._watch.gone({sent.queued.job for sent in self._sent.values()})
        except InputError:
            self._sent.clear()  # they go on, and the next command follows them
            raise
        told: list[Event] = [{"kind": "note", "text": text} for text in notes]
        for run_id, sent in list(self._sent.items()):
            told += sent.events.news()  # after the look: a job writes its end before it goes
            if sent.queued.job in gone and not sent.events.ended:
                how = f"its Slurm job {sent.queued.job} {slurm_queue.end_of(sent.queued.job)}"
                told.append({"kind": "died", "run": run_id, "how": how})
            elif not sent.events.ended:
                continue
            unmark(self._store.run_folder(run_id), sent.queued.job)
            del self._sent[run_id]
            self._watch.look_soon()
        return told
