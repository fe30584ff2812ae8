"""Scoring adapters and their base model on questions: of files, or of tasks by their manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.api.studies import collect
from tvt.core.choices import READERS
from tvt.core.question import Question
from tvt.core.recipe import EndpointConfig, EvaluationConfig, ModelConfig
from tvt.core.values import Frozen
from tvt.errors import InputError, refuse

if TYPE_CHECKING:
    from tvt.core.answer_statistics import AnswerReport
    from tvt.core.question import QuestionSet
    from tvt.core.recipe import WarningSettings
    from tvt.core.scores import Part
    from tvt.data.tasks import TaskManifest
    from tvt.evaluate.evaluator import Target
    from tvt.evaluate.results import CellResult
    from tvt.evaluate.sharing import ScoringProcesses

Count = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


def _uncounted(done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Questions(Frozen):
    """The questions of each task, and what its manifest states of them."""

    by_task: Mapping[str, Target] = field(default_factory=dict)
    """Questions, or a task whose questions lmms-eval asks."""
    stated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How many questions there are (``rows``), and how many the manifest states (``stated``)."""

    def joined(self, other: Questions) -> Questions:
        """Both; where both have a task, the other's questions count."""
        return Questions(by_task={**self.by_task, **other.by_task}, stated={**self.stated, **other.stated})


@dataclass(frozen=True, kw_only=True)
class Evaluation(Frozen):
    """The scores of adapters and their base model."""

    adapters: tuple[Path | None, ...]
    """``None`` is the base model."""
    results: tuple[Mapping[str, CellResult], ...]
    """By task, for each adapter."""
    settings: EvaluationConfig
    reader: str
    reader_identity: Mapping[str, str | int]
    sets: tuple[QuestionSet, ...]
    """The questions, counted."""
    benchmarks: Mapping[str, Mapping[str, str | None]]
    """By benchmark, the tasks that it has; ``None``, or why a task is left out of its average."""

    @property
    def rows(self) -> list[tuple[str, dict[str, CellResult]]]:
        """Each adapter's name with its cells."""
        names = ("base" if path is None else str(path) for path in self.adapters)
        return [(name, dict(cells)) for name, cells in zip(names, self.results, strict=True)]

    @property
    def asked(self) -> int:
        """How many questions were really asked; the other answers were there."""
        return sum(cell.asked for cells in self.results for cell in cells.values())

    @property
    def total(self) -> int:
        """How many answers there are."""
        return sum(cell.total for cells in self.results for cell in cells.values())

    def answers(self, thresholds: WarningSettings) -> AnswerReport:
        """How all answered."""
        from tvt.report.evaluation_tables import answers_of

        return answers_of(self.rows, self.sets, thresholds)

    def json_value(self) -> dict[str, Any]:
        """The keys of ``tvt evaluate --json``; counts of right before and after where the base was scored too."""
        from tvt.evaluate.results import macro

        base = dict(zip(self.adapters, self.results, strict=True)).get(None, {})
        results = []
        for path, cells in zip(self.adapters, self.results, strict=True):
            first = next(iter(cells.values()))
            averages = ((name, macro(name, dict(cells), dict(members))) for name, members in self.benchmarks.items())
            results.append(
                {
                    "adapter": path,
                    "digest": first.digest,
                    "answers": first.key,
                    "asked": sum(cell.asked for cell in cells.values()),
                    "tasks": {task: cell.summary(base.get(task)) for task, cell in cells.items()},
                    "aggregates": {name: average.summary() for name, average in averages if average is not None},
                }
            )
        how = {"mode": self.settings.mode, "prompt": self.settings.prompt}
        return {**how, "extraction": self.reader, "reader": self.reader_identity, "results": results}


