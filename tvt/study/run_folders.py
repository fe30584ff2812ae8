"""The folders of a study's runs: how they are named and found, which runs are queued, and what killed processes leave.

A folder is named after its run and the beginning of the run's id, as in ``Jigsaw-seed0-02dc54``; version 0.1.0 named it after
the id alone. The name is for people: what counts is the id that stands in the folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tvt.core.scores import Run
from tvt.io import digest, json_text
from tvt.io.atomic import attempted, exclusively

RUN, CLAIM, ID = "spec.json", ".claim", ".id"
ID_LENGTH = 20
"""Characters of a digest that are a run's id."""
_SHORTEST = 6
"""Characters of an id in a folder's name, unless another folder's name ends in the same."""
_LONGEST_LABEL = 80
"""Bytes."""
_OLD_NAME = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


def run_id_of(identity: object) -> str:
    """The id of the run that an identity describes."""
    return digest.of_value(identity)[:ID_LENGTH]


def run_name(run: Run) -> str:
    """What a run is called in its folder's name, e.g. ``Jigsaw-seed0``, ``Jigsaw-at-0.25-seed0`` or ``base``."""
    if run.is_base:
        return "base"
    label = re.sub(r"[^\w.+-]+", "-", run.label.removesuffix(" of the budget"))
    label = label.encode()[:_LONGEST_LABEL].decode(errors="ignore").strip(".-")
    return f"{label or 'mixture'}-seed{run.seed}"


class RunFolders:
    """Finds the folders of runs by their ids, and makes new ones."""

    def __init__(self, study: Path) -> None:
        self._study, self._parent = study, study / "runs"
        self._ids: dict[str, str] = {}
        """The id of each folder that was looked into, by its name."""
        self._names: dict[str, str] = {}
        """The inverse; of two folders of one run, the first."""

    def find(self, run_id: str) -> Path | None:
        """The folder of a run."""
        for name in (self._names.get(run_id), run_id):
            if name is not None and (self._parent / name).is_dir():
                return self._parent / name
        self._look()
        name = self._names.get(run_id)
        return self._parent / name if name is not None and (self._parent / name).is_dir() else None

    def all(self) -> dict[str, Path]:
        """Every run that has a folder, with it; of two folders of one run, the first by name."""
        listed = self._look()
        return {run_id: self._parent / name for run_id, name in sorted(self._names.items()) if name in listed}

    def _look(self) -> set[str]:
        """The names of all folders; those that are new are looked into."""
        try:
            with os.scandir(self._parent) as entries:
                listed = {entry.name for entry in entries if entry.name in self._ids or entry.is_dir()}
        except FileNotFoundError:
            listed = set()
        for name in sorted(listed - self._ids.keys()):
            if (run_id := _recorded_id(self._parent / name)) is not None:
                self._ids[name] = run_id
        if gone := self._ids.keys() - listed:
            self._ids = {name: run_id for name, run_id in self._ids.items() if name not in gone}
        if gone or len(self._names) != len(self._ids):
            self._names = {run_id: name for name, run_id in sorted(self._ids.items(), reverse=True)}
        return listed

    def make(self, run_id: str, run: Run) -> Path:
        """The folder of a run, which is made unless there is one."""
        if (folder := self.find(run_id)) is not None:
            return folder
        with exclusively(self._study / ".runs"):
            if (folder := self.find(run_id)) is not None:
                return folder
            folder = self._parent / self._free_name(run_id, run)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ID).write_text(f"{run_id}\n", encoding="utf-8")
            return folder

    def _free_name(self, run_id: str, run: Run) -> str:
        # A folder without anything in it was being made when its process was killed.
        taken = {name.casefold().rpartition("-")[2] for name in self._look() if any((self._parent / name).iterdir())}
        length = next((n for n in range(_SHORTEST, len(run_id)) if run_id[:n] not in taken), len(run_id))
        return f"{run_name(run)}-{run_id[:length]}"


def _recorded_id(folder: Path) -> str | None:
    """The id of the run that a folder is for; ``None`` where it says nothing yet."""
    if _OLD_NAME.fullmatch(folder.name):
        return folder.name
    with suppress(OSError, ValueError):
        text = (folder / ID).read_text(encoding="utf-8")
        if text.endswith("\n"):  # else its process was killed while it wrote
            return text.strip()
    try:
        return run_id_of(json_text.loads((folder / RUN).read_text(encoding="utf-8"))["identity"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name  # a damaged record, which is reported when it is opened


MARKER = ".queued"


@dataclass(frozen=True, kw_only=True)
class Queued:
    """Where a run waits, or is at work."""

    executor: str
    cluster: str
    """Whose job numbers these are."""
    job: str
    """The engine's name of the job, e.g. ``12_3``."""
    events: str
    """The file of the attempt's messages, below ``logs``."""


def mark(run_folder: Path, queued: Queued) -> None:
    """Say that a run is in a queue."""
    # Not through a temporary file: a process that takes the run meanwhile removes those. Half a marker counts as none.
    (run_folder / MARKER).write_text(json.dumps(vars(queued)) + "\n", encoding="utf-8")


def marked(run_folder: Path) -> Queued | None:
    """What the marker of a run says, if it has one that can be read."""
    with suppress(OSError, ValueError, TypeError):
        return Queued(**json_text.loads((run_folder / MARKER).read_text(encoding="utf-8")))
    return None


def all_marked(study: Path) -> dict[Path, Queued]:
    """The run folders of a study that have a marker, with what it says."""
    folders = (path.parent for path in sorted((study / "runs").glob(f"*/{MARKER}")))
    return {folder: queued for folder in folders if (queued := marked(folder)) is not None}


def unmark(run_folder: Path, job: str) -> None:
    """Remove the marker of a job that is over; not of one that came after it, nor from a folder of somebody else's."""
    queued = marked(run_folder)
    if queued is not None and queued.job == job:
        with suppress(OSError):
            (run_folder / MARKER).unlink()


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
    needed = {Path(run.events).name for run in queued} | {run.job.partition("_")[0] for run in queued}
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
