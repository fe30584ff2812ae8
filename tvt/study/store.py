"""Runs on disk: one folder each, named by what decides its results; records are written last, and wholly or not at all.

    STUDY/runs/ID/spec.json     what the run is, written when it is begun
                 /adapter/      and training.json, from training
                 /scores.json   its cells so far
                 /failure.json  why it cannot be done, if so
                 /.claim        locked by the process that is at it
                 /.queued       names the job of an engine such as Slurm, from when it is submitted until it ends
    STUDY/answers/              every answer, question by question

Several processes, also on several machines with a shared disk, may work on one folder: a claim is a lock that the system takes
away when its process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvt.core.answer_statistics import AnswerStatistics
from tvt.core.scores import Part, Run, Tally
from tvt.errors import InputError
from tvt.io import atomic
from tvt.io.atomic import attempted, take
from tvt.train.record import RECORD as TRAINING
from tvt.train.record import TrainingRecord, load_training_record

RECIPE = "recipe.yaml"
RUN, SCORES, FAILURE, CLAIM = "spec.json", "scores.json", "failure.json", ".claim"
SCHEMA = 1
Status = Literal["done", "failed", "running", "queued", "begun", "missing"]
Turn = Literal["mine", "held", "over"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A run's score on one target."""

    key: str
    """Digest of the questions and of how they were asked."""
    correct: Tally
    """Sum of credits; an integer where answers are right or wrong."""
    total: int
    both_correct: Tally | None
    unparsed: int
    collapsed: str | None
    answers: str
    """Folder of the answers below ``answers/``."""
    choices: int | None = None
    """Questions with options. It and what follows is ``None`` in records of version 0.1.0, which lack it."""
    letter: str | None = None
    letter_share: float | None = None
    letter_right: float | None = None
    letter_mass: float | None = None

    @property
    def statistics(self) -> AnswerStatistics | None:
        """How the answers are spread, where the record says so."""
        if self.choices is None:
            return None
        return AnswerStatistics(
            questions=self.total,
            choices=self.choices,
            unread=self.unparsed,
            letter=self.letter,
            letter_share=self.letter_share,
            letter_right=self.letter_right,
            letter_mass=self.letter_mass,
        )

    def same_score(self, other: Cell) -> bool:
        """Whether both say the same of the same answers; what they are paired with is another run's affair."""
        names = ("key", "correct", "total", "unparsed", "answers")
        return all(getattr(self, name) == getattr(other, name) for name in names)


Cells = dict[tuple[str, Part], Cell]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What is known of a run's work so far."""

    cells: Cells
    scoring_seconds: float
    """Of scoring; in records without ``load_seconds``, of loading the model for it as well."""
    questions: int
    """Questions really asked in that time."""
    load_seconds: float | None = 0.0
    """What the run took beside training steps and scoring: rows mixed, processes started, models loaded, the adapter saved.

    ``None`` in records of version 0.1.0, which do not tell it.
    """


