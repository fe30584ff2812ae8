"""What the processes of a study are given and what they send: the runs to do with all that they need, checked against the
limits of the model; and events, which are written line by line into a pipe or a file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from tvt.core.events import AttemptEvent, End, PhaseProgress, event_json, event_of
from tvt.core.question import Question
from tvt.core.recipe import Recipe
from tvt.core.scores import Part, Run
from tvt.data.controls import Control, asked
from tvt.data.task_questions import locate, pinned, read
from tvt.data.tasks import MINIATURE, QuestionData
from tvt.errors import InputError, MissingPackageError, TvtError
from tvt.evaluate.asking import question_rows
from tvt.evaluate.prompts import read_profile
from tvt.io import json_text
from tvt.io.digest import recall, remember
from tvt.model.limits import LIMITS_VERSION, ModelLimits, ShownRow, load_limits
from tvt.study.plan import Study

Where = tuple[str, Part]


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """One run to do: train it unless that is done, and score the cells that are missing."""

    run_id: str
    run: Run
    identity: Mapping[str, Any]
    keys: Mapping[Where, str]
    """The cells that it must have, with the digest of their questions."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know."""

    recipe: Recipe
    folder: Path
    tasks: tuple[RunTask, ...]
    rows: Mapping[str, QuestionData]
    """Each source's training rows."""
    questions: Mapping[Where, QuestionData]

    def only(self, task: RunTask) -> Job:
        """The job of one run alone."""
        return replace(
            self,
            tasks=(task,),
            rows={source: self.rows[source] for source, count in task.run.counts.items() if count},
            questions={where: self.questions[where] for where in task.keys},
        )

    def dump(self) -> str:
        """As a line of JSON, for another process."""
        tasks = [
            {"run_id": t.run_id, "run": t.run.plain(), "identity": dict(t.identity), "keys": _pairs(t.keys)} for t in self.tasks
        ]
        return json.dumps(
            {
                "recipe": self.recipe.model_dump(mode="json"),
                "folder": str(self.folder),
                "tasks": tasks,
                "rows": {name: data.model_dump() for name, data in self.rows.items()},
                "questions": [[*where, data.model_dump()] for where, data in self.questions.items()],
            }
        )

    @classmethod
    def load(cls, text: str) -> Job:
        """The inverse of :meth:`dump`."""
        record = json_text.loads(text)
        return cls(
            recipe=Recipe.model_validate(record["recipe"]),
            folder=Path(record["folder"]),
            tasks=tuple(
                RunTask(
                    run_id=task["run_id"],
                    run=Run(**task["run"]),
                    identity=task["identity"],
                    keys={(target, part): key for target, part, key in task["keys"]},
                )
                for task in record["tasks"]
            ),
            rows={name: QuestionData.model_validate(data) for name, data in record["rows"].items()},
            questions={(target, part): QuestionData.model_validate(data) for target, part, data in record["questions"]},
        )


def _pairs(keys: Mapping[Where, str]) -> list[list[str]]:
    return [[target, part, key] for (target, part), key in keys.items()]


def make_task(study: Study, run: Run, cells: Sequence[Where]) -> RunTask:
    """A run with the cells that it must have."""
    keys = {where: study.questions[where] for where in cells}
    return RunTask(run_id=study.run_id(run), run=run, identity=study.identity(run), keys=keys)


def make_job(study: Study, folder: Path, tasks: Sequence[RunTask]) -> Job:
    """All that workers need for ``tasks``."""
    sources = {source for task in tasks for source in task.run.counts}
    parts = {where for task in tasks for where in task.keys}
    return Job(
        recipe=study.recipe,
        folder=folder.absolute(),
        tasks=tuple(tasks),
        rows={name: _pinned(study.sources[name].training) for name in sorted(sources)},
        questions={(t, p): _pinned(locate(study.targets[t], p)) for t, p in sorted(parts)},
    )


def _pinned(data: QuestionData | None) -> QuestionData:
    assert data is not None  # noqa: S101 - loading the study found it there
    return pinned(data)


_DRAWN = 50
"""Rows of the miniature that are checked: all of a task are drawn alike."""


def check_job(study: Study, job: Job) -> None:
    """Hold all rows that a job trains on, and all questions that it asks, against the model's limits.

    Raises:
        InputError: rows that the model cannot take, each with its task and id; the first of them and the number of the others.
        MissingPackageError: the train extra is not installed.
    """
    checked = _Checked(study)
    profile = read_profile(study.recipe.evaluation.prompt)
    limit = study.recipe.evaluation.questions
    for task, data in job.rows.items():
        checked.add(study.training[task], trained_rows(_read(data, task)), study.recipe.training.max_length)
    if kinds := {task.run.placebo for task in job.tasks if task.run.placebo is not None}:
        prompts = {task: asked(_read(data, task)) for task, data in job.rows.items()}
        for kind in kinds:
            _check_placebo(checked, study, job, Control(kind=kind, prompts=prompts))
    for (task, part), data in job.questions.items():
        if data.harness is not None:  # lmms-eval reads them, in its own process
            continue
        questions = islice(_read(data, task), limit)
        checked.add(study.questions[task, part], question_rows(task, questions, profile))
    if checked.faults:
        raise InputError(*checked.faults)


def _check_placebo(checked: _Checked, study: Study, job: Job, control: Control) -> None:
    """Hold a placebo's rows against the limits where their prompts are others than in their own source."""
    if control.kind == "shuffled":
        return
    run = study.placebo_run(control.kind, seed=0)
    for task, item in study.identity(run)["data"].items():
        rows = map(partial(control.question, task), _read(job.rows[task], task))
        checked.add(item, trained_rows(rows), study.recipe.training.max_length)


def trained_rows(questions: Iterable[Question]) -> Iterator[ShownRow]:
    """What training shows of questions."""
    for q in questions:
        yield ShownRow(name=f"{q.task}, row {q.id}", texts=(q.prompt,), answers=(q.answer,), images=q.images)


def _read(data: QuestionData, task: str) -> Iterator[Question]:
    questions = read(data, task)
    return islice(questions, _DRAWN) if data.dataset == MINIATURE else questions


class _Checked:
    """Checks one set of rows after the other, and loads the processor when the first is unknown."""

    def __init__(self, study: Study) -> None:
        self._model = study.recipe.model
        self._known = study.base or (self._model.revision and [self._model.model_name_or_path, self._model.revision])
        self.faults: list[str] = []

    @cached_property
    def _limits(self) -> ModelLimits:
        return load_limits(self._model)

    def add(self, digest: str, rows: Iterable[ShownRow], max_length: int | None = None) -> None:
        """Check rows whose content has a digest, and note their faults; ``max_length`` is of rows that are trained on."""
        about: dict[str, Any] = {
            "limits": LIMITS_VERSION,
            "model": self._known,
            "pixels": self._model.max_pixels,
            "rows": digest,
        }
        further = {"least": self._model.min_pixels, "length": max_length}
        about |= {name: value for name, value in further.items() if value is not None}
        if self._known and recall(about) is not None:
            return
        limits = self._limits
        try:
            limits.check(rows, max_length=max_length)
        except InputError as error:
            self.faults += error.faults
        else:
            if self._known:
                remember(about, "no faults")


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
            yield event_of(json_text.loads(line))


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
