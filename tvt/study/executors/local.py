"""Runs on this machine: one process per device slot, each pinned to its devices, which does run after run."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tvt.core.events import AttemptEvent, Defect, Died, End
from tvt.core.recipe import Recipe
from tvt.errors import Check, InputError
from tvt.io.machine import RUNS_AT_ONCE
from tvt.io.processes import die_with_parent
from tvt.study.executors import Engine, Executor, executor_check
from tvt.study.jobs import Job, RunTask, read_events
from tvt.study.worker import INTERRUPTED
from tvt.train.probe import gpus_lacking, visible_gpus

_STOP_SECONDS = 10.0


def default_workers(recipe: Recipe) -> int:
    """One worker per device slot: GPUs, or without any, cores."""
    processes = recipe.runtime.num_processes
    gpus = visible_gpus()
    return max(1, (len(gpus) if gpus else len(os.sched_getaffinity(0))) // processes)


class Local(Engine):
    """Processes of this machine."""

    here = True

    def room(self, recipe: Recipe) -> int:
        """See :func:`default_workers`."""
        return default_workers(recipe)

    def checks(self, recipe: Recipe) -> Iterator[Check]:
        """A run has one machine."""
        if recipe.runtime.num_machines > 1:
            text = f"local, but {recipe.runtime.num_machines} machines a run"
            yield executor_check("fail", text, "--set runtime.executor=slurm")

    def start(self, job: Job, workers: int | None) -> Executor:
        """See :class:`LocalExecutor`."""
        return LocalExecutor(job, workers or self.room(job.recipe))


@dataclass
class _Slot:
    number: int
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    run: str | None = None
    """The run that its process is at."""


class LocalExecutor:
    """Processes of this machine.

    Args:
        job: what may be asked for.
        workers: processes at work at once.

    Raises:
        InputError: more workers than there are devices for.
    """

    def __init__(self, job: Job, workers: int) -> None:
        self.room = workers
        self._job = job
        # Several machines may share the folder, and process ids.
        owner = f"{socket.gethostname()}-{os.getpid()}"
        self._slots = [
            _Slot(number, environment, job.folder / "logs" / f"worker-{owner}-{number}.log")
            for number, environment in enumerate(_environments(workers, job.recipe.runtime.num_processes))
        ]
        self._events: queue.Queue[tuple[_Slot, AttemptEvent | None]] = queue.Queue()
        self._logs: dict[str, Path] = {}
        self._keep_logs = False

    def submit(self, task: RunTask) -> None:
        """Give the run to a process that waits for one, or to a new one."""
        slot = next(slot for slot in self._slots if slot.run is None)
        slot.run = task.run_id
        self._logs[task.run_id] = slot.log
        if slot.process is None:
            self._start(slot)
        _write(slot.process, task.run_id)

    def poll(self, seconds: float) -> list[AttemptEvent]:
        """The messages of all processes, in order."""
        events: list[AttemptEvent] = []
        with suppress(queue.Empty):
            slot, event = self._events.get(timeout=seconds)
            while True:
                events += self._handle(slot, event)
                slot, event = self._events.get_nowait()
        return events

    def log(self, run_id: str) -> Path:
        """What the process printed, about this run and others."""
        return self._logs[run_id]

    def close(self) -> None:
        """End the processes: gently, so that their training processes end too, then not."""
        living = [slot.process for slot in self._slots if slot.process is not None and slot.process.poll() is None]
        for process in living:
            process.send_signal(signal.SIGTERM)
        for process in living:
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for slot in self._slots:
            _hang_up(slot.process)
            if not self._keep_logs:
                slot.log.unlink(missing_ok=True)

    def _start(self, slot: _Slot) -> None:
        slot.log.parent.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        with slot.log.open("ab") as log:
            slot.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "tvt.study.worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                env=slot.environment,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - few instructions before exec, none of them takes a lock
            )
        os.close(writing)
        threading.Thread(target=self._listen, args=(slot, reading), daemon=True).start()
        _write(slot.process, self._job.dump())

    def _listen(self, slot: _Slot, handle: int) -> None:
        with os.fdopen(handle, "rb") as stream:
            for event in read_events(stream):
                self._events.put((slot, event))
        self._events.put((slot, None))

    def _handle(self, slot: _Slot, event: AttemptEvent | None) -> list[AttemptEvent]:
        if event is None:
            return self._ended(slot)
        if isinstance(event, End):
            slot.run = None
            self._keep_logs |= isinstance(event, Defect | Died)
        return [event]

    def _ended(self, slot: _Slot) -> list[AttemptEvent]:
        """A process is gone."""
        assert slot.process is not None  # noqa: S101 - it just ended
        code = slot.process.wait()
        _hang_up(slot.process)
        slot.process = None
        if code in (INTERRUPTED, -signal.SIGINT):  # Ctrl-C goes to all processes; whichever gets it, the command is meant
            raise KeyboardInterrupt
        run, slot.run = slot.run, None
        if run is None:
            return []
        self._keep_logs = True
        return [Died(run=run, how=_death(code))]


def _write(process: subprocess.Popen[bytes] | None, line: str) -> None:
    """Write a line to a process; the end of one that is gone is noticed soon."""
    assert process is not None  # noqa: S101 - it was started with a pipe
    assert process.stdin is not None  # noqa: S101
    with suppress(BrokenPipeError):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()


def _hang_up(process: subprocess.Popen[bytes] | None) -> None:
    """Let go of a process that is gone, and of what it did not read any more."""
    if process is not None and process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def _death(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    return f"its process was killed by {name}" + (", often because memory ran out" if name == "SIGKILL" else "")


def _environments(workers: int, processes: int) -> list[dict[str, str]]:
    """The environment of each worker, with its devices."""
    gpus = visible_gpus()
    if gpus and processes > len(gpus):
        raise InputError(gpus_lacking(processes, 1, len(gpus)))
    if gpus and workers * processes > len(gpus):
        raise InputError(
            f"{workers} workers of {processes} processes need {workers * processes} GPUs, but there are {len(gpus)}; lower "
            "--workers"
        )
    common = {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        RUNS_AT_ONCE: str(workers),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    shares: Sequence[tuple[str, ...]] = [gpus[k * processes : (k + 1) * processes] for k in range(workers)]
    return [{**common, "CUDA_VISIBLE_DEVICES": ",".join(share)} if share else common for share in shares]
