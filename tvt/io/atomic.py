"""Files and folders that are either wholly there or not at all: written beside their place, renamed last.

A reader, or a later start after a crash, sees the old content or the new one, never a part.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tvt.errors import InputError
from tvt.io.lock import take


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file in the same folder, fsync and replace.

    A reader, or a later start after a crash, sees the old content or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    current = os.umask(0)
    os.umask(current)
    return current


_SUFFIX = ".unfinished"


def refuse_file(folder: Path) -> None:
    """Stop where a folder is to be written and a file has its name.

    Raises:
        InputError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with -o DIR")


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path in the same folder, which becomes ``path`` when the block ends without an error.

    Args:
        path: the file to write.
        sync: wait until the disk has it. Thousands of small files take minutes with it; a killed process needs it not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary sibling folder, which becomes ``path`` when the block ends without an error.

    ``path`` must not exist, or be an empty folder. What killed processes left behind for the same ``path`` is removed first: a
    living one holds a lock on its folder.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX))
    lock = os.open(temporary, os.O_RDONLY)
    try:
        take(lock, temporary, wait=True)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _sync(file)
        _sync(temporary)
        temporary.chmod(0o755)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for left in path.parent.iterdir():
        if not (left.name.startswith(f".{path.name}.") and left.name.endswith(_SUFFIX) and left.is_dir()):
            continue
        with suppress(OSError):  # another process may be at it, or may just have removed it
            lock = os.open(left, os.O_RDONLY)
            try:
                if take(lock, left):
                    shutil.rmtree(left)
            finally:
                os.close(lock)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
