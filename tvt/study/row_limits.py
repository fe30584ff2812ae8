"""The rows of a study against its model's limits, before anything is trained: a row must not end a study after hours.

What was found free of faults is remembered by the digest of its content, so that a study which goes on asks nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice

from tvt.core.question import Question
from tvt.data.task_questions import read
from tvt.data.tasks import MINIATURE, QuestionData
from tvt.errors import InputError
from tvt.evaluate.asked import asked_rows
from tvt.evaluate.prompts import read_profile
from tvt.io.seen import recall, remember
from tvt.model.limits import LIMITS_VERSION, ModelLimits, ShownRow, load_limits
from tvt.study.jobs import Job
from tvt.study.plan import Study

_DRAWN = 50
"""Rows of the miniature that are looked at: all of a task are drawn alike."""


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
        checked.add(study.training[task], trained_rows(_read(data, task)))
    for (task, part), data in job.questions.items():
        questions = islice(_read(data, task), limit)
        checked.add(study.questions[task, part], asked_rows(task, questions, profile))
    if checked.faults:
        raise InputError(*checked.faults)


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

    def add(self, digest: str, rows: Iterable[ShownRow]) -> None:
        """Check rows whose content has a digest, and note their faults."""
        about = {"limits": LIMITS_VERSION, "model": self._known, "pixels": self._model.max_pixels, "rows": digest}
        if self._known and recall(about) is not None:
            return
        limits = self._limits
        try:
            limits.check(rows)
        except InputError as error:
            self.faults += error.faults
        else:
            if self._known:
                remember(about, "no faults")
