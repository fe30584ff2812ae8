"""Remove what killed processes left behind. Whoever still writes holds a lock; where one is held, nothing is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

from tvt.io.lock import attempted
from tvt.study.store import CLAIM

KEPT_LOGS = 40
_LEFT = (".*.tmp", ".*.unfinished")


def clear(folder: Path) -> None:
    """Remove unfinished files and folders from a folder of which the caller holds the lock."""
    for pattern in _LEFT:
        _remove(folder, pattern)


def tidy(study: Path) -> None:
    """Remove unfinished files and folders of processes that are gone, and the oldest logs."""
    for lock in (study / ".views", study / "data" / ".lock", *study.glob("answers/*/.lock"), *study.glob(f"runs/*/{CLAIM}")):
        if lock.exists():
            with attempted(lock) as free:
                if free:
                    clear(lock.parent)
    logs = study / "logs"
    _remove(logs, ".*.tmp")
    by_age = sorted(logs.glob("worker-*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def _remove(folder: Path, pattern: str) -> None:
    for left in folder.glob(pattern):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
