"""Task manifests: one YAML file per task, saying what it is and where its questions come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from tvt.core.choices import FORMATS, METRICS
from tvt.core.task import Task, TaskName
from tvt.core.values import FrozenDict, FrozenModel
from tvt.errors import InputError
from tvt.io import strict_yaml
from tvt.io.machine import bundled_root
from tvt.io.strict_yaml import input_error

MINIATURE = "tvt/miniature"
"""The dataset name of the drawn tasks that come with tvt."""


COLUMN_ROLES = ("image", "question", "answer", "options")
"""What the columns of a table can be named for."""

_OF_HARNESS = ("task", "limit", "offset", "score", "include_path")
"""Fields of :class:`QuestionData` that say what a harness asks."""


class QuestionData(FrozenModel):
    """Where questions are: a file or folder (``path``), the miniature world, a dataset of the hub (``dataset``), or a task of
    another harness, which asks them itself.
    """

    path: str | None = None
    """File or folder of questions, relative to the manifest: in tvt's columns (.jsonl, .parquet), or in those of ``format``."""
    dataset: str | None = None
    """Dataset identifier, e.g. ``BLINK-Benchmark/BLINK``, or ``tvt/miniature`` for the drawn tasks that come with tvt."""
    config: str | None = None
    """Configuration (subset) of the dataset; for the miniature the task."""
    split: str = "val"
    """Split that is used; for the miniature ``train``, ``select`` or ``report``."""
    questions: Annotated[int, Field(ge=1)] | None = None
    """How many questions there are; for the miniature, how many are drawn."""
    skip: Annotated[int, Field(ge=0)] = 0
    """How many questions at the start are left out; for the miniature, drawn questions beyond those."""
    shuffled: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the questions whose answers are replaced at random, as a control: these teach the form alone."""
    revision: str | None = None
    """Commit of the dataset on the hub; pin it."""
    folder: str | None = None
    """A local copy of the dataset in the hub's layout, read by the same code; where it lies changes nothing."""
    format: str = FORMATS.default
    """What the columns are: one of :data:`tvt.core.choices.FORMATS`, by default tvt's own (``id, prompt, options, answer,
    images``); ``auto`` finds out."""
    columns: dict[str, str] = FrozenDict()
    """Of a table: its columns, e.g. ``{image: photo, question: q, answer: a, options: choices}``."""
    image_folder: str | None = None
    """Where relative paths of images and videos start, relative to the manifest; by default beside the file."""
    where: dict[str, str] = FrozenDict()
    """Only rows with these values, by column, e.g. ``{question_type: object_counting}``."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Of a video: how many frames are shown, evenly spaced."""
    metric: str | None = None
    """Of questions that are scored and have no options: how, by one of :data:`tvt.core.choices.METRICS`."""
    harness: Literal["lmms-eval"] | None = None
    """Who asks the questions and scores the answers in tvt's place: lmms-eval, in a process of its own. For targets alone."""
    task: str | None = None
    """Name of the harness's task."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """The harness asks only so many of the task's questions, the first behind ``offset``."""
    offset: Annotated[int, Field(ge=0)] = 0
    """The harness leaves out so many at the start."""
    score: str | None = None
    """Which of the metrics that the task has is each answer's score; default: the first that it lists."""
    include_path: str | None = None
    """Folder of the harness's task files beside its own, relative to the manifest."""

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        return FORMATS.check(name)

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str | None) -> str | None:
        return _metric(name)

    @model_validator(mode="after")
    def _one_place(self) -> QuestionData:
        if self.harness is not None:
            return self._of_harness()
        if foreign := [name for name in self._given() if name in _OF_HARNESS]:
            raise ValueError(f"{', '.join(foreign)}: for tasks of a harness; add 'harness: lmms-eval', or remove them")
        if (self.path is None) == (self.dataset is None):
            raise ValueError("name either a path or a dataset")
        if unknown := set(self.columns) - set(COLUMN_ROLES):
            raise ValueError(f"columns: no {', '.join(sorted(unknown))}; there are {', '.join(COLUMN_ROLES)}")
        if self.dataset == MINIATURE and not (self.config and self.questions):
            raise ValueError(f"{MINIATURE} needs config (the task) and questions (how many)")
        return self

    def _given(self) -> list[str]:
        """The fields that are not at their defaults."""
        return [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]

    def _of_harness(self) -> QuestionData:
        if not self.task:
            raise ValueError(f"name {self.harness}'s task, e.g. 'task: chartqa_lite'")
        foreign = [name for name in self._given() if name not in ("harness", *_OF_HARNESS)]
        if foreign:
            step = "'limit' says how many are asked" if "questions" in foreign else "remove them"
            raise ValueError(f"{', '.join(foreign)}: {self.harness} has questions and scores of its own; {step}")
        return self


