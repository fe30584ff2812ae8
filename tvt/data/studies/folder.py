"""tvt's own study format: a folder with ``study.yaml`` (what the study is) and ``scores.csv`` (what was counted), and
``mixtures.csv`` where runs on mixtures or doses were counted too. Counts of right answers may be sums of scores.

``placebos.csv`` counts runs that teach nothing of their tasks, ``doses.csv`` names the sources whose runs took less than
budget, since they have few rows, and ``answers.json`` says how the answers behind ``scores.csv`` are spread, and what is odd
about the questions. These three are files of their own, so that ``scores.csv`` stays what every version reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from tvt.core.answer_statistics import AnswerReport
from tvt.core.matrix import TransferMatrix
from tvt.core.scores import MaskedScore, MixtureScore, Score, has_gap
from tvt.core.task import Ceiling, Task
from tvt.core.values import FrozenModel
from tvt.data.csv_table import Faults, Table, find_columns, read_table
from tvt.data.studies.beside import DOSES_FILE, PLACEBOS_FILE, read_doses, read_placebos, score_table, write_beside
from tvt.data.studies.gradient_file import GRADIENTS_FILE, read_gradients
from tvt.data.studies.mixtures import MIXTURES_FILE, mixture_scores_csv, read_mixture_scores
from tvt.data.studies.score_rows import BASE_NAMES, FolderRow, Scores, check_size, read_scores, refuse_if_empty
from tvt.data.tasks import load_tasks
from tvt.errors import InputError, suggest
from tvt.io import atomic, json_text, strict_yaml
from tvt.io.strict_yaml import input_error

FORMAT_VERSION = 1
STUDY_FILE = "study.yaml"
SCORES_FILE = "scores.csv"
_REQUIRED = ("run", "source", "target", "correct", "total")
_OPTIONAL = ("both_correct", "reason")


class StudyManifest(FrozenModel):
    """``study.yaml``: what a study is, and where its counts come from."""

    format_version: int = FORMAT_VERSION
    """Version of the folder's format."""
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the study."""
    model: str | None = None
    """The base model."""
    parameters: Annotated[float, Field(gt=0)] | None = None
    """The base model's parameters, in billions."""
    budget: Annotated[int, Field(ge=1)] | None = None
    """Training examples of a run; the default budget of mixtures selected on this study."""
    counts: Literal["measured", "inferred"] = "measured"
    """Whether the counts were measured, or inferred from published figures."""
    provenance: str | None = None
    """Who measured what, and where it is published."""
    scores: str = SCORES_FILE
    """The table of counts, a path inside the folder."""
    mixtures: str | None = None
    """The table of runs on mixtures and doses (see :mod:`tvt.data.studies.mixtures`), a path inside the folder."""
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    """The tasks. A plain name takes its details from tvt's own manifest, if there is one; a mapping overrides them."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        """Names become tasks, with what the bundled manifests know of them."""
        if not isinstance(value, list | tuple):
            return value
        known = {task.name: task.model_dump() for task in load_tasks()}
        filled = []
        for item in value:
            given = {"name": item} if isinstance(item, str) else item
            is_known = isinstance(given, dict) and given.get("name") in known
            filled.append({**known[given["name"]], **given} if is_known else given)
        return filled

    @field_validator("tasks")
    @classmethod
    def _distinct(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        faults = []
        seen: dict[str, Task] = {}
        for task in tasks:
            if task.name.strip().lower() in BASE_NAMES:
                faults.append(f"'{task.name}' cannot name a task, it means the base model; rename it")
            for label in dict.fromkeys(text.casefold() for text in (task.name, task.abbreviation) if text):
                if label in seen:
                    faults.append(f"'{task.name}' and '{seen[label].name}' share the label '{label}'; rename one")
                seen.setdefault(label, task)
        if faults:
            raise ValueError("\n".join(faults))
        return tasks


@dataclass(frozen=True, kw_only=True)
class StudyFolder:
    """A study as it was read."""

    manifest: StudyManifest
    scores: tuple[Score, ...]
    masked: tuple[MaskedScore, ...]
    mixtures: tuple[MixtureScore, ...] = ()
    placebos: tuple[Score | MaskedScore, ...] = ()
    """Of runs that teach nothing of their tasks; the placebo's name stands for a source."""
    doses: Mapping[str, float] = field(default_factory=dict)
    """Share of the budget by source, of those whose runs took less than all of it."""

    def matrix(self, ceiling: Ceiling = "task") -> TransferMatrix:
        """The PGF matrix of the study."""
        matrix = TransferMatrix.from_scores(
            self.scores,
            masked=self.masked,
            tasks=[task.under(ceiling) for task in self.manifest.tasks],
            name=self.manifest.name,
            model=self.manifest.model,
            parameters=self.manifest.parameters,
            mixtures=self.mixtures,
            placebos=self.placebos,
            doses=self.doses,
        )
        return replace(matrix, budget=self.manifest.budget)


