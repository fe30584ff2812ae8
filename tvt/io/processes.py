"""Several processes at one piece of work, each with a device: started through torchrun, on one machine or on several.

A process reports progress and failures in lines of JSON behind a mark, so that its parent can separate them from what libraries
print. Variables that launchers left in the environment are taken out of it: torch, accelerate and transformers would follow
them, while the recipe decides.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tvt.errors import (
    InputError,
    MissingPackageError,
    NotFiniteScoreError,
    ProcessDiedError,
    ProcessFailedError,
    TrainingError,
    TvtError,
)
from tvt.io import atomic

WAIT_SECONDS = 600.0
"""How long a launch waits for the others. Machines of one job start within seconds; by hand, it takes longer."""

OnMessage = Callable[[str, Any], None]
"""Called with the kind of a message of any process, and its content."""


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
class SharedWork:
    """What processes do together."""

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
    rendezvous: str
    """Names what the launches of several machines meet for."""
    again: str
    """What to do after a kill."""
    alone: bool = False
    """Whether one process does it, without a launcher."""
    python: str | None = None
    """The interpreter of another environment, for work that is done alone; default: this one."""


def run_together(work: SharedWork, machines: Machines, on_message: OnMessage) -> None:
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
        reports = _follow(process, work.log, on_message)
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
    _raise_reported(work, reports.errors)
    if code and machines.count > 1 and not machines.launcher and not reports.started:
        raise InputError(_alone(machines, work.log))
    if code and not reports.started:
        line = _last_line(work.log)
        raise ProcessFailedError(f"the {work.name} processes could not be started: {line}; {work.log} says more", line)
    if code:
        where = " here or on another machine" if machines.count > 1 else ""
        raise ProcessDiedError(
            f"a {work.name} process died{where} (exit code {code}); the last lines of {work.log} say why; {work.again}",
            work.name,
        )


_ON_ONE_MACHINE = "tvt.model.loopback_launch"
"""torchrun without an open port."""


def command(work: SharedWork, machines: Machines) -> list[str]:
    """The command that starts this machine's processes, through torchrun unless the work is done alone."""
    if work.alone:
        return [*in_environment(work.python), work.module, str(work.job_file)]
    here = work.processes // machines.count
    launch = "torch.distributed.run"
    if machines.count == 1:
        launch, place = _ON_ONE_MACHINE, []
    elif machines.launcher:  # they meet, and then know who is who
        endpoint = f"{machines.main_ip}:{machines.main_port}"
        place = ["--nnodes", str(machines.count), "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", endpoint]
    else:
        place = ["--nnodes", str(machines.count), "--node_rank", str(machines.rank)]
        place += ["--master_addr", str(machines.main_ip), "--master_port", str(machines.main_port)]
        place += ["--rdzv_id", work.rendezvous, "--rdzv_conf", f"timeout={math.ceil(machines.wait)}"]
    return [
        *(*machines.launcher, sys.executable, "-m", launch, *place, "--nproc_per_node", str(here)),
        *("--module", work.module, str(work.job_file)),
    ]


_OF_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that would give another environment's interpreter this one's packages."""
_LOADER = """\
import importlib.util, runpy, sys
folder, module, *sys.argv[1:] = sys.argv[1:]
spec = importlib.util.spec_from_file_location("tvt", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["tvt"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["tvt"])
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Runs a module of this tvt in another environment; as a path, its folder could bring this environment's packages along."""


def in_environment(python: str | None) -> list[str]:
    """The start of a command that runs a module of this tvt: with this interpreter, or with that of another environment."""
    if python is None:
        return [sys.executable, "-m"]
    return [python, "-c", _LOADER, str(Path(__file__).parents[1])]


def _start(work: SharedWork, machines: Machines) -> subprocess.Popen[str]:
    foreign = work.python is not None
    environment = {name: value for name, value in os.environ.items() if not (foreign and name in _OF_PYTHON)}
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
            **environment,
            **({} if foreign else {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}),
        },
        preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads hold locks that the few instructions before exec need
    )


def _raise_reported(work: SharedWork, errors: list[tuple[str, str]]) -> None:
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
class _Reports:
    """What the processes reported."""

    errors: list[tuple[str, str]] = field(default_factory=list)
    """Kind and text, in order."""
    started: bool = False
    """Whether any process began, which it does when all machines have met."""


def _follow(process: subprocess.Popen[str], log: Path, on_message: OnMessage) -> _Reports:
    """Read until the processes are done."""
    reports = _Reports()
    assert process.stdout is not None  # noqa: S101 - it was asked for
    with log.open("a", encoding="utf-8") as stream:
        for line in process.stdout:
            printed, *messages = line.split(MARK)
            if printed or not messages:
                stream.write(printed)
                stream.flush()
            for message in messages:  # two, if two processes wrote at once
                kind, what = json.JSONDecoder().raw_decode(message)[0]
                if kind == "started":
                    reports.started = True
                elif kind == "error":
                    reports.errors.append((what[0], what[1]))
                else:
                    on_message(kind, what)
    return reports


