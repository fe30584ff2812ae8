"""One process at a time: locks on files, which the system takes away when their process dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tvt.errors import InputError

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
