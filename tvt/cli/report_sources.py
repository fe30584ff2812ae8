"""What a report tells of a study beside its matrix: gathered from its folder, with what could not be had told as such."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tvt.cli.judged import judge
from tvt.cli.progress_bar import progress_bar
from tvt.compare.comparison import Comparison
from tvt.core.matrix import TransferMatrix
from tvt.core.recipe import Recipe
from tvt.data.studies.folder import read_study
from tvt.data.studies.load import find_study
from tvt.errors import InputError, MissingPackageError
from tvt.io.recipe_file import load_recipe
from tvt.report.html.explorer_data import Explorer, explore
from tvt.report.html.study_data import StudySource
from tvt.study.session import reopen
from tvt.study.store import RECIPE, Store
from tvt.study.views import comparison_names, load_comparison


def study_source(study: str, matrix: TransferMatrix, reference: Sequence[str], targets: Sequence[str] | None) -> StudySource:
    """Gather what is known of a study.

    Args:
        study: what the person wrote.
        matrix: of that study.
        reference: how a command line names the study, with its options.
        targets: for which mixtures are selected; ``None``: as many as is usual, empty: none at all, not even for all together.
    """
    path, problems = find_study(study), []
    explorer = None
    if targets is None or targets:
        try:
            explorer = _explore(matrix, reference, targets)
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


def _explore(matrix: TransferMatrix, reference: Sequence[str], targets: Sequence[str] | None) -> Explorer:
    with progress_bar(f"mixtures for {matrix.name}") as show:
        return explore(matrix, reference, targets, show)


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
