"""Files and folders that are either wholly there or not at all: written beside their place, renamed last.

A reader, or a later start after a crash, sees the old content or the new one, never a part. What is new has the mode that the
umask (or the folder's default ACL) gives to files and folders; what is replaced keeps its mode.

Where one process at a time may write, it holds a lock on a file, which the system takes away when the process dies, however it
dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE

from tvt.errors import InputError

_SUFFIX = ".unfinished"


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, wholly or not at all."""
    with new_file(path, suffix=".tmp") as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def refuse_file(folder: Path) -> None:
    """Stop where a folder is to be written and a file has its name.

    Raises:
        InputError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with -o DIR")


@contextmanager
def new_file(path: Path, *, sync: bool = True, suffix: str = _SUFFIX) -> Iterator[Path]:
    """Give a temporary path in the same folder, which becomes ``path`` when the block ends without an error.

    Args:
        path: the file to write.
        sync: wait until the disk has it. Thousands of small files take minutes with it, and it matters only where the machine
            itself stops.
        suffix: of the temporary name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, suffix)
    mode = _touch(temporary)
    try:
        with suppress(FileNotFoundError):
            mode = S_IMODE(path.stat().st_mode)
        yield temporary
        _set_mode(temporary, mode)
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary sibling folder, which becomes ``path`` when the block ends without an error.

    ``path`` must not exist, or be an empty folder. What killed processes left behind for the same ``path`` is removed first: a
    process at work holds a lock on its folder.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = _beside(path, _SUFFIX)
    temporary.mkdir()
    lock = os.open(temporary, os.O_RDONLY)
    try:
        take(lock, temporary, wait=True)
        modes = _file_mode(temporary), S_IMODE(temporary.stat().st_mode)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if not file.is_symlink():
                _set_mode(file, modes[file.is_dir()])
            _sync(file)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def share(path: Path) -> None:
    """Give a file that a library wrote for its owner alone the mode that new files have."""
    _set_mode(path, _file_mode(path.parent))


def _beside(path: Path, suffix: str) -> Path:
    """A free temporary name in the same folder."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}{suffix}"


def _touch(path: Path) -> int:
    """Make an empty file, and return the mode that it got: a umask can only be read by setting it, for all threads."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _file_mode(folder: Path) -> int:
    """The mode of new files in a folder."""
    probe = _beside(folder / "mode", ".tmp")
    try:
        return _touch(probe)
    finally:
        probe.unlink(missing_ok=True)


def _set_mode(path: Path, mode: int) -> None:
    if S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for left in path.parent.iterdir():
        if not (left.name.startswith(f".{path.name}.") and left.name.endswith(_SUFFIX) and left.is_dir()):
            continue
        with suppress(OSError):  # another process may be removing it
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


_WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What flock says on file systems without locks: NFS whose lock service cannot be reached, Lustre mounted without them."""


def take(handle: int, path: Path, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file until it is closed.

    Args:
        handle: of the file. Open it for writing, unless the lock is shared: NFS demands that.
        path: its name, for the message.
        wait: until it is free.
        shared: with others who share it.

    Returns:
        Whether it is locked now; ``False`` where another process holds it.

    Raises:
        InputError: the file system has no locks.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT:
            raise
        raise InputError(
            f"{path}: file locks do not work on this disk ({error.strerror}), and without them two processes would do the same "
            "work; have it mounted with locks (NFS without nolock, Lustre with flock), or use a folder on another disk"
        ) from error
    return True


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Wait for a lock file, which is made if need be, and hold it.

    Raises:
        InputError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        take(handle, path, wait=True)
        yield
    finally:
        os.close(handle)


@contextmanager
def attempted(path: Path) -> Iterator[bool]:
    """Hold a lock file, which is made if need be; gives False where another process holds it.

    Raises:
        InputError: the file system has no locks.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield take(handle, path)
    finally:
        os.close(handle)
