"""Runs that an engine has taken and that may still wait in its queue: a marker in the run's folder names the engine's job."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
    """The file of the attempt's events, below ``logs``."""


def mark(run_folder: Path, queued: Queued) -> None:
    """Say that a run is in a queue."""
    run_folder.mkdir(parents=True, exist_ok=True)
    # Not by way of a temporary file: whoever gets hold of the run meanwhile removes those. Half a marker is as good as none.
    (run_folder / MARKER).write_text(json.dumps(vars(queued)) + "\n", encoding="utf-8")


def marked(run_folder: Path) -> Queued | None:
    """What its marker says, if a run has one that can be read."""
    with suppress(OSError, ValueError, TypeError):
        return Queued(**json.loads((run_folder / MARKER).read_text(encoding="utf-8")))
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
