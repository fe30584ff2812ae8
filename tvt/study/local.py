"""Do a study's runs on this machine: one process per device slot, each pinned to its devices."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.errors import InputError, TvtError
from tvt.io import atomic
from tvt.io.lock import exclusively
from tvt.study.jobs import Job
from tvt.study.store import Store
from tvt.study.tidy import tidy
from tvt.study.worker import DIED, ERRORS, INTERRUPTED
from tvt.train.devices import visible_gpus

TRIES = 3
"""How often a run may take its process down, from one point on, before it counts as failed. A checkpoint is another point."""
_STOP_SECONDS = 10.0

Event = Mapping[str, Any]
"""``kind``: progress, done, failed, note; ``slot``; and what belongs to it."""


def default_workers(recipe: Recipe) -> int:
    """One worker per device slot: GPUs, or without any, cores."""
    processes = recipe.runtime.num_processes
    gpus = visible_gpus()
    return max(1, (len(gpus) if gpus else len(os.sched_getaffinity(0))) // processes)


def do_locally(job: Job, workers: int, tell: Callable[[Event], None]) -> None:
    """Do all tasks of a job; returns when each is done or has failed, here or by another process at the same folder.

    Args:
        job: what to do.
        workers: processes at work at once.
        tell: told of every event.

    Raises:
        InputError: something stopped a worker that would stop all runs; what is done is kept.
        TvtError: a worker ended with a defect.
    """
    with exclusively(job.folder / "logs" / ".lock"):
        tidy(job.folder)
    if job.tasks:
        _Pool(job, min(workers, len(job.tasks)), tell).run()


@dataclass
class _Slot:
    number: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    at: tuple[str, str, int] | None = None
    """The run that its process is at, and where that began: what was done before, as far as the disk knows."""
    error: tuple[str, list[str]] | None = None
    log: Path = field(default_factory=Path)


class _Pool:
    """The workers of one job."""

    def __init__(self, job: Job, workers: int, tell: Callable[[Event], None]) -> None:
        self._job, self._tell = job, tell
        self._store = Store(job.folder)
        self._events: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._names = {task.run_id: task.run.name for task in job.tasks}
        self._deaths: Counter[tuple[str, str, int]] = Counter()
        self._stillborn = 0
        self._over: set[str] = set()
        self._waited: set[str] = set()
        environments = _environments(workers, job.recipe.runtime.num_processes)
        self._slots = [_Slot(number, environment) for number, environment in enumerate(environments)]
        # Several machines may share the folder, and process ids.
        self._owner = f"{socket.gethostname()}-{os.getpid()}"
        self._job_file = job.folder / "logs" / f".job-{self._owner}.json"

    def run(self) -> None:
        with self._told():
            for slot in self._slots:
                self._start(slot)
            while any(slot.process for slot in self._slots):
                number, event = self._events.get()
                slot = self._slots[number]
                if event is None:
                    self._ended(slot)
                else:
                    self._heard(slot, event)
        if not self._deaths:
            for slot in self._slots:
                slot.log.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Keep the job's file while workers need it; the lock tells others that it is no leftover."""
        with exclusively(self._job_file.parent / ".lock"):
            atomic.write_text(self._job_file, self._job.dump())
            lock = os.open(self._job_file, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            for slot in self._slots:
                _stop(slot.process)
            self._job_file.unlink(missing_ok=True)
            os.close(lock)

    def _start(self, slot: _Slot) -> None:
        slot.log = self._job.folder / "logs" / f"worker-{self._owner}-{slot.number}.log"
        reading, writing = os.pipe()
        with slot.log.open("ab") as log:
            slot.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "tvt.study.worker", str(self._job_file), str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                env=slot.environment,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - few instructions before exec, none of them takes a lock
            )
        os.close(writing)
        threading.Thread(target=self._listen, args=(slot.number, reading), daemon=True).start()

    def _listen(self, number: int, handle: int) -> None:
        with os.fdopen(handle, "rb") as stream:
            for line in stream:
                with suppress(ValueError):  # cut off by a kill
                    self._events.put((number, json.loads(line)))
        self._events.put((number, None))

    def _heard(self, slot: _Slot, event: dict[str, Any]) -> None:
        if event["kind"] == "error":
            slot.error = event["type"], event["lines"]
            return
        self._stillborn = 0
        if event["kind"] == "waiting":
            self._wait(slot, event["runs"])
            return
        if event["kind"] == "progress":
            if slot.at is None or slot.at[0] != event["run"]:
                slot.at = event["run"], event["phase"], event["done"]
        elif event["kind"] in ("done", "failed", "nothing"):
            slot.at = None
            if event["run"] in self._over:
                return
            self._over.add(event["run"])
            reason = None if event["kind"] == "done" else self._store.failure(event["run"])
            event |= {"kind": "done"} if reason is None else {"kind": "failed", "reason": reason}
        self._tell({**event, "slot": slot.number})

    def _wait(self, slot: _Slot, runs: list[str]) -> None:
        """Say once of each run that another command does it, maybe on another machine."""
        ours = {other.at[0] for other in self._slots if other.at is not None}
        for run in runs:
            if run not in ours | self._over | self._waited:
                self._waited.add(run)
                text = f"{self._names[run]}: another process is at it; waiting for its end"
                self._tell({"kind": "note", "slot": slot.number, "text": text})

    def _ended(self, slot: _Slot) -> None:
        """A worker is gone: all done, an error, or killed."""
        assert slot.process is not None  # noqa: S101 - it just ended
        code, slot.process = slot.process.wait(), None
        if slot.error is not None:
            kind, lines = slot.error
            raise ERRORS[kind](*lines)
        if code == 0:
            self._tell({"kind": "idle", "slot": slot.number})
            return
        if code in (INTERRUPTED, -signal.SIGINT):  # Ctrl-C goes to all processes; whichever hears it, the command is meant
            raise KeyboardInterrupt
        if code == 1:
            raise TvtError(f"a worker ended with a defect of tvt; its traceback is in {slot.log}")
        if slot.at is None:
            self._stillborn += 1
            if self._stillborn >= TRIES:
                raise InputError(f"workers died {TRIES} times before any run ({_death(code)}); {slot.log} says more")
        else:
            self._deaths[slot.at] += 1
            if self._deaths[slot.at] >= TRIES:
                self._give_up(slot, slot.at[0], code)
            else:
                text = f"{self._names[slot.at[0]]}: {_death(code)}; trying again"
                self._tell({"kind": "note", "slot": slot.number, "text": text})
        slot.at = None
        self._start(slot)

    def _give_up(self, slot: _Slot, run: str, code: int) -> None:
        log = self._store.run_folder(run) / "worker.log"
        with suppress(OSError):
            shutil.copyfile(slot.log, log)
        place = log.relative_to(self._job.folder)
        reason = f"{_death(code)}, {TRIES} times from the same point on; {place} may say more; try again with --retry-failed"
        self._store.fail(run, reason)
        self._heard(slot, {"kind": "failed", "run": run, "name": self._names[run]})


def _death(code: int) -> str:
    if code == DIED:
        return "its training processes were killed"
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    return f"its process was killed by {name}" + (", often for want of memory" if name == "SIGKILL" else "")


def _environments(workers: int, processes: int) -> list[dict[str, str]]:
    """The environment of each worker, with its devices.

    Raises:
        InputError: more workers than there are devices for.
    """
    gpus = visible_gpus()
    if gpus and workers * processes > len(gpus):
        raise InputError(
            f"{workers} workers of {processes} processes need {workers * processes} GPUs, but there are {len(gpus)}; lower "
            "--workers"
        )
    common = {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    shares: Sequence[tuple[str, ...]] = [gpus[k * processes : (k + 1) * processes] for k in range(workers)]
    return [{**common, "CUDA_VISIBLE_DEVICES": ",".join(share)} if share else common for share in shares]


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    """End a worker: gently, so that its training processes end too, then not."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Have the kernel end the worker when the study is killed: nobody else would, and it would hold its run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
