"""The records of runs: in one folder each, written last, and wholly or not at all.

    STUDY/runs/NAME/.id           the run's id, by which it is found
                   /spec.json     what the run is, written when it is begun
                   /adapter/      and training.json, from training
                   /scores.json   its cells so far
                   /failure.json  why it cannot be done, if so
                   /.claim        locked by the process that does the run
                   /.queued       names the job of an engine such as Slurm, from when it is submitted until it ends
    STUDY/answers/                every answer, question by question

Several processes, also on several machines with a shared disk, may work on one folder: a claim is a lock that the system takes
away when its process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvt.core.answer_statistics import AnswerStatistics
from tvt.core.scores import Part, Run, Tally
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io import atomic, digest, json_text
from tvt.io.atomic import attempted, take
from tvt.study.run_folders import CLAIM, MARKER, RUN, RunFolders
from tvt.train.record import RECORD as TRAINING
from tvt.train.record import TrainingRecord, load_training_record

RECIPE = "recipe.yaml"
SCORES, FAILURE = "scores.json", "failure.json"
SCHEMA = 1
Status = Literal["done", "failed", "running", "queued", "begun", "missing"]
Turn = Literal["mine", "held", "over"]
_AGAIN = "delete this file, and what it says is measured again"


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
class RunRecord:
    """What a run is: ``spec.json``."""

    run: Run
    identity: Mapping[str, Any]
    """What decides its results, as plain values; its digest is the run's id."""


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

    ``None`` in records of version 0.1.0, which do not have it.
    """


class Store:
    """The runs of a study folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = folder / "answers"
        self.folders = RunFolders(folder)

    def run_folder(self, run_id: str) -> Path:
        """Where a run's records are, or, before it was ever begun, a folder that is not there."""
        return self.folders.find(run_id) or self.folder / "runs" / run_id

    @contextmanager
    def claim(self, run_id: str, run: Run) -> Iterator[bool]:
        """Hold a run; gives False where another process holds it."""
        with attempted(self.folders.make(run_id, run) / CLAIM) as free:
            yield free

    @contextmanager
    def turn(self, run_id: str, run: Run, keys: Mapping[tuple[str, Part], str]) -> Iterator[Turn]:
        """Hold a run that is still to be done, and look again: it may have been done since it was looked at.

        Gives *mine*, *held* (by another process), or *over*: done or failed, so that nothing is to do.
        """
        with self.claim(run_id, run) as free:
            if not free:
                yield "held"
            else:
                yield "over" if self.status(run_id, keys) in ("done", "failed") else "mine"

    def begin(self, run_id: str, run: Run, identity: Mapping[str, Any]) -> None:
        """Say what the run is; call it while the run is held."""
        path = self.folders.make(run_id, run) / RUN
        if not path.is_file():
            record = {"schema": SCHEMA, **run.plain(), "digest": digest.of_value(dict(identity)), "identity": dict(identity)}
            atomic.write_text(path, _json(record))

    def save(self, run_id: str, finished: Finished) -> None:
        """Write a run's cells."""
        cells = [{"target": target, "part": part, **vars(cell)} for (target, part), cell in finished.cells.items()]
        record = {"cells": cells, "scoring_seconds": round(finished.scoring_seconds, 3), "questions": finished.questions}
        if finished.load_seconds is not None:
            record["load_seconds"] = round(finished.load_seconds, 3)
        atomic.write_text(self.run_folder(run_id) / SCORES, _json({"schema": SCHEMA, **record}))

    def fail(self, run_id: str, reason: str) -> None:
        """Record that a run cannot be done."""
        record = {"schema": SCHEMA, "reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        atomic.write_text(self.run_folder(run_id) / FAILURE, _json(record))

    def forgive(self, run_id: str) -> None:
        """Forget a failure, so that the run is tried again."""
        (self.run_folder(run_id) / FAILURE).unlink(missing_ok=True)

    def failure(self, run_id: str) -> str | None:
        """Why a run failed."""
        record = self._read(run_id, FAILURE)
        return None if record is None else str(record["reason"])

    def finished(self, run_id: str) -> Finished:
        """The cells of a run; none where there is no record."""
        record = self._read(run_id, SCORES) or {"cells": [], "scoring_seconds": 0.0, "questions": 0, "load_seconds": 0.0}
        cells: Cells = {}
        for entry in record["cells"]:
            target, part = entry.pop("target"), entry.pop("part")
            cells[target, part] = Cell(**entry)
        return Finished(
            cells=cells,
            scoring_seconds=record["scoring_seconds"],
            questions=record["questions"],
            load_seconds=record.get("load_seconds"),
        )

    def training(self, run_id: str) -> TrainingRecord | None:
        """The record of a trained run. The adapter is not checked here."""
        folder = self.run_folder(run_id)
        return load_training_record(folder) if (folder / TRAINING).is_file() else None

    def status(self, run_id: str, keys: Mapping[tuple[str, Part], str]) -> Status:
        """How far a run is that shall have the cells ``keys``, (target, part) -> key.

        A failed run stays failed, also when it is to have more cells: what stopped it would stop it again. The cells that it
        had before count.
        """
        folder = self.folders.find(run_id)
        if folder is None:
            return "missing"
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

    def of_adapter(self, cells: Cells, digest: str | None) -> Cells:
        """The cells that rest on the answers of an adapter with this digest, as far as these answers are there."""
        adapters: dict[str, Any] = {}
        for key in {cell.answers for cell in cells.values()}:
            with suppress(InputError):
                adapters[key] = AnswerStore.reopen(self.answers / key).identity.get("adapter")
        return {where: cell for where, cell in cells.items() if adapters.get(cell.answers, "") == digest}

    def known(self) -> dict[str, RunRecord]:
        """Every run that was ever begun here, by its id."""
        specs = ((run_id, self.spec(run_id)) for run_id in self.folders.all())
        return {run_id: spec for run_id, spec in specs if spec is not None}

    def spec(self, run_id: str) -> RunRecord | None:
        """What ``spec.json`` says of a run, where it was ever begun."""
        record = self._read(run_id, RUN)
        if record is None:
            return None
        try:
            run = Run(
                label=str(record["label"]),
                counts=dict(record["counts"]),
                seed=int(record["seed"]),
                placebo=record.get("placebo"),
            )
            return RunRecord(run=run, identity=dict(record["identity"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.run_folder(run_id) / RUN}: damaged; {_AGAIN}") from error

    def held(self, run_id: str) -> bool:
        """Whether a process does the run. Looking must not take the claim, nor write: the folder may be another user's."""
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
            record = json_text.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: damaged; {_AGAIN}") from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise InputError(f"{path}: written by another version of tvt; use that one, or start another study folder")
        return record


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