def read_manifest(folder: Path) -> StudyManifest:
    """Read ``study.yaml`` of a study folder.

    Raises:
        InputError: missing, not strict YAML, of another version, or not a study; every fault, one line each.
    """
    path = folder / STUDY_FILE
    data = strict_yaml.load_file(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a study; it must have at least 'name:' and 'tasks:'")
    if {"sources", "targets"} <= data.keys() and "tasks" not in data:
        raise InputError(f"{path}: a recipe, not what was measured; run it with tvt study run and name the folder of that")
    version = data.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format_version: {version!r} is not {FORMAT_VERSION}; use the tvt that wrote the study")
    try:
        return StudyManifest.model_validate(data)
    except ValidationError as error:
        raise input_error(error, StudyManifest, str(path)) from error


def read_study(folder: Path) -> StudyFolder:
    """Read a study folder.

    Raises:
        InputError: a damaged ``study.yaml``, or any fault of the scores and the mixtures, all at once.
    """
    manifest = read_manifest(folder)
    paths = _paths(folder, manifest)
    if manifest.mixtures is None and (folder / MIXTURES_FILE).is_file():
        hint = f"add 'mixtures: {MIXTURES_FILE}' there, or remove the file"
        raise InputError(f"{folder / STUDY_FILE}: does not name {MIXTURES_FILE}, which lies beside it; {hint}")
    faults: list[str] = []
    result = Scores((), ())
    mixtures: tuple[MixtureScore, ...] = ()
    try:
        result = _read_counts(paths[0], manifest)
    except InputError as error:
        faults += error.faults
    try:
        if len(paths) > 1:
            mixtures = read_mixture_scores(paths[1], [task.name for task in manifest.tasks], None if faults else result.scores)
    except InputError as error:
        faults += error.faults
    names = [task.name for task in manifest.tasks]
    placebos: tuple[Score | MaskedScore, ...] = ()
    doses: dict[str, float] = {}
    try:
        if (folder / PLACEBOS_FILE).is_file():
            placebos = read_placebos(folder / PLACEBOS_FILE, names, None if faults else result.scores)
    except InputError as error:
        faults += error.faults
    try:
        if (folder / DOSES_FILE).is_file():
            doses = read_doses(folder / DOSES_FILE, names)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(*faults)
    return StudyFolder(
        manifest=manifest, scores=result.scores, masked=result.masked, mixtures=mixtures, placebos=placebos, doses=doses
    )


def _read_counts(path: Path, manifest: StudyManifest) -> Scores:
    """Read ``scores.csv``; raises InputError with all its faults."""
    table = read_table(path)
    faults = Faults(path)
    columns = find_columns(table, {name: name for name in (*_REQUIRED, *_OPTIONAL)}, faults, _REQUIRED)
    faults.check()
    _check_names(table, columns, manifest.tasks, faults)
    estimated = (path.parent / GRADIENTS_FILE).is_file()
    result = read_scores(table, columns, None, faults, model=FolderRow, base_alone=estimated)
    rows = result.rows
    check_size(len({row.run for row in rows}), len({row.source for row in rows}), len(manifest.tasks), faults)
    faults.check()
    return result


def load_study_folder(folder: Path, ceiling: Ceiling = "task") -> TransferMatrix:
    """Read a study folder as its PGF matrix; raises InputError as :func:`read_study`, and where no cell is left."""
    study = read_study(folder)
    if ceiling == "human" and all(task.human is None for task in study.manifest.tasks):
        raise InputError(f"{folder}: no task's accuracy of people is known; drop --ceiling human, or give it in the manifests")
    matrix = with_gradients(study, study.matrix(ceiling), folder, ceiling)
    if matrix.gradients is None:
        refuse_if_empty(matrix, str(folder))
    return matrix


def with_gradients(study: StudyFolder, matrix: TransferMatrix, folder: Path, ceiling: Ceiling) -> TransferMatrix:
    """The matrix with what the folder's gradients say of transfer; sources of which no run is there become rows without a
    measured cell.
    """
    cells = read_gradients(folder)
    if cells is None:
        return matrix
    ceilings = {task.name: task.under(ceiling).ceiling for task in study.manifest.tasks}
    base = {score.target: score.accuracy for score in study.scores if score.source is None}
    gaps = {
        t: ceilings.get(t, 1.0) - accuracy if has_gap(accuracy, ceilings.get(t, 1.0)) else 0.0 for t, accuracy in base.items()
    }
    more = [source for source in cells.sources if source not in matrix.sources]
    return replace(matrix.reindex(sources=[*matrix.sources, *more], missing=True), gradients=cells.over(gaps))


def write_study(
    folder: Path,
    manifest: StudyManifest,
    scores: Iterable[Score],
    masked: Iterable[MaskedScore] = (),
    *,
    mixtures: Iterable[MixtureScore] = (),
    placebos: Iterable[Score | MaskedScore] = (),
    doses: Mapping[str, float] | None = None,
    notes: str = "",
) -> None:
    """Write a study folder that :func:`read_study` reads back equal; ``study.yaml`` comes last, as the record.

    Args:
        folder: where to; made if it is missing.
        manifest: what the study is.
        scores: evaluations, all with counts.
        masked: evaluations that are missing, with their reason.
        mixtures: evaluations of runs on mixtures and doses. Where there are any and the manifest names no file for them, they
            go to ``mixtures.csv`` and ``study.yaml`` names it; where there are none, it names no file.
        placebos: evaluations of placebo runs, for ``placebos.csv``; without any, there is no such file.
        doses: share of the budget of sources whose runs took less than all of it, for ``doses.csv``; likewise.
        notes: a comment for the head of ``study.yaml``.

    Raises:
        InputError: a score without counts, which the format cannot hold.
    """
    runs = tuple(mixtures)
    manifest = manifest.model_copy(update={"mixtures": (manifest.mixtures or MIXTURES_FILE) if runs else None})
    paths = _paths(folder, manifest)
    atomic.write_text(paths[0], score_table(tuple(scores), tuple(masked)))
    if runs:
        atomic.write_text(paths[1], mixture_scores_csv(runs))
    write_beside(folder, tuple(placebos), doses or {})
    data = manifest.model_dump(mode="json", exclude_defaults=True, exclude={"tasks"})
    known = {task.name: task for task in load_tasks()}
    tasks = [t.name if t == known.get(t.name, Task(name=t.name)) else _spelled_out(t, known) for t in manifest.tasks]
    head = "".join(f"# {line}\n" for line in notes.splitlines())
    text = strict_yaml.dump({"format_version": manifest.format_version, **data, "counts": manifest.counts, "tasks": tasks})
    atomic.write_text(folder / STUDY_FILE, head + text)


def _spelled_out(task: Task, known: dict[str, Task]) -> dict[str, Any]:
    """A task as a mapping; all fields where a bundled manifest would otherwise fill some in."""
    return task.model_dump(mode="json", exclude_defaults=task.name not in known)


def _paths(folder: Path, manifest: StudyManifest) -> list[Path]:
    """The paths of the scores and, where there is one, of the mixtures; none may leave the folder."""
    faults, result = [], []
    for key, name in (("scores", manifest.scores), ("mixtures", manifest.mixtures)):
        if name is None:
            continue
        path = folder / name
        if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
            faults.append(f"{folder / STUDY_FILE}: {key}: '{name}' leaves the study's folder; keep the file inside it")
        result.append(path)
    if faults:
        raise InputError(*faults)
    return result


def _check_names(table: Table, columns: Mapping[str, int], tasks: tuple[Task, ...], faults: Faults) -> None:
    """Every source and target must be a task of the study."""
    names = [task.name for task in tasks]
    reported: set[str] = set()
    for row in table.rows:
        source, target = row.cells[columns["source"]], row.cells[columns["target"]]
        for name in (target, *([] if source.lower() in BASE_NAMES else [source])):
            if name and name not in names and name not in reported:
                reported.add(name)
                faults.add(row.line, f"unknown task '{name}'{suggest(name, names)}; mend it or list it in {STUDY_FILE}")


ANSWERS_FILE = "answers.json"
SCHEMA = 1


def write_answer_file(folder: Path, report: AnswerReport) -> None:
    """Write ``answers.json``."""
    atomic.write_text(
        folder / ANSWERS_FILE, json.dumps({"schema": SCHEMA, **report.dump()}, indent=1, ensure_ascii=False) + "\n"
    )


def read_answer_file(folder: Path) -> AnswerReport | None:
    """Read ``answers.json``; ``None`` where there is none.

    Raises:
        InputError: it is damaged, or of another version.
    """
    path = folder / ANSWERS_FILE
    try:
        data = json_text.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read; delete it, and tvt study run writes it anew") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: written by another version of tvt; delete it, and tvt study run writes it anew")
    try:
        return AnswerReport.load(data)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; delete it, and tvt study run writes it anew") from error