def die_with_parent() -> None:
    """Have the kernel end a process that is just being started when tvt is killed: nobody else would, and it would go on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


MARK = "\x1etvt "
EXCEPTION, LOST = "Exception", "Lost"
"""Kinds of failure beside :data:`ERRORS`: an exception of this process, and one that says that another process is gone."""
_PEER_GONE = re.compile(
    r"connection (?:closed|reset|refused) by peer|broken pipe|socket timeout|remote process exited|heartbeat|store .*time",
    re.IGNORECASE,
)
_NOT_FINITE_BASE = "NotFiniteBaseScoreError"
ERRORS: dict[str, Callable[[str], TvtError]] = {
    "InputError": lambda text: InputError(*text.split("\n")),
    "MissingPackageError": MissingPackageError,
    "TrainingError": TrainingError,
    "NotFiniteScoreError": lambda text: NotFiniteScoreError(text, base=False),
    _NOT_FINITE_BASE: lambda text: NotFiniteScoreError(text, base=True),
}
"""What a parent raises where a process reports an error of the kind."""


def report(kind: str, what: object) -> None:
    """Send one line to the parent, in one write: the processes share the pipe."""
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), f"{MARK}{json.dumps([kind, what])}\n".encode())


def run_part(work: Callable[[], object]) -> NoReturn:
    """Do this process's part, and exit at once when it fails: the other processes may be waiting for this one."""
    report("started", None)
    try:
        work()
    except TvtError as error:
        report("error", [_kind(error), str(error)])
        os._exit(error.exit_code)
    except Exception as error:
        traceback.print_exc()
        line = first_line(error)
        report("error", [LOST if _PEER_GONE.search(line) else EXCEPTION, line])
        os._exit(1)
    # Everything is written, and threads of gloo and DeepSpeed may abort an orderly end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def first_line(error: Exception) -> str:
    """An exception's type and its message in one line; packages underline and wrap theirs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _kind(error: TvtError) -> str:
    """The name in :data:`ERRORS` of the nearest kind of an error."""
    if isinstance(error, NotFiniteScoreError) and error.base:
        return _NOT_FINITE_BASE
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS), TrainingError.__name__)


_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
_LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE")
_LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK")
_NAMES = {*_SIZES, *_RANKS, *_LOCAL_SIZES, *_LOCAL_RANKS, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK"}
_NAMES |= {"GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"}
_NAMES -= {"SLURM_STEP_NUM_TASKS"}  # srun needs its own
_PREFIXES = ("TORCHELASTIC_", "PET_", "ACCELERATE_", "FSDP_", "OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")
"""``PET_*`` are defaults of torchrun's options; ``ACCELERATE_MIXED_PRECISION`` and its like would change what is trained."""


def launched(environment: Mapping[str, str], *, machines: int = 1) -> str | None:
    """The variables that say that this process is one of several, if any do; several that train alone would all look well.

    Args:
        environment: of this process.
        machines: how many start the command; each is then one of so many, but alone on its machine.
    """
    sizes, ranks = (_LOCAL_SIZES, _LOCAL_RANKS) if machines > 1 else (_SIZES + _LOCAL_SIZES, _RANKS + _LOCAL_RANKS)
    variables = [name for name in sizes if _number(environment, name) > 1]
    variables += [name for name in ranks if _number(environment, name) > 0]
    return ", ".join(f"{name}={environment[name]}" for name in variables) or None


def launch_fault(environment: Mapping[str, str], *, machines: int = 1) -> str | None:
    """One line for a command that a launcher started several times, or that would believe so; ``None`` if all is well."""
    variables = launched(environment, machines=machines)
    if variables is None:
        return None
    names = " ".join(part.partition("=")[0] for part in variables.split(", "))
    once = "once on each machine" if machines > 1 else "once"
    return (
        f"{variables}: set by torchrun, accelerate, mpirun or srun for one of several processes; start tvt itself, {once}: "
        f"it starts its processes by --num-processes or runtime.num_processes. If nothing launched it, unset {names}"
    )


def left_over(environment: Mapping[str, str]) -> list[str]:
    """The variables that a launcher left and training goes without."""
    return sorted(name for name in environment if name in _NAMES or name.startswith(_PREFIXES))


@contextmanager
def without_launcher() -> Iterator[list[str]]:
    """Take what launchers left out of the environment, of this process and of those that it starts; put it back afterwards.

    Yields:
        The names.
    """
    taken = {name: os.environ.pop(name) for name in left_over(os.environ)}
    try:
        yield list(taken)
    finally:
        os.environ.update(taken)


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment.get(name, ""))
    except ValueError:
        return -1
