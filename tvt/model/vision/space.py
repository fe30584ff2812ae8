"""The folder of all vision caches on this machine, and its size limit.

Whoever uses a namespace holds a shared lock on it. Who finds the folder full removes whole namespaces that nobody holds, those
that were opened longest ago first. All that changes the folder's size happens under one lock, so the limit holds at any moment
however many processes write.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tvt.io import atomic
from tvt.io.lock import attempted, exclusively, take

_LOCK = ".lock"
SHARDS = "*.safetensors"


class Space:
    """One namespace of the folder, held until :meth:`leave`.

    Args:
        root: the folder of all namespaces.
        name: of the namespace.
        limit: bytes that all namespaces together may take.

    Raises:
        InputError: the file system has no locks.
        OSError: the folder cannot be written.
    """

    def __init__(self, root: Path, name: str, limit: int) -> None:
        self.folder = root / name
        self._root, self._limit = root, limit
        with exclusively(root / _LOCK):
            self._remove_unfinished()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held: IO[str] | None = (self.folder / _LOCK).open("a")
            # Nobody keeps it from us: it is held exclusively only under the lock that is held here.
            take(self._held.fileno(), self.folder / _LOCK, wait=True, shared=True)
            os.utime(self.folder / _LOCK)
            self._make_room(0)
            for shard in sorted(self.folder.glob(SHARDS)):  # the limit was lowered
                if self._taken() > self._limit:
                    shard.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads while this one holds the namespace."""
        return {**vars(self), "_held": None}

    def add(self, name: str, content: bytes) -> bool:
        """Write a file of the namespace, unless the limit, or the disk, has no room for it; says whether it was written."""
        try:
            with exclusively(self._root / _LOCK):
                if not self._make_room(len(content)):
                    return False
                atomic.write_bytes(self.folder / name, content)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Let go of the namespace; it stays until its room is needed."""
        if self._held is not None:
            self._held.close()

    def _taken(self) -> int:
        return _size(self._root)

    def _make_room(self, needed: int) -> bool:
        """Remove namespaces until so many bytes fit; nothing is removed for what would never fit."""
        if needed > self._limit:
            return False
        left = self._taken() + needed - self._limit
        for folder in self._others() if left > 0 else ():
            if left <= 0:
                break
            left -= _remove(folder)
        return left <= 0

    def _others(self) -> Iterator[Path]:
        """The other namespaces, the one that was opened longest ago first."""
        found = [path for path in self._root.iterdir() if path.is_dir() and path != self.folder and (path / _LOCK).exists()]
        yield from sorted(found, key=lambda path: (path / _LOCK).stat().st_mtime_ns)

    def _remove_unfinished(self) -> None:
        """Remove what killed writers left: nobody else writes now."""
        for path in self._root.rglob("*.tmp"):
            path.unlink(missing_ok=True)


def _remove(folder: Path) -> int:
    """Remove a namespace unless somebody holds it; returns the bytes that became free."""
    with attempted(folder / _LOCK) as mine:
        if not mine:
            return 0
        size = _size(folder)
        shutil.rmtree(folder)
    return size


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a reader deletes damaged shards at any time
            state = path.stat()
            found += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return found
