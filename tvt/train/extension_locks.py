"""Locks in the folder where torch builds extensions, DeepSpeed's among them.

Whoever builds one holds a file named ``lock`` beside it and removes it at the end; all others wait until it is gone, without a
word and without a limit (``torch.utils.file_baton``). A build that was killed leaves it for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

STALE_SECONDS = 60.0
"""From this age on a lock that no process here has open is taken for left over."""
_LOOK_SECONDS = 10.0


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
    """Locks that nobody here holds and that are older than a minute."""
    folder, found = extension_folder(), []
    for pattern in ("*/lock", "*/*/lock"):  # by python and device, unless TORCH_EXTENSIONS_DIR names the folder
        for path in sorted(folder.glob(pattern)):
            with suppress(OSError):
                found.append(ExtensionLock(path=path, age=time.time() - path.stat().st_mtime))
    old = [lock for lock in found if lock.age > STALE_SECONDS]
    held = _open_files() if old else set()
    return [lock for lock in old if str(lock.path.resolve()) not in held]


def _open_files() -> set[str]:
    """What processes of this machine have open, as far as they may be looked at."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in os.scandir(process):
                with suppress(OSError):
                    found.add(os.readlink(link.path))
    return found


@contextmanager
def watched(note: Callable[[str], None], seconds: float = _LOOK_SECONDS) -> Iterator[None]:
    """Say, while processes start and train, that a left-over lock is there: each once.

    Args:
        note: told of each.
        seconds: between two looks.
    """
    over = Event()

    def look() -> None:
        told: set[Path] = set()
        while not over.wait(seconds):
            for lock in stale_locks():
                if lock.path not in told:
                    told.add(lock.path)
                    note(str(lock))

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
