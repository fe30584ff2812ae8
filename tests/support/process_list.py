"""Processes of this machine, as /proc lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def of_group(group: int) -> list[int]:
    """The processes of a process group."""
    return sorted(pid for pid, fields in _states() if int(fields[2]) == group)


def of_session(session: int) -> list[int]:
    """The processes of a session."""
    return sorted(pid for pid, fields in _states() if int(fields[3]) == session)


def naming(text: str) -> list[str]:
    """The commands of processes that name something, such as a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def _states() -> Iterator[tuple[int, list[str]]]:
    """Every process but those that ended and wait for their parent, with its fields behind the name."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(path.parent.name), fields
