"""Runs as jobs of Slurm: what a run asks of it, its submission through submitit, alone or as an array, and what becomes of it.

The messages of a job come through a file in the study's folder.
"""

from __future__ import annotations

import math
import shlex
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from tvt.core.events import AttemptEvent, Died, Note
from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.errors import Check, InputError, MissingPackageError, install
from tvt.io.atomic import attempted, exclusively
from tvt.io.machine import installed_version
from tvt.study.executors import Engine, Executor, executor_check, slurm_queue
from tvt.study.jobs import EventFile, Job, RunTask
from tvt.study.run_folders import Queued, mark, marked, unmark
from tvt.study.store import Store
from tvt.study.worker import Attempt

FOLDER = "slurm"
"""Of scripts, logs and events, below ``logs``."""


@dataclass(frozen=True)
class _SlurmJob:
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
        if not (installed := installed_version("submitit")):
            yield executor_check("fail", "slurm needs submitit, which is not installed", install("slurm"))
        elif shutil.which("sbatch") is None:
            yield executor_check("fail", "slurm, but there is no sbatch here", "start the study on a machine that submits jobs")
        else:
            text = f"slurm (submitit {installed}); sbatch is here; this machine's devices are not looked at"
            yield executor_check("ok", text, "")

    def need(self, recipe: Recipe) -> None:
        """See :func:`tvt.study.executors.slurm.need_slurm`."""
        need_slurm()

    def start(self, job: Job, workers: int | None) -> Executor:
        """See :class:`SlurmExecutor`."""
        return SlurmExecutor(job, workers or self.room(job.recipe))


class SlurmExecutor:
    """One Slurm job per run; those submitted between two looks are one array.

    A run that is in this cluster's queue already, because a command was killed or another one is there, is followed.

    Args:
        job: what may be submitted.
        room: jobs in the queue or at work at once.

    Raises:
        InputError: Slurm does not answer.
    """

    def __init__(self, job: Job, room: int) -> None:
        self.room = room
        self._job, self._store = job, Store(job.folder)
        self._cluster = slurm_queue.cluster()
        self._submitter = Submitter(job.recipe, job.folder / "logs" / FOLDER)
        self._waiting: list[RunTask] = []
        self._sent: dict[str, _SlurmJob] = {}
        self._logs: dict[str, Path] = {}
        self._watch = slurm_queue.QueueWatch()
        slurm_queue.forget_gone(job.folder)
        self._open = ExitStack()
        (job.folder / "logs" / FOLDER).mkdir(parents=True, exist_ok=True)
        self._alone = self._open.enter_context(attempted(job.folder / "logs" / FOLDER / ".lock"))

    def submit(self, task: RunTask) -> None:
        """Follow the run's job if there is one; else the next look submits one."""
        queued = marked(self._store.run_folder(task.run_id))
        if queued is not None and (queued.executor, queued.cluster) == ("slurm", self._cluster):
            self._follow(task.run_id, queued, mine=self._alone)
        else:
            self._waiting.append(task)

    def poll(self, seconds: float) -> list[AttemptEvent]:
        """The messages of all jobs; a job that is gone without an end has died."""
        if self._waiting:
            self._send()
        end = time.monotonic() + seconds
        while not (events := self._new()) and time.monotonic() < end:
            time.sleep(0.1)
        return events

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
        # A process that tidies up meanwhile removes files that no marker names.
        with exclusively(logs / ".lock"), uninterrupted():
            jobs = self._submitter.submit(attempts)
            for task, name, job in zip(tasks, names, jobs, strict=True):
                queued = Queued(executor="slurm", cluster=self._cluster, job=job, events=name)
                self._follow(task.run_id, queued, mine=True)
                mark(self._store.folders.make(task.run_id, task.run), queued)

    def _follow(self, run_id: str, queued: Queued, *, mine: bool) -> None:
        self._sent[run_id] = _SlurmJob(queued, EventFile(self._job.folder / "logs" / queued.events), mine)
        self._logs[run_id] = self._submitter.log(queued.job)
        self._watch.look_soon()

    def _new(self) -> list[AttemptEvent]:
        try:
            gone, notes = self._watch.gone({sent.queued.job for sent in self._sent.values()})
        except InputError:
            self._sent.clear()  # they go on, and the next command follows them
            raise
        events: list[AttemptEvent] = [Note(text=text) for text in notes]
        for run_id, sent in list(self._sent.items()):
            events += sent.events.poll()  # after the look: a job writes its end before it goes
            if sent.queued.job in gone and not sent.events.ended:
                how = f"its Slurm job {sent.queued.job} {slurm_queue.end_of(sent.queued.job)}"
                events.append(Died(run=run_id, how=how))
            elif not sent.events.ended:
                continue
            unmark(self._store.run_folder(run_id), sent.queued.job)
            del self._sent[run_id]
            self._watch.look_soon()
        return events