def evaluate(
    adapters: Sequence[str | Path],
    questions: Questions | Mapping[str, Sequence[Question] | str | Path],
    model: ModelConfig | str,
    settings: EvaluationConfig | None = None,
    *,
    output: str | Path = "evaluations",
    base: bool = True,
    reader: str = READERS.default,
    processes: int = 1,
    manifests: Sequence[str] = (),
    endpoint: str | None = None,
    progress: Count = _uncounted,
    note: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Score adapters, and their base model, on questions: see ``tvt evaluate``.

    Args:
        adapters: folders that ``tvt train`` or PEFT wrote.
        questions: by task: questions, or their file or folder; or those of :func:`questions_of_tasks`.
        model: the base model: its settings, a folder or a hub name.
        settings: how questions are put and answers read.
        output: folder of all answers; what is there is not asked again.
        base: whether the base model is scored too.
        reader: who reads generated answers.
        processes: how many share the questions, one a GPU.
        manifests: of the tasks, for the benchmarks' averages.
        endpoint: address of the server that is asked, where the settings' backend is one.
        progress: called with how many questions are done and how many there are.
        note: called with each note.

    Raises:
        InputError: faulty questions, an adapter of another model, or a needed package is missing.
    """
    from tvt.data.task_questions import count_set, question_digests
    from tvt.data.tasks import benchmarks, find_manifests
    from tvt.evaluate.evaluator import Evaluator
    from tvt.evaluate.harness.task import HarnessTask
    from tvt.evaluate.readers import find_reader
    from tvt.io.yaml_files import model_path
    from tvt.model.families import model_checks

    if not base and not adapters:
        raise InputError("whom to score? name adapters, or leave --no-base out")
    given = questions if isinstance(questions, Questions) else _given(questions)
    loaded = model if isinstance(model, ModelConfig) else ModelConfig(model_name_or_path=model_path(model))
    how, who, reads = settings or EvaluationConfig(), _who(adapters, base), find_reader(reader)
    refuse(model_checks(loaded), note)
    together = _together(processes)
    server = EndpointConfig(address=endpoint)
    evaluator = Evaluator(loaded, how, Path(output), together=together, reader=reads.name, note=note, endpoint=server)
    own = {task: list(of) for task, of in given.by_task.items() if not isinstance(of, HarnessTask)}
    results = evaluator.evaluate(list(who), {task: own.get(task, of) for task, of in given.by_task.items()}, progress)
    return Evaluation(
        adapters=who,
        results=tuple(results),
        settings=how,
        reader=reads.name,
        reader_identity=reads.identity,
        sets=tuple(count_set(task, question_digests(of), **given.stated.get(task, {})) for task, of in own.items()),
        benchmarks=benchmarks(find_manifests(tuple(manifests)).values(), given.by_task),
    )


def _who(adapters: Sequence[str | Path], base: bool) -> tuple[Path | None, ...]:
    """The base model, then every adapter once."""
    return (*((None,) if base else ()), *dict.fromkeys(map(Path, adapters)))


def _given(questions: Mapping[str, Sequence[Question] | str | Path]) -> Questions:
    files = {task: of for task, of in questions.items() if isinstance(of, str | Path)}
    values = {task: of for task, of in questions.items() if not isinstance(of, str | Path)}
    return Questions(by_task=values).joined(questions_of_files(files))


def _together(processes: int) -> ScoringProcesses:
    """So many processes, if there is a GPU for each, or none at all."""
    from tvt.evaluate.sharing import ScoringProcesses
    from tvt.train.probe import visible_gpus

    gpus = len(visible_gpus()) if processes > 1 else 0
    if gpus and processes > gpus:
        raise InputError(f"{processes} processes need as many GPUs, but there are {gpus}; lower --num-processes to {gpus}")
    return ScoringProcesses(processes=processes)


def questions_of_files(files: Mapping[str, str | Path], limit: int | None = None, metric: str | None = None) -> Questions:
    """The questions of each task's file or folder.

    Args:
        files: by task.
        limit: how many of each at most.
        metric: how open-ended ones are scored; default: numbers by ``mra``, text by ``exact_match``.

    Raises:
        InputError: the faults of all files in one go.
    """
    from tvt.data.questions.checks import scan
    from tvt.data.questions.files import open_questions

    def read(path: str | Path) -> list[Question]:
        source = open_questions(Path(path))
        scan(source)  # every fault of every row, before anything is asked
        questions = islice(source.questions(), limit)
        return [replace(question, metric=metric) if metric and question.open_ended else question for question in questions]

    return Questions(by_task=dict(zip(files, collect(read, list(files.values())), strict=True)))


def questions_of_tasks(
    tasks: str,
    manifests: Sequence[str] = (),
    datasets: Mapping[str, str] = {},
    *,
    limit: int | None = None,
    report: bool = False,
    progress: Count = _uncounted,
) -> Questions:
    """The questions of tasks by their manifests; those about videos take a while the first time.

    Args:
        tasks: ``all`` of the manifests, or names with commas between them; a benchmark's name means its tasks.
        manifests: task manifests or folders of them, beside those that come with tvt.
        datasets: folders of local copies of hub datasets, by name.
        limit: how many of each task at most.
        report: whether the questions held out for reports are read, where a manifest has some.
        progress: called with how many are read and how many there are.

    Raises:
        InputError: unknown tasks or faulty rows; every fault.
    """
    from tvt.data.task_data import resolve_data_paths
    from tvt.data.task_questions import choose
    from tvt.data.tasks import find_manifests

    known = resolve_data_paths(find_manifests(tuple(manifests)), datasets=dict(datasets))
    own = find_manifests(tuple(manifests), bundled=False)
    names = list(own or known) if tasks == "all" else _named(tasks, known.values())
    return _read(choose(names, known, "--tasks"), limit, report=report, progress=progress)


def _named(tasks: str, known: Iterable[TaskManifest]) -> list[str]:
    """The names of a list, with those of its tasks for a benchmark's."""
    of: dict[str, list[str]] = {}
    for manifest in known:
        if manifest.benchmark is not None and manifest.left_out is None:
            of.setdefault(manifest.benchmark.casefold(), []).append(manifest.name)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    return [task for name in names for task in of.get(name.casefold(), [name])]


def _read(chosen: Mapping[str, TaskManifest], limit: int | None, *, report: bool, progress: Count) -> Questions:
    from tvt.data.task_questions import check_metric, is_drawn, locate, read, rows_of
    from tvt.evaluate.harness.task import describe

    targets: dict[str, Target] = {}
    stated: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    parts: dict[str, Part] = {name: "report" if report and m.report is not None else "evaluation" for name, m in chosen.items()}
    said = [place.questions or 0 for name, m in chosen.items() if (place := getattr(m, parts[name])) is not None]
    done, total = 0, sum(min(count, limit or count) for count in said)
    for name, manifest in chosen.items():
        try:
            if (place := getattr(manifest, parts[name])) is not None and place.harness is not None:
                targets[name] = describe(place, limit=limit)
                continue
            targets[name] = questions = []
            for question in islice(read(locate(manifest, parts[name]), name), limit):
                questions.append(question)
                done += 1
                progress(done, max(done, total))
            check_metric(manifest, questions)
            if not is_drawn(data := locate(manifest, parts[name])):
                stated[name] = {"rows": rows_of(data), "stated": data.questions}
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return Questions(by_task=targets, stated=stated)
