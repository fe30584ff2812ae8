"""Events of attempts elsewhere: each attempt appends lines to a file of its own in the study's folder, which both sides see."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tvt.errors import InputError, MissingPackageError, TvtError

ERRORS: dict[str, type[TvtError]] = {"InputError": InputError, "MissingPackageError": MissingPackageError}
ENDS = frozenset({"done", "failed", "nothing", "held", "error", "defect", "died"})
"""The kinds of event that end an attempt."""


class Teller:
    """Writes events as lines of JSON to an open file or pipe; progress at most ten times a second."""

    def __init__(self, handle: int) -> None:
        self._handle, self._last = handle, 0.0

    def __call__(self, kind: str, **what: Any) -> None:
        if kind == "progress":
            now = time.monotonic()
            if now - self._last < 0.1 and 0 < what["done"] < what["total"]:
                return
            self._last = now
        os.write(self._handle, (json.dumps({"kind": kind, **what}) + "\n").encode())


@contextmanager
def telling(path: Path) -> Iterator[Teller]:
    """What an attempt tells by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if os.fstat(handle).st_size:  # a requeued attempt: the one before may have been killed in mid-line
            os.write(handle, b"\n")
        yield Teller(handle)
    finally:
        os.close(handle)


class EventFile:
    """Reads what an attempt told since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = False
        """Whether an end was told."""
        self._read = 0
        self._rest = b""

    def news(self) -> list[dict[str, Any]]:
        """New events; none after the end."""
        if self.ended:
            return []
        with suppress(FileNotFoundError), self.path.open("rb") as stream:
            stream.seek(self._read)
            self._rest += stream.read()
            self._read = stream.tell()
        *lines, self._rest = self._rest.split(b"\n")
        found: list[dict[str, Any]] = []
        for line in lines:
            with suppress(ValueError):  # cut off by a kill, before the next one went on in the same file
                found.append(json.loads(line))
                if found[-1]["kind"] in ENDS:
                    self.ended = True
                    break
        return found