_REQUEUES = 1_000_000
"""As good as any number: a job that gets nowhere gives up by itself, see :mod:`tvt.study.worker`."""


def need_slurm() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        MissingPackageError: submitit is not installed.
        InputError: there is no ``sbatch``.
    """
    if find_spec("submitit") is None:
        raise MissingPackageError(f"the slurm executor needs submitit; {install('slurm')}")
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch here: start the study on a machine of the cluster that submits jobs, or take --executor local"
        )


def resources(recipe: Recipe) -> dict[str, Any]:
    """What a run asks for, in the names of sbatch's options that submitit knows."""
    runtime, slurm = recipe.runtime, recipe.runtime.slurm
    here = runtime.num_processes // runtime.num_machines
    gpus = here if slurm.gpus_per_node is None else slurm.gpus_per_node
    loaders = runtime.dataloader_num_workers
    if loaders is None:
        loaders = AUTOMATIC_LOADERS if gpus else 0
    options: dict[str, Any] = {
        "job_name": f"tvt-{recipe.name}",
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": slurm.timeout_min,
        "nodes": runtime.num_machines,
        "ntasks_per_node": 1,
        "cpus_per_task": slurm.cpus_per_task or here * (1 + loaders),
        "gpus_per_node": gpus or None,
        "mem": None if slurm.mem_gb is None else f"{math.ceil(slurm.mem_gb * 1024)}M",
        "array_parallelism": slurm.array_parallelism,
        "setup": list(slurm.setup) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


class Submitter:
    """Submits attempts at a recipe's runs.

    Args:
        recipe: whose ``runtime`` says what a run asks for.
        folder: of scripts and logs.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        from submitit import SlurmExecutor
        from submitit.slurm.slurm import SlurmJobEnvironment

        slurm = recipe.runtime.slurm
        # The interpreter takes the place of the batch script's shell. The process is there once, on the first node, and Slurm's
        # signal before the end (B: to the batch script) reaches it; a shell would die of it, or keep it for itself.
        self._engine = SlurmExecutor(folder, max_num_timeout=_REQUEUES, python=f"exec {shlex.quote(sys.executable)}")
        signal_option = f"B:{SlurmJobEnvironment.USR_SIG}@{slurm.signal_delay_s}"
        self._engine.update_parameters(
            **resources(recipe),
            use_srun=False,
            stderr_to_stdout=True,
            additional_parameters={"signal": signal_option, "requeue": True, **slurm.additional_parameters},
        )

    def submit(self, attempts: Sequence[Attempt]) -> list[str]:
        """The jobs' names, in order.

        Raises:
            InputError: Slurm takes none of them.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with redirect_stderr(StringIO()):  # where submitit prints what its error says
                return [job.job_id for job in self._engine.submit_array(attempts)]
        except (FailedJobError, FailedSubmissionError) as error:
            reason = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).strip().splitlines())
            raise InputError(f"Slurm takes no job ({reason}); change what the recipe's runtime.slurm asks for") from error

    def log(self, job: str) -> Path:
        """The file with what a job printed."""
        from submitit.core.utils import JobPaths

        return Path(JobPaths(self._engine.folder, job_id=job, task_id=0).stdout)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits, also that of sbatch: a job would be in the queue of which nobody knew."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what is started inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if interrupted.is_set():
        raise KeyboardInterrupt
