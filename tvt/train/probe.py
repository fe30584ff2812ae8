"""Which packages work here, which accelerators there are, what is compiled for them; without loading torch into this process.

``python -m tvt.train.probe torch|deepspeed`` loads a package in a process of its own and reports the outcome as JSON. A broken
installation can end its process, hang, or print anything: the process that asks is safe from all of it.

On GPUs TRL's loss runs as Triton kernels, which are compiled at a run's first step. TRL (1.16,
``trl/kernels/chunked_logprob.py``) takes Triton wherever it is installed and the model is on a GPU, and PyTorch's own
operations elsewhere. Triton (``triton/runtime/build.py``) builds a small library for its driver with ``CC``, else gcc, else
clang, against Python's headers, and keeps it in its cache. Scoring needs none of this.

A process that builds an extension of torch, such as DeepSpeed's, holds a file named ``lock`` beside it and removes it at the
end; all others wait until it is gone, without a message and without a limit (``torch.utils.file_baton``). A build that was
killed leaves it for ever.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import IO, Any, Literal, assert_never, cast

from tvt.errors import Check
from tvt.io import json_text

_LOG = logging.getLogger(__name__)

Package = Literal["torch", "deepspeed"]
"""What can be probed."""

MARK = "\x1etvt-probe "
"""Begins the line that holds the answer."""


def look(name: Package) -> dict[str, Any]:
    """Facts about ``torch`` or ``deepspeed`` once it is loaded; ``error`` alone where it cannot be loaded.

    Of torch: ``cuda`` (the version it was built for, or ``None``), ``available``, and of each device its ``name``, ``memory``
    (bytes) and ``bfloat16`` (whether the hardware has it).
    """
    try:
        match name:
            case "torch":
                return _torch()
            case "deepspeed":
                return _deepspeed()
            case unknown:
                assert_never(unknown)
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"}


def _torch() -> dict[str, Any]:
    import torch

    available = torch.cuda.is_available()
    devices = []
    for number in range(torch.cuda.device_count() if available else 0):
        properties = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        devices.append({"name": properties.name, "memory": properties.total_memory, "bfloat16": bfloat16})
    return {"cuda": torch.version.cuda, "available": available, "devices": devices}


def _deepspeed() -> dict[str, Any]:
    import deepspeed
    from torch.utils.cpp_extension import CUDA_HOME

    return {"version": deepspeed.__version__, "cuda_home": CUDA_HOME}


if __name__ == "__main__":
    print(f"\n{MARK}{json.dumps(look(cast(Package, sys.argv[1])))}", flush=True)


SECONDS = 120.0
"""How long to wait; loading torch from a cold network disk takes a minute."""


class Probe:
    """Loads ``torch`` or ``deepspeed`` beside this process; :meth:`answer` waits for its result.

    Args:
        name: the package.
        seconds: after so many it counts as hanging.
    """

    def __init__(self, name: Package, seconds: float = SECONDS) -> None:
        self._name, self._seconds = name, seconds
        self._process: subprocess.Popen[str] | None = None
        self._output: IO[str] | None = None
        self._answer: dict[str, Any] | None = None

    def __enter__(self) -> Probe:
        if _is_installed(self._name):
            self._output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "tvt.train.probe", self._name],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._output is not None:
            self._output.close()

    def answer(self) -> dict[str, Any] | None:
        """The probe's result (see :func:`tvt.train.probe.look`); ``None`` where the package is not installed."""
        if self._process is None or self._output is None:
            return None
        if self._answer is None:
            self._answer = self._wait(self._process, self._output)
            _LOG.debug("%s: %s", self._name, self._answer)
        return self._answer

    def _wait(self, process: subprocess.Popen[str], output: IO[str]) -> dict[str, Any]:
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"loading it takes more than {self._seconds:.0f} s"}
        output.seek(0)
        for line in output:
            if line.startswith(MARK):
                answer: dict[str, Any] = json_text.loads(line.removeprefix(MARK))
                return answer
        return {"error": f"loading it ended the process (exit code {code})"}


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    The driver's program lists them; where it is missing (ROCm, some containers), torch does, in a process of its own.
    """
    for name in _HIDING:
        value = os.environ.get(name)
        if value is not None:
            return _named(value)
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return tuple(map(str, range(_count_by_torch())))
    return tuple(str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU "))


def _named(value: str) -> tuple[str, ...]:
    """The devices of a list; as for CUDA, the first invalid one hides all that follow."""
    names: list[str] = []
    for name in (part.strip() for part in value.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return tuple(names)


@cache
def _count_by_torch() -> int:
    """How many GPUs torch sees; loading it takes seconds, so a build for CPUs is recognised by its files."""
    if not _built_for_gpus():
        return 0
    with Probe("torch") as probe:
        answer = probe.answer()
    return len((answer or {}).get("devices", []))


def _built_for_gpus() -> bool:
    """Whether the installed torch was built for CUDA or ROCm, as its ``version.py`` says."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"""^(?:cuda|hip)\b[^=\n]*=\s*['"]""", text, re.MULTILINE) is not None


def gpus_lacking(processes: int, machines: int, gpus: int) -> str:
    """The message for a run that has more processes than there are GPUs for."""
    here = f"{processes // machines} processes on this machine" if machines > 1 else f"{processes} processes"
    return f"{here} need as many GPUs, but there are {gpus}; lower runtime.num_processes to {gpus * machines}"


_WHY = "TRL's loss compiles Triton kernels at the first step on a GPU"


def compiler_checks(group: str, *, gpus: bool) -> Iterator[Check]:
    """Checks that Triton can compile; nothing is yielded for a machine where TRL does without Triton.

    Args:
        group: of the checks.
        gpus: whether training here takes place on GPUs.
    """
    if not gpus or find_spec("triton") is None:
        return
    missing, steps = [], []
    if compiler() is None:
        named = os.environ.get("CC")
        missing.append("no C compiler (gcc, clang, or CC)" if named is None else f"CC names {named}, which is no program here")
        steps.append("install gcc" if named is None else "mend CC or unset it")
    if not (headers() / "Python.h").is_file():
        missing.append(f"no Python.h in {headers()}")
        steps.append(f"install Python's headers (python{sys.version_info[0]}.{sys.version_info[1]}-dev)")
    if not missing:
        text = f"{compiler()} and Python's headers are here: {_WHY}"
        yield Check(group=group, name="C compiler", status="ok", found=text)
        return
    text = f"{' and '.join(missing)}: {_WHY}"
    if compiled_before():
        step = f"fine as long as Triton's cache has what is needed; else {' and '.join(steps)}"
        yield Check(group=group, name="C compiler", status="warn", found=text, step=step)
    else:
        yield Check(group=group, name="C compiler", status="fail", found=text, step=" and ".join(steps))


def compiler() -> str | None:
    """The compiler that Triton would call; none where ``CC`` names no program."""
    named = os.environ.get("CC")
    if named is not None:
        return named if shutil.which(named) else None
    return next((name for name in ("gcc", "clang") if shutil.which(name)), None)


def headers() -> Path:
    """Where Triton looks for Python's headers; Debian's scheme for local packages is not theirs."""
    scheme = sysconfig.get_default_scheme()
    return Path(sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"])


def compiled_before() -> bool:
    """Whether Triton's cache has its driver's library, compiled by an earlier run."""
    own = os.environ.get("TRITON_CACHE_DIR")
    folder = Path(own) if own else Path(os.environ.get("TRITON_HOME") or Path.home()) / ".triton" / "cache"
    return any(folder.glob("*/*_utils*.so"))


STALE_SECONDS = 60.0
"""From this age on a lock that no process here has open is taken for left over."""
_CHECK_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class ExtensionLock:
    """A lock, and since when it is there."""

    path: Path
    age: float
    """Seconds."""

    def __str__(self) -> str:
        age = f"{self.age / 60:.0f} min" if self.age < 7200 else f"{self.age / 3600:.0f} h"
        return (
            f"{self.path}: a lock, {age} old, that no process of this machine holds: a killed build left it, and training "
            f"would wait for it without end; delete it (rm '{self.path}'), unless another machine builds there"
        )


def extension_folder() -> Path:
    """Where torch builds extensions."""
    if own := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).expanduser() / "torch_extensions"


def stale_locks() -> list[ExtensionLock]:
    """Locks that no process here holds and that are older than a minute."""
    folder, locks = extension_folder(), []
    for pattern in ("*/lock", "*/*/lock"):  # by python and device, unless TORCH_EXTENSIONS_DIR names the folder
        for path in sorted(folder.glob(pattern)):
            with suppress(OSError):
                locks.append(ExtensionLock(path=path, age=time.time() - path.stat().st_mtime))
    old = [lock for lock in locks if lock.age > STALE_SECONDS]
    held = _open_files() if old else set()
    return [lock for lock in old if str(lock.path.resolve()) not in held]


def _open_files() -> set[str]:
    """The files that processes of this machine have open, as far as they may be read."""
    names = set()
    for process in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in os.scandir(process):
                with suppress(OSError):
                    names.add(os.readlink(link.path))
    return names


@contextmanager
def watched(note: Callable[[str], None], seconds: float = _CHECK_SECONDS) -> Iterator[None]:
    """Report left-over locks while processes start and train, each once.

    Args:
        note: called with each.
        seconds: between two checks.
    """
    over = Event()

    def look() -> None:
        reported: set[Path] = set()
        while not over.wait(seconds):
            for lock in stale_locks():
                if lock.path not in reported:
                    reported.add(lock.path)
                    note(str(lock))

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
