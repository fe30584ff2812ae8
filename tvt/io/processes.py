"""Several processes at one piece of work, each with a device: started through torchrun, on one machine or on several."""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvt.errors import InputError, ProcessDiedError, ProcessFailedError
from tvt.io import atomic
from tvt.io.child_process import ERRORS, EXCEPTION, MARK
from tvt.io.environment import without_launcher

WAIT_SECONDS = 600.0
"""How long a launch waits for the others. Machines of one job start within seconds; by hand, it takes longer."""

Tell = Callable[[str, Any], None]
"""Told the kind of a message of any process, and what it says."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where processes are started. Several machines start the same command, each with its own rank, and share the folder."""

    count: int = 1
    rank: int = 0
    main_ip: str | None = None
    main_port: int | None = None
    wait: float = WAIT_SECONDS
    """Seconds until the launches must have met."""
    launcher: tuple[str, ...] = ()
    """A command that starts another one on all of them, such as srun; then one launch does for all."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What processes shall do together."""

    name: str
    """As messages have it, e.g. *training*."""
    module: str
    """Run in every process, with the job's file for its argument."""
    job: str
    """The content of that file."""
    job_file: Path
    log: Path
    """Gets what libraries print."""
    processes: int
    """Over all machines."""
    meeting: str
    """Names what the launches of several machines meet for."""
    again: str
    """What to do after a kill."""


def do_together(work: Work, machines: Machines, tell: Tell) -> None:
    """Start the processes of this machine, or of all, and follow them to their end.

    Raises:
        InputError: a process says so, or the machines did not meet.
        TrainingError: a process says so.
        ProcessFailedError: an exception ended a process.
        ProcessDiedError: a signal ended one.
    """
    atomic.write_text(work.job_file, work.job)
    with without_launcher():
        process = _start(work, machines)
    try:
        heard = _follow(process, work.log, tell)
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        work.job_file.unlink(missing_ok=True)
    _raise_reported(work, heard.errors)
    if code and machines.count > 1 and not machines.launcher and not heard.started:
        raise InputError(_alone(machines, work.log))
    if code and not heard.started:
        line = _last_line(work.log)
        raise ProcessFailedError(f"the {work.name} processes could not be started: {line}; {work.log} says more", line)
    if code:
        where = " here or on another machine" if machines.count > 1 else ""
        raise ProcessDiedError(
            f"a {work.name} process died{where} (exit code {code}); the last lines of {work.log} say why; {work.again}",
            work.name,
        )


def command(work: Work, machines: Machines) -> list[str]:
    """The torchrun command that starts this machine's processes."""
    here = work.processes // machines.count
    if machines.count == 1:
        place = ["--standalone"]
    elif machines.launcher:  # they meet, and then know who is who
        meeting = f"{machines.main_ip}:{machines.main_port}"
        place = ["--nnodes", str(machines.count), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", meeting]
    else:
        place = ["--nnodes", str(machines.count), "--node_rank", str(machines.rank)]
        place += ["--master_addr", str(machines.main_ip), "--master_port", str(machines.main_port)]
        place += ["--rdzv_id", work.meeting, "--rdzv_conf", f"timeout={math.ceil(machines.wait)}"]
    return [
        *(*machines.launcher, sys.executable, "-m", "torch.distributed.run", *place, "--nproc_per_node", str(here)),
        *("--module", work.module, str(work.job_file)),
    ]


def _start(work: Work, machines: Machines) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command(work, machines),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads hold locks that the few instructions before exec need
    )


def _raise_reported(work: Work, errors: list[tuple[str, str]]) -> None:
    """Raise what the processes reported; those that only lost another one know no reason."""
    for kind, text in errors:
        if kind in ERRORS:
            raise ERRORS[kind](text)
    for kind, text in errors:
        if kind == EXCEPTION:
            raise ProcessFailedError(f"a {work.name} process failed: {text}; its traceback is in {work.log}", text)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"


def _alone(machines: Machines, log: Path) -> str:
    """What to say when the machines did not meet."""
    place = f"{machines.main_ip}:{machines.main_port} within {machines.wait:g} s"
    return (
        f"machine {machines.rank} of {machines.count} did not meet the others at {place}; start this very command on each, "
        f"with its own --machine-rank from 0 to {machines.count - 1}, and let them reach that port; {log} says more"
    )


@dataclass
class _Heard:
    """What the processes told."""

    errors: list[tuple[str, str]] = field(default_factory=list)
    """Kind and text, in order."""
    started: bool = False
    """Whether any process began, which it does when all machines have met."""


def _follow(process: subprocess.Popen[str], log: Path, tell: Tell) -> _Heard:
    """Read until the processes are done."""
    heard = _Heard()
    assert process.stdout is not None  # noqa: S101 - it was asked for
    with log.open("a", encoding="utf-8") as stream:
        for line in process.stdout:
            printed, *told = line.split(MARK)
            if printed or not told:
                stream.write(printed)
                stream.flush()
            for message in told:  # two, if two processes wrote at once
                kind, what = json.JSONDecoder().raw_decode(message)[0]
                if kind == "started":
                    heard.started = True
                elif kind == "error":
                    heard.errors.append((what[0], what[1]))
                else:
                    tell(kind, what)
    return heard


def _die_with_parent() -> None:
    """Have the kernel end the processes when tvt is killed: nobody else would, and work that goes on would meet them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
