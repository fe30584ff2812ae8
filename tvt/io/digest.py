"""Digests of files and of plain values, and what was learnt from files, remembered as long as the files do not change.

A file has not changed where its size, its time of change and its inode are the same. It is remembered in tvt's cache folder;
nothing is lost when that is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tvt.io import atomic


def of_value(value: Any) -> str:
    """sha256 of a JSON-able value, independent of the order of mapping keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


State = list[Any]
"""Name, size, time of change and inode of a file."""


def states(files: Iterable[Path]) -> list[State]:
    """The state of each file; its name is absolute.

    Raises:
        OSError: a file is not there.
    """
    value = [(path.resolve(), path.stat()) for path in files]
    return [[str(path), state.st_size, state.st_mtime_ns, state.st_ino] for path, state in value]


def recall(about: Mapping[str, Any]) -> str | None:
    """What was remembered about plain values, among them the states of all files that it rests on."""
    try:
        return _place(about).read_text(encoding="utf-8")
    except OSError:
        return None


def remember(about: Mapping[str, Any], text: str) -> None:
    """Remember a text; where the cache cannot be written, nothing is."""
    try:
        atomic.write_text(_place(about), text)
    except OSError:
        return


def _place(about: Mapping[str, Any]) -> Path:
    return cache_folder() / "seen" / of_value(dict(about))[:32]


VARIABLE = "TVT_CACHE"


def cache_folder() -> Path:
    """``$TVT_CACHE``, or else ``tvt`` in the platform's folder of caches (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tvt"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "tvt"
