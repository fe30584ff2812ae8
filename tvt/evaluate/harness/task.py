"""A task of lmms-eval: which one a manifest means, and what lmms-eval says of it.

lmms-eval runs in a process of its own (:mod:`tvt.evaluate.harness.worker`), also with the interpreter of another environment,
where its requirements are other versions than tvt's. What it says of a task is remembered as long as its version and the task
files of one's own are the same; each time that answers are asked for, the questions are compared with what was said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tvt.data.tasks import QuestionData
from tvt.errors import InputError, MissingPackageError
from tvt.io import digest, json_text
from tvt.io.processes import Machines, SharedWork, run_together

PYTHON = "TVT_LMMS_EVAL_PYTHON"
"""The variable that names the interpreter of an environment with lmms-eval, where a recipe names none."""
VERSION = 1
"""Raise it whenever the same model could get other scores on the same questions by a change of tvt's."""
MODULE = "tvt.evaluate.harness.worker"


@dataclass(frozen=True, kw_only=True)
class HarnessTask:
    """A target that lmms-eval asks, as lmms-eval has it."""

    data: QuestionData
    """What the manifest says; ``limit`` is that of the recipe where it is lower."""
    python: str | None
    """The interpreter that runs lmms-eval; ``None``: this one."""
    version: str
    """Of lmms-eval."""
    task_version: str
    """The task's own."""
    output_type: str
    """``generate_until`` or ``multiple_choice``."""
    metric: str
    """The metric that is each answer's score."""
    score_key: str
    """Where a metric's value is a mapping, the key of the score in it."""
    files: str
    """Digest of the task's own files."""
    questions: int
    """How many are asked."""
    content: str
    """Digest of the questions that are asked, but for pictures."""

    @property
    def name(self) -> str:
        """Of lmms-eval's task."""
        return str(self.data.task)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the scores of a model: plain values for a digest."""
        return {
            "name": "lmms-eval",
            "version": self.version,
            "task": self.name,
            "task_version": self.task_version,
            "files": self.files,
            "limit": self.data.limit,
            "offset": self.data.offset,
            "metric": self.metric,
            "questions": self.content,
            "run": VERSION,
        }


def describe(data: QuestionData, *, limit: int | None = None, python: str | None = None) -> HarnessTask:
    """What lmms-eval says of a task; it loads the task's data for it, unless that is remembered.

    Args:
        data: of a manifest.
        limit: at most so many questions are asked.
        python: the interpreter that runs lmms-eval; default: that of :data:`PYTHON`, else this one.

    Raises:
        MissingPackageError: lmms-eval is not installed there.
        InputError: no such task, or one that cannot be a target.
    """
    if (known := described(data, limit=limit, python=python)) is not None:
        return known
    data, python = limited(data, limit), interpreter(python)
    said: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tvt-lmms-eval-") as folder:
        job = {"act": "describe", "task": data.model_dump(mode="json")}
        run(
            job,
            python,
            Path(folder),
            digest.cache_folder() / "lmms-eval.log",
            lambda kind, what: said.update(what if kind == "task" else {}),
        )
    if not said:
        raise InputError(f"{data.task}: lmms-eval said nothing of it; run the same command again")
    found = _task(data, python, said)
    remember(found, said)
    return found


def remember(target: HarnessTask, said: Mapping[str, Any]) -> None:
    """Remember what lmms-eval says of a task, in place of what it said before."""
    digest.remember(_about(target.data, target.python), json.dumps(said))


def described(data: QuestionData, *, limit: int | None = None, python: str | None = None) -> HarnessTask | None:
    """What lmms-eval said of a task before; ``None`` where that is not remembered. Starts nothing that takes long.

    Raises:
        MissingPackageError: lmms-eval is not installed.
        InputError: the interpreter cannot be started, or the folder of task files is not there.
    """
    data, python = limited(data, limit), interpreter(python)
    known = digest.recall(_about(data, python))
    return None if known is None else _task(data, python, json_text.loads(known))


def limited(data: QuestionData, limit: int | None) -> QuestionData:
    """The same with at most so many questions."""
    both = [count for count in (data.limit, limit) if count is not None]
    return data.model_copy(update={"limit": min(both, default=None)})


def interpreter(named: str | None) -> str | None:
    """The interpreter that runs lmms-eval: the one that a recipe names, or the variable, or ``None`` for this one."""
    found = named or os.environ.get(PYTHON) or None
    return None if found is None or found == sys.executable else found


def installed(python: str | None) -> str:
    """The version of lmms-eval in an environment.

    Raises:
        MissingPackageError: it is not installed there.
        InputError: the interpreter cannot be started.
    """
    try:
        return version("lmms_eval") if python is None else _installed_there(python)
    except PackageNotFoundError as error:
        where = "here" if python is None else f"for {python}"
        other = f", or name the Python of an environment that has it in runtime.lmms_eval_python or {PYTHON}"
        step = f"{python or 'python'} -m pip install lmms-eval{other if python is None else ''}"
        raise MissingPackageError(
            f"lmms-eval is not installed {where}, and targets with 'harness: lmms-eval' need it; {step}"
        ) from error


@cache
def _installed_there(python: str) -> str:
    code = "import importlib.metadata as m; print(next((d.version for d in m.distributions(name='lmms_eval')), ''))"
    try:
        result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - the user names it
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(
            f"{python}: cannot be started as a Python ({type(error).__name__}); name another one in {PYTHON}"
        ) from error
    if not (found := result.stdout.strip()):
        raise PackageNotFoundError("lmms_eval")
    return found


def run(job: Mapping[str, Any], python: str | None, folder: Path, log: Path, on_message: Any) -> None:
    """Have lmms-eval do a job in a process of its own.

    Raises:
        InputError: the process says so.
        TrainingError: see :func:`tvt.io.processes.run_together`.
    """
    installed(python)
    log.parent.mkdir(parents=True, exist_ok=True)
    work = SharedWork(
        name="lmms-eval",
        module=MODULE,
        job=json.dumps(job),
        job_file=folder / "job.json",
        log=log,
        processes=1,
        rendezvous="lmms-eval",
        again="run the same command again",
        alone=True,
        python=python,
    )
    run_together(work, Machines(), on_message)


def _about(data: QuestionData, python: str | None) -> dict[str, Any]:
    """What a description rests on."""
    folder = None if data.include_path is None else Path(data.include_path)
    if folder is not None and not folder.is_dir():
        raise InputError(f"include_path: {folder}: no such folder; name the folder of lmms-eval's task files")
    files = sorted(path for path in folder.rglob("*") if _is_task_file(path)) if folder is not None else []
    fields = data.model_dump(mode="json", include={"task", "limit", "offset", "score"})
    where = {"python": python, "version": installed(python)}
    return {"lmms-eval": VERSION, **where, **fields, "files": digest.states(files)}


def _is_task_file(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix in (".yaml", ".py", "")


def _task(data: QuestionData, python: str | None, said: Mapping[str, Any]) -> HarnessTask:
    return HarnessTask(data=data, python=python, **said)
