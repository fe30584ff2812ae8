"""What is compiled when training starts: Triton's kernels, which need a C compiler, and extensions, whose locks can be left
over.

On GPUs TRL's loss runs as Triton kernels, which are compiled at a run's first step. TRL (1.16,
``trl/kernels/chunked_logprob.py``) takes Triton wherever it is installed and the model is on a GPU, and PyTorch's own
operations elsewhere. Triton (``triton/runtime/build.py``) builds a small library for its driver with ``CC``, else gcc, else
clang, against Python's headers, and keeps it in its cache. Scoring needs none of this.

A process that builds an extension of torch, such as DeepSpeed's, holds a file named ``lock`` beside it and removes it at the
end; all others wait until it is gone, without a message and without a limit (``torch.utils.file_baton``). A build that was
killed leaves it for ever.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from tvt.errors import Check

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
        found = f"{compiler()} and Python's headers are here: {_WHY}"
        yield Check(group=group, name="C compiler", status="ok", found=found)
        return
    found = f"{' and '.join(missing)}: {_WHY}"
    if compiled_before():
        step = f"fine as long as Triton's cache has what is needed; else {' and '.join(steps)}"
        yield Check(group=group, name="C compiler", status="warn", found=found, step=step)
    else:
        yield Check(group=group, name="C compiler", status="fail", found=found, step=" and ".join(steps))


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
