"""Remove what killed processes left behind. Whoever still writes holds a lock; where one is held, nothing is touched."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tvt.io.lock import attempted
from tvt.study.queued import all_marked
from tvt.study.store import CLAIM

KEPT_LOGS = 40
_LEFT = (".*.tmp", ".*.unfinished")
_JOB_FILES = ("*.events", "*.out", "*.pkl", "*.sh")
"""What jobs of Slurm leave; the names of the files that such a job is started from begin with its number."""


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
    _keep_newest(logs.glob("worker-*.log"))
    queued = all_marked(study).values()
    needed = {Path(told.events).name for told in queued} | {told.job.partition("_")[0] for told in queued}
    for kind in _JOB_FILES:
        _keep_newest(path for path in (logs / "slurm").glob(kind) if not {path.name, path.name.partition("_")[0]} & needed)


def _keep_newest(paths: Iterable[Path]) -> None:
    for path in sorted(paths, key=lambda path: path.lstat().st_mtime, reverse=True)[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def _remove(folder: Path, pattern: str) -> None:
    for left in folder.glob(pattern):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
