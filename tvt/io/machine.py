"""What this machine has for this process: cores, memory, installed packages, and the data that is installed with tvt.

Nothing heavy is loaded, so that shell completion can look here too.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

import tvt

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
