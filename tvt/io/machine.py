"""What this machine has for this process: cores, memory, installed packages, the data that is installed with tvt; and what it
lacks: a full disk and too little memory as one line that says what to do, since they stop every run of a study.

Nothing heavy is loaded, so that shell completion can look here too.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import tvt
from tvt.errors import InputError, ProcessDiedError, TvtError

if TYPE_CHECKING:
    from tvt.core.recipe import Recipe

RUNS_AT_ONCE = "TVT_RUNS_AT_ONCE"
"""The variable by which a study's workers know how many of them there are."""
_SHARED = Path("/dev/shm")  # noqa: S108 - looked at only
_GROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def runs_at_once() -> int:
    """How many runs share this machine: the process that starts several sets the variable."""
    text = os.environ.get(RUNS_AT_ONCE, "")
    return int(text) if text.isdecimal() and int(text) > 0 else 1


def memory() -> tuple[float, float]:
    """Free and total bytes, within the limit of a container; what only caches files counts as free."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    free = total
    with suppress(OSError, ValueError, IndexError, StopIteration):
        free = _entry(Path("/proc/meminfo"), "MemAvailable:") * 1024
    with suppress(OSError, ValueError):  # a container's limit; "max" where there is none
        limit, used = (float((_GROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        with suppress(OSError, ValueError, IndexError, StopIteration):
            used -= _entry(_GROUP / "memory.stat", "inactive_file")
        total, free = min(total, limit), min(free, max(limit - used, 0.0))
    return free, total


def shared_memory() -> float | None:
    """Bytes of the memory through which processes exchange tensors; ``None`` where there is no such limit."""
    return float(shutil.disk_usage(_SHARED).total) if _SHARED.is_dir() else None


def _entry(path: Path, name: str) -> float:
    lines = path.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


@cache
def installed_version(name: str) -> str | None:
    """The installed version of a package; ``None`` where it is not installed.

    tvt's own is that of its code: the metadata of an editable install stay those of the day it was made.
    """
    if name == "tvt":
        return tvt.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def bundled_root() -> Path:
    """Folder of the manifests and studies that come with tvt: inside the installed package, or beside it in a checkout."""
    package = Path(tvt.__file__).resolve().parent
    inside = package / "data_manifests"
    return inside if inside.is_dir() else package.parent / "data_manifests"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The last two are torch.save's way to say that a write failed.
_FULL_TEXTS = ("No space left", "File too large", "quota exceeded", "iostream error", "PytorchStreamWriter failed")
_BROKEN = (errno.EIO, errno.ESTALE, errno.EROFS, errno.ENODEV, errno.ENXIO)
_LITTLE = 2**20


@contextmanager
def resource_errors(folder: Path, name: str, recipe: Recipe | None = None) -> Iterator[None]:
    """Turn a full or failing disk and a lack of memory into an error for a person, however deep in a library they occurred.

    Args:
        folder: the folder that is written; its disk is checked.
        name: the work, for the message.
        recipe: the recipe of the work; the message names the settings that can still save memory.

    Raises:
        InputError: with what to do; other errors pass through.
    """
    try:
        yield
    except Exception as error:
        chain = list(_chain(error))
        unclear = not isinstance(error, TvtError) or isinstance(error, ProcessDiedError)
        full = next((link for link in chain if _says_full(link)), None)
        if full is not None or (unclear and shutil.disk_usage(folder).free < _LITTLE):
            what = _first_line(full or error)
            raise InputError(
                f"{folder}: the disk is full ({what}); make room and run the same command again: what is done is kept"
            ) from error
        broken = next((link for link in chain if isinstance(link, OSError) and link.errno in _BROKEN), None)
        if broken is not None:
            where = broken.filename or folder
            raise InputError(
                f"{where}: the disk cannot be read or written ({broken.strerror or broken}); check it, and run the "
                "same command again: what is done is kept"
            ) from error
        if any(isinstance(link, MemoryError) or "out of memory" in str(link).lower() for link in chain):
            raise InputError(f"{name}: {_less_memory(recipe)}, and run the same command again") from error
        raise


def _less_memory(recipe: Recipe | None) -> str:
    """What is wrong and what to set, the most expensive last."""
    steps = [
        "out of memory; lower training.per_device_train_batch_size (the global batch, hence the result, stays) or "
        "evaluation.batch_size"
    ]
    if recipe is not None and recipe.training.gradient_checkpointing is not True:
        steps.append("set training.gradient_checkpointing=true")
    if recipe is None or recipe.model.max_pixels is None:
        steps.append("scale large pictures down with model.max_pixels, which makes other runs")
    return ", or ".join(steps)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in _FULL) or any(text in str(error) for text in _FULL_TEXTS)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