def _metric(name: str | None) -> str | None:
    """A metric's name, ``accuracy`` among them."""
    return name if name in (None, "accuracy") else METRICS.check(str(name))


class SourceFile(FrozenModel):
    """A file that a builder reads."""

    path: str
    """Relative to the source's folder; ``*`` stands for any name."""
    sha256: str | None = None
    """Its digest, where somebody who has the file gave it; a build with another one is refused."""


class TrainingSource(FrozenModel):
    """Raw data from which training rows are built."""

    name: str
    url: str
    licence: str
    """As its makers state it; ``not stated`` where they don't."""
    revision: str
    """Version, release or commit that the builder was written for."""
    files: tuple[SourceFile, ...]
    layout: str
    """What ``tvt data build --layout`` calls it, where a task can be built from several."""
    substitute: bool = False
    """Whether it stands in for the source that BLINK itself was made from."""
    note: str | None = None


class TaskManifest(FrozenModel):
    """What is known of one task. A later field needs a default, so that older manifests stay valid."""

    name: TaskName
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
    human: Annotated[float, Field(gt=0, le=1)] | None = None
    """Accuracy of people, where the benchmark reports it: a lower ceiling, on request."""
    human_source: str | None = None
    """Where ``human`` was read, and how sure that is."""
    images: Annotated[int, Field(ge=1)] | None = None
    """Images that a question shows, as a rule: for estimates of cost."""
    metric: str = "accuracy"
    """How an answer is scored: right or wrong (*accuracy*: by its option, or its text where there are none), or, for open-ended
    questions, by one of :data:`tvt.core.choices.METRICS`. The same as ``evaluation: {metric: ...}``."""
    benchmark: str | None = None
    """The benchmark whose aggregate it counts in, e.g. ``BLINK``."""
    aggregate: str | None = None
    """Tasks of a benchmark with the same value are averaged before they count in its aggregate, as one."""
    left_out: str | None = None
    """Why the paper's study leaves it out."""
    builder: str | None = None
    """What makes its training rows from raw data: ``tvt data build``."""
    builder_version: int | None = None
    """Version of the builder that the task's figures are for."""
    sources: tuple[TrainingSource, ...] = ()
    """Raw data that the builder reads: one of them is enough."""
    classification_source: str | None = None
    """Who says what ``level`` and ``granularity`` say, or why they are left out."""
    training: QuestionData | None = None
    """The rows that a run on it is trained on."""
    evaluation: QuestionData | None = None
    """The questions it is scored on, and on which mixtures are selected."""
    report: QuestionData | None = None
    """Questions held back for comparing mixtures after they were selected; without them ``evaluation`` serves for both."""

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        return _metric(name) or name

    @model_validator(mode="after")
    def _scored_whole(self) -> TaskManifest:
        if self.training is not None and self.training.metric is not None:
            raise ValueError("training: rows that are trained on are not scored; move 'metric:' to 'evaluation:'")
        stated = [data.metric for data in (self.evaluation, self.report) if data is not None and data.metric is not None]
        stated += [self.metric] if "metric" in self.model_fields_set else []
        if len(set(stated)) > 1:
            raise ValueError(f"metric: {' and '.join(dict.fromkeys(stated))} are both stated; keep one")
        for part in ("evaluation", "report"):
            data: QuestionData | None = getattr(self, part)
            if data is not None and (data.skip or data.shuffled):
                raise ValueError(f"{part}: skip and shuffled are for training rows only; remove them")
        if self.training is not None and self.training.harness is not None:
            raise ValueError(
                f"training: {self.training.harness} gives scores and no rows to train on; name a file or a dataset"
            )
        return self

    @property
    def scored_by(self) -> str:
        """How answers are scored, wherever the manifest says it."""
        parts = (data.metric for data in (self.evaluation, self.report) if data is not None)
        return next(filter(None, parts), self.metric)

    @property
    def shown(self) -> int:
        """Images, or frames of a video, that a question shows, for estimates of cost; 1 where that is not stated."""
        frames = self.evaluation.frames if self.evaluation is not None else None
        return self.images or frames or 1

    def task(self) -> Task:
        """The task as the analysis needs it."""
        return Task.model_validate(self.model_dump(include=set(Task.model_fields)))


