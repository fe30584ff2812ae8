"""How messages travel: as lines of JSON through a pipe, or through a file in the study's folder, which all machines see."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tvt.core.events import AttemptEvent, End, PhaseProgress, event_json, event_of
from tvt.errors import InputError, MissingPackageError, TvtError

ERRORS: dict[str, type[TvtError]] = {"InputError": InputError, "MissingPackageError": MissingPackageError}
"""The errors that stop a whole study, by the name that a message has for them."""
_PROGRESS_SECONDS = 0.1
"""Progress is written no more often than that."""


class EventWriter:
    """Writes messages to an open file or pipe, each in one write."""

    def __init__(self, handle: int) -> None:
        self._handle, self._last = handle, 0.0

    def __call__(self, event: AttemptEvent) -> None:
        if isinstance(event, PhaseProgress):
            now = time.monotonic()
            if now - self._last < _PROGRESS_SECONDS and 0 < event.done < event.total:
                return
            self._last = now
        os.write(self._handle, (json.dumps(event_json(event)) + "\n").encode())


@contextmanager
def writing_to(path: Path) -> Iterator[EventWriter]:
    """A writer that appends to a file of one attempt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if os.fstat(handle).st_size:  # a requeued attempt: the one before may have been killed in mid-line
            os.write(handle, b"\n")
        yield EventWriter(handle)
    finally:
        os.close(handle)


def read_events(lines: Iterable[bytes]) -> Iterator[AttemptEvent]:
    """The messages of some lines; those that a kill cut off are left out."""
    for line in lines:
        with suppress(ValueError):
            yield event_of(json.loads(line))


class EventFile:
    """Reads a file of messages as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = False
        """Whether the attempt's end was read."""
        self._read = 0
        self._rest = b""

    def poll(self) -> list[AttemptEvent]:
        """The messages since the last call; none after the end."""
        if self.ended:
            return []
        with suppress(FileNotFoundError), self.path.open("rb") as stream:
            stream.seek(self._read)
            self._rest += stream.read()
            self._read = stream.tell()
        *lines, self._rest = self._rest.split(b"\n")
        events: list[AttemptEvent] = []
        for event in read_events(lines):
            events.append(event)
            if isinstance(event, End):
                self.ended = True
                break
        return events