class Store:
    """The runs of a study folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = folder / "answers"

    def run_folder(self, run_id: str) -> Path:
        """Where a run lives."""
        return self.folder / "runs" / run_id

    @contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Hold a run; gives False where another process holds it."""
        folder = self.run_folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        with attempted(folder / CLAIM) as free:
            yield free

    @contextmanager
    def turn(self, run_id: str, keys: Mapping[tuple[str, Part], str]) -> Iterator[Turn]:
        """Hold a run that is still to be done, and look again: it may have been done since it was looked at.

        Gives *mine*, *held* (by another process), or *over*: done or failed, so that nothing is to do.
        """
        with self.claim(run_id) as free:
            if not free:
                yield "held"
            else:
                yield "over" if self.status(run_id, keys) in ("done", "failed") else "mine"

    def begin(self, run_id: str, run: Run, identity: Mapping[str, Any]) -> None:
        """Say what the run is; call it while the run is held."""
        path = self.run_folder(run_id) / RUN
        if not path.is_file():
            atomic.write_text(path, _json({"schema": SCHEMA, **run.plain(), "identity": dict(identity)}))

    def save(self, run_id: str, finished: Finished) -> None:
        """Write a run's cells."""
        cells = [{"target": target, "part": part, **vars(cell)} for (target, part), cell in finished.cells.items()]
        told = {"cells": cells, "scoring_seconds": round(finished.scoring_seconds, 3), "questions": finished.questions}
        if finished.load_seconds is not None:
            told["load_seconds"] = round(finished.load_seconds, 3)
        atomic.write_text(self.run_folder(run_id) / SCORES, _json({"schema": SCHEMA, **told}))

    def fail(self, run_id: str, reason: str) -> None:
        """Record that a run cannot be done."""
        told = {"schema": SCHEMA, "reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        atomic.write_text(self.run_folder(run_id) / FAILURE, _json(told))

    def forgive(self, run_id: str) -> None:
        """Forget a failure, so that the run is tried again."""
        (self.run_folder(run_id) / FAILURE).unlink(missing_ok=True)

    def failure(self, run_id: str) -> str | None:
        """Why a run failed."""
        told = self._read(run_id, FAILURE)
        return None if told is None else str(told["reason"])

    def finished(self, run_id: str) -> Finished:
        """The cells of a run; none where there is no record."""
        told = self._read(run_id, SCORES) or {"cells": [], "scoring_seconds": 0.0, "questions": 0, "load_seconds": 0.0}
        cells: Cells = {}
        for entry in told["cells"]:
            target, part = entry.pop("target"), entry.pop("part")
            cells[target, part] = Cell(**entry)
        return Finished(
            cells=cells,
            scoring_seconds=told["scoring_seconds"],
            questions=told["questions"],
            load_seconds=told.get("load_seconds"),
        )

    def training(self, run_id: str) -> TrainingRecord | None:
        """The record of a trained run. The adapter is not looked at; whoever uses it checks it."""
        folder = self.run_folder(run_id)
        return load_training_record(folder) if (folder / TRAINING).is_file() else None

    def status(self, run_id: str, keys: Mapping[tuple[str, Part], str]) -> Status:
        """How far a run is that shall have the cells ``keys``, (target, part) -> key.

        A failed run stays failed, also when it is asked for more cells: what stopped it would stop it again. The cells that it
        had before count.
        """
        folder = self.run_folder(run_id)
        cells = self.finished(run_id).cells
        if all(where in cells and cells[where].key == key for where, key in keys.items()):
            return "done"
        if (folder / FAILURE).is_file():
            return "failed"
        begun = (folder / RUN).is_file()
        if begun and self.held(run_id):
            return "running"
        if (folder / MARKER).is_file():
            return "queued"
        return "begun" if begun else "missing"

    def known(self) -> dict[str, dict[str, Any]]:
        """Every run that was ever begun here: its id and what ``spec.json`` says."""
        found = {}
        for path in sorted((self.folder / "runs").glob(f"*/{RUN}")):
            told = self.spec(path.parent.name)
            if told is not None:
                found[path.parent.name] = told
        return found

    def spec(self, run_id: str) -> dict[str, Any] | None:
        """What ``spec.json`` says of a run, where it was ever begun."""
        return self._read(run_id, RUN)

    def held(self, run_id: str) -> bool:
        """Whether a process is at it. Looking must not take the claim, nor write: the folder may be somebody else's."""
        path = self.run_folder(run_id) / CLAIM
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not take(handle, path, shared=True)
        finally:
            os.close(handle)

    def _read(self, run_id: str, name: str) -> dict[str, Any] | None:
        path = self.run_folder(run_id) / name
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: damaged; delete this file, and what it says is measured again") from error
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            raise InputError(f"{path}: written by another version of tvt; use that one, or start another study folder")
        return told


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


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