def load_manifest(path: Path) -> TaskManifest:
    """Read one task manifest.

    Raises:
        InputError: unreadable, not strict YAML, or not a manifest; every fault, one line each.
    """
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a task manifest; it must have at least 'name:'")
    try:
        manifest = TaskManifest.model_validate(data)
    except ValidationError as error:
        raise input_error(error, TaskManifest, str(path)) from error
    parts = {part: data for part in ("training", "evaluation", "report") if (data := getattr(manifest, part)) is not None}
    return manifest.model_copy(update={part: _near(data, path.parent) for part, data in parts.items()})


def _near(data: QuestionData, folder: Path) -> QuestionData:
    """The data with its paths starting at a folder, the manifest's; ``dataset`` may be one too."""
    paths = {
        name: str(folder / value)
        for name in ("path", "folder", "image_folder", "include_path")
        if (value := getattr(data, name)) is not None
    }
    if data.dataset is not None and data.folder is None and (folder / data.dataset).is_dir():
        paths["dataset"] = str(folder / data.dataset)
    return data.model_copy(update=paths)


@cache
def load_manifests() -> tuple[TaskManifest, ...]:
    """The manifests of all bundled tasks, ordered by file name; the miniature's are a folder of their own.

    Raises:
        InputError: a manifest is damaged, or two have one name or abbreviation.
    """
    return read_folder(bundled_root())


def read_folder(folder: Path) -> tuple[TaskManifest, ...]:
    """The manifests (``*.yaml``) of a folder, ordered by file name.

    Raises:
        InputError: a manifest is damaged, or two have one name or abbreviation; every fault, one line each.
    """
    found: dict[Path, TaskManifest] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found[path] = load_manifest(path)
        except InputError as error:
            faults += error.faults
    seen: dict[str, Path] = {}
    for path, manifest in found.items():
        for label in filter(None, (manifest.name, manifest.abbreviation)):
            other = seen.setdefault(label.casefold(), path)
            if other != path:
                faults.append(f"{path}: '{label}' also stands in {other.name}; rename one")
    if faults:
        raise InputError(*faults)
    return tuple(found.values())


def find_manifests(references: Sequence[str], *, bundled: bool = True) -> dict[str, TaskManifest]:
    """All manifests that a recipe may name, by task name: the bundled ones, then those of ``references``, which go before.

    Args:
        references: manifest files, folders of them, or a bundled folder's name (``miniature``).
        bundled: whether the bundled ones are among them.

    Raises:
        InputError: a reference that is nothing, or a damaged manifest; every fault, one line each.
    """
    found = {manifest.name: manifest for manifest in load_manifests()} if bundled else {}
    faults: list[str] = []
    for reference in references:
        places = (Path(reference), bundled_root() / reference)
        place = next((place for place in places if place.exists()), None)
        try:
            if place is None:
                raise InputError(f"manifests: {reference}: no such file or folder; name a manifest or a folder of manifests")
            manifests = read_folder(place) if place.is_dir() else (load_manifest(place),)
        except InputError as error:
            faults += error.faults
            continue
        if not manifests:
            faults.append(f"manifests: {place}: no .yaml file in this folder; name a folder of manifests")
        found.update({manifest.name: manifest for manifest in manifests})
    if faults:
        raise InputError(*faults)
    return found


def benchmarks(manifests: Iterable[TaskManifest], scored: Collection[str]) -> dict[str, dict[str, str | None]]:
    """The tasks of each benchmark, with the group in which a task is averaged first.

    Args:
        manifests: all that are known.
        scored: names of tasks that count also where the paper's study leaves them out.
    """
    found: dict[str, dict[str, str | None]] = {}
    for manifest in manifests:
        if manifest.benchmark is not None and (manifest.left_out is None or manifest.name in scored):
            found.setdefault(manifest.benchmark, {})[manifest.name] = manifest.aggregate
    return found


def load_tasks() -> tuple[Task, ...]:
    """All bundled tasks, ordered by the file name of their manifest."""
    return tuple(manifest.task() for manifest in load_manifests())


def known_tasks(names: tuple[str, ...]) -> tuple[Task, ...]:
    """The bundled tasks among ``names``, in that order; names without a manifest are left out."""
    tasks = {task.name: task for task in load_tasks()}
    return tuple(tasks[name] for name in names if name in tasks)
