"""Task manifests: one YAML file per task, saying what it is and where its questions come from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tvt
from tvt.core.task import Task
from tvt.errors import InputError
from tvt.io import strict_yaml
from tvt.io.faults import input_error


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationData(_Value):
    """Where the questions of a target come from."""

    dataset: str
    """Dataset identifier, e.g. ``BLINK-Benchmark/BLINK``."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    split: str = "val"
    """Split that is scored."""
    questions: Annotated[int, Field(ge=1)]
    """How many questions the split has."""


class TaskManifest(_Value):
    """What is known of one task. A later field needs a default, so that older manifests stay valid."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Unique name, e.g. ``Relative_Depth``."""
    abbreviation: str | None = None
    """Short form, e.g. ``RD``."""
    level: str | None = None
    """Perceptual level, only where a source states it."""
    granularity: str | None = None
    """Granularity, only where a source states it."""
    options: Annotated[int, Field(ge=2)] | None = None
    """Number of answer options of a question."""
    ceiling: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Best accuracy thought possible, a fraction."""
    classification_source: str | None = None
    """Who says what ``level`` and ``granularity`` say, or why they are left out."""
    evaluation: EvaluationData | None = None
    """The questions it is scored on."""

    def task(self) -> Task:
        """The task as the analysis needs it."""
        return Task.model_validate(self.model_dump(include=set(Task.model_fields)))


def bundled_root() -> Path:
    """Folder of the manifests and studies that come with tvt: inside the installed package, or beside it in a checkout."""
    package = Path(tvt.__file__).resolve().parent
    inside = package / "data_manifests"
    return inside if inside.is_dir() else package.parent / "data_manifests"


def load_manifest(path: Path) -> TaskManifest:
    """Read one task manifest.

    Raises:
        InputError: unreadable, not strict YAML, or not a manifest; every fault, one line each.
    """
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a task manifest; it must have at least 'name:'")
    try:
        return TaskManifest.model_validate(data)
    except ValidationError as error:
        raise input_error(error, TaskManifest, str(path)) from error


@cache
def load_manifests() -> tuple[TaskManifest, ...]:
    """The manifests of all bundled tasks, ordered by file name.

    Raises:
        InputError: a manifest is damaged, or two have one name or abbreviation.
    """
    found = {path: load_manifest(path) for path in sorted(bundled_root().glob("*.yaml"))}
    faults: list[str] = []
    seen: dict[str, Path] = {}
    for path, manifest in found.items():
        for label in filter(None, (manifest.name, manifest.abbreviation)):
            other = seen.setdefault(label.casefold(), path)
            if other != path:
                faults.append(f"{path}: '{label}' also stands in {other.name}; rename one")
    if faults:
        raise InputError(*faults)
    return tuple(found.values())


def load_tasks() -> tuple[Task, ...]:
    """All bundled tasks, ordered by the file name of their manifest."""
    return tuple(manifest.task() for manifest in load_manifests())


def known_tasks(names: tuple[str, ...]) -> tuple[Task, ...]:
    """The bundled tasks among ``names``, in that order; names without a manifest are left out."""
    tasks = {task.name: task for task in load_tasks()}
    return tuple(tasks[name] for name in names if name in tasks)
