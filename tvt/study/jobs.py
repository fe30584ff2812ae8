"""What the processes of a study are told: the runs to do and everything that they need for it, as one file of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe
from tvt.core.run import Part, Run
from tvt.data.task_questions import pinned
from tvt.data.tasks import QuestionData
from tvt.study.plan import Study

Where = tuple[str, Part]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run to do: train it unless that is done, and score the cells that are missing."""

    run_id: str
    run: Run
    identity: Mapping[str, Any]
    keys: Mapping[Where, str]
    """The cells it shall have, with the digest of their questions."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know."""

    recipe: Recipe
    folder: Path
    tasks: tuple[Task, ...]
    rows: Mapping[str, QuestionData]
    """Each source's training rows."""
    questions: Mapping[Where, QuestionData]

    def only(self, task: Task) -> Job:
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
        told = json.loads(text)
        return cls(
            recipe=Recipe.model_validate(told["recipe"]),
            folder=Path(told["folder"]),
            tasks=tuple(
                Task(
                    run_id=task["run_id"],
                    run=Run(**task["run"]),
                    identity=task["identity"],
                    keys={(target, part): key for target, part, key in task["keys"]},
                )
                for task in told["tasks"]
            ),
            rows={name: QuestionData.model_validate(data) for name, data in told["rows"].items()},
            questions={(target, part): QuestionData.model_validate(data) for target, part, data in told["questions"]},
        )


def _pairs(keys: Mapping[Where, str]) -> list[list[str]]:
    return [[target, part, key] for (target, part), key in keys.items()]


def make_task(study: Study, run: Run, wanted: Sequence[Where]) -> Task:
    """A run with the cells that it shall have."""
    keys = {where: study.questions[where] for where in wanted}
    return Task(run_id=study.run_id(run), run=run, identity=study.identity(run), keys=keys)


def make_job(study: Study, folder: Path, tasks: Sequence[Task]) -> Job:
    """All that workers need for ``tasks``."""
    sources = {source for task in tasks for source in task.run.counts}
    parts = {where for task in tasks for where in task.keys}
    return Job(
        recipe=study.recipe,
        folder=folder.absolute(),
        tasks=tuple(tasks),
        rows={name: _pinned(study.sources[name].training) for name in sorted(sources)},
        questions={(t, p): _pinned(getattr(study.targets[t], p)) for t, p in sorted(parts)},
    )


def _pinned(data: QuestionData | None) -> QuestionData:
    assert data is not None  # noqa: S101 - loading the study found it there
    return pinned(data)
