"""The report of studies as one HTML file: what it says of each beside its matrix, and what could not be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

from tvt.api.runs import judge
from tvt.api.studies import adapter_similarities, analyze, answer_reports, load_studies
from tvt.compare.comparison import Comparison
from tvt.core.answer_statistics import AnswerReport
from tvt.core.matrix import TransferMatrix
from tvt.core.recipe import Recipe
from tvt.core.study_reading import Reading
from tvt.data.studies.folder import read_study
from tvt.data.studies.load import find_study
from tvt.errors import InputError, MissingPackageError
from tvt.io import atomic
from tvt.io.yaml_files import load_recipe
from tvt.report.evaluation_tables import answer_warnings
from tvt.report.html.explorer_data import explore
from tvt.report.html.page import page_data, render
from tvt.report.html.study_data import StudySource
from tvt.study.session import reopen
from tvt.study.store import RECIPE, Store
from tvt.study.views import comparison_names, load_comparison

Progress = Callable[[str, int, int], None]


def report(
    studies: Sequence[str],
    output: str | Path,
    *,
    targets: Sequence[str] = (),
    mixtures: bool = True,
    adapters: bool = False,
    alpha: float = 0.01,
    with_self: bool = False,
    specific: bool = False,
    answers: Mapping[str, AnswerReport] | None = None,
    progress: Progress = lambda _, __, ___: None,
    **reading: Unpack[Reading],
) -> Path:
    """Write one HTML file that explains studies: see ``tvt report``.

    Args:
        studies: bundled names, study folders or CSVs.
        output: the file.
        targets: for which mixtures are selected in advance; by default the first.
        mixtures: whether there are mixtures to choose from, which takes most of the time.
        adapters: whether the adapters of the sources' runs are compared.
        alpha: level of the persona tests.
        with_self: whether a task's transfer to itself counts.
        specific: whether it also shows what the sources do beyond any finetuning.
        answers: what is known of the answers behind each study's scores; by default what its folder says.
        progress: called with what is counted, how much of it is done and how much there is.
        reading: how CSVs are read, and what counts as a perfect score: see :class:`tvt.core.study_reading.Reading`.

    Returns:
        The file.

    Raises:
        InputError: a study or a target that is not known.
    """
    if targets and not mixtures:
        raise InputError("--target says for which targets mixtures are selected; drop --no-mixtures")
    matrices = load_studies(studies, **reading)
    chosen = _targets(matrices, targets)
    alike = adapter_similarities(studies, partial(progress, "modules compared")) if adapters else None
    analysis = analyze(matrices, alpha=alpha, with_self=with_self, adapters=alike, specific=specific)
    options, reports = _options(reading), answer_reports(studies) if answers is None else answers
    sources = [
        replace(
            study_source(study, matrix, [study, *options], named if mixtures else (), progress),
            warnings=tuple(answer_warnings(reports[study])),
        )
        for study, matrix, named in zip(studies, matrices, chosen, strict=True)
    ]
    text = render(page_data(analysis, sources), "Task transfer: " + ", ".join(study.name for study in analysis.studies))
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)
    return path


def _options(reading: Reading) -> list[str]:
    """How a command must read the study, where that is not the default."""
    result = []
    for option in ("metric", "unit", "base"):
        value = reading.get(option)
        result += [] if value is None else [f"--{option}", str(value)]
    result += ["--transpose"] if reading.get("transpose") else []
    questions = reading.get("questions")
    pairs = [f"{t}={n}" for t, n in questions.items()] if isinstance(questions, Mapping) else [str(questions)] * bool(questions)
    result += [part for pair in pairs for part in ("--questions", pair)]
    ceiling = reading.get("ceiling", "task")
    return result + ([] if ceiling == "task" else ["--ceiling", ceiling])


def _targets(matrices: Sequence[TransferMatrix], asked: Sequence[str]) -> list[list[str] | None]:
    """The targets asked for by study, ``None`` where nobody asked.

    Raises:
        InputError: a target that no study has.
    """
    if not asked:
        return [None for _ in matrices]
    found: list[list[str] | None] = []
    unknown: dict[str, str] = {}
    known: set[str] = set()
    for matrix in matrices:
        names = []
        for text in asked:
            try:
                name = matrix.resolve(text)
            except KeyError as error:
                unknown.setdefault(text, f"--target: {error.args[0]}")
                continue
            if name in matrix.targets:
                names.append(name)
                known.add(text)
            else:
                unknown.setdefault(text, f"--target: {name} is a source here and no target")
        found.append(names)
    if faults := [fault for text, fault in unknown.items() if text not in known]:
        raise InputError(*faults)
    return found


def study_source(
    study: str, matrix: TransferMatrix, reference: Sequence[str], targets: Sequence[str] | None, progress: Progress
) -> StudySource:
    """Gather what is known of a study.

    Args:
        study: what the person wrote.
        matrix: of that study.
        reference: how a command line names the study, with its options.
        targets: for which mixtures are selected; ``None``: as many as is usual, empty: none at all, not even for all together.
        progress: called with what is counted, how much of it is done and how much there is.
    """
    path, problems = find_study(study), []
    explorer = None
    if targets is None or targets:
        try:
            explorer = explore(matrix, reference, targets, partial(progress, f"mixtures for {matrix.name}"))
        except InputError as error:
            problems.append(f"No mixture could be selected: {'; '.join(error.faults)}.")
    source = StudySource(reference=study, explorer=explorer)
    if path.is_dir():
        comparisons, lacking = _comparisons(path, matrix)
        problems += lacking
        recipe = _recipe(path, problems)
        versions = _versions(path, problems) if recipe is not None else ()
        source = replace(source, folder=read_study(path), recipe=recipe, versions=versions, comparisons=comparisons)
    return replace(source, problems=tuple(problems))


def _recipe(folder: Path, problems: list[str]) -> Recipe | None:
    path = folder / RECIPE
    try:
        return load_recipe(path) if path.is_file() else None
    except InputError as error:
        problems.append(f"The recipe cannot be read: {'; '.join(error.faults)}.")
        return None


def _versions(folder: Path, problems: list[str]) -> tuple[str, ...]:
    """Versions of the programs that the runs were trained with, every one once."""
    store, found = Store(folder), set()
    try:
        for run_id in store.known():
            record = store.training(run_id)
            found |= set(record.versions.items()) if record is not None else set()
    except InputError as error:
        problems.append(f"Not all records of the runs can be read: {'; '.join(error.faults)}.")
    return tuple(f"{name} {version}" for name, version in sorted(found))


def _comparisons(folder: Path, matrix: TransferMatrix) -> tuple[tuple[tuple[str, Comparison], ...], list[str]]:
    """The comparisons that the folder keeps, and why some are not shown."""
    names = comparison_names(folder)
    if not names:
        return (), []
    try:
        return tuple(_judged(folder, matrix, names)), []
    except (InputError, MissingPackageError) as error:
        told = "; ".join(str(error).split("\n"))
        return (), [f"Comparisons are left out: {told}."]


def _judged(folder: Path, matrix: TransferMatrix, names: Sequence[str]) -> Iterator[tuple[str, Comparison]]:
    session = reopen(folder)
    # What is judged here must not have shaped the prediction.
    alone = replace(matrix, evidence=None)
    for name in names:
        yield name, judge(session, alone, load_comparison(folder, name))
