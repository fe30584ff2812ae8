"""How the runs of a study answered: from their records, or, where a record does not say so, from the answers themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tvt.core.answer_statistics import AnswerReport, AnswerStatistics, GivenAnswer, ScoredCell, answer_statistics
from tvt.core.recipe import WarningSettings
from tvt.core.scores import Part, Run, Score, set_name
from tvt.data.studies.folder import StudyFolder, read_answer_file, read_study
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io.yaml_files import load_recipe
from tvt.study.jobs import RunTask
from tvt.study.plan import Study
from tvt.study.store import RECIPE, Cell, RunRecord, Store


def answer_report(study: Study, store: Store, tasks: Sequence[RunTask]) -> AnswerReport:
    """What is known of the answers of some runs, and of the questions that they answer."""
    cells = dict.fromkeys(where for task in tasks for where in task.keys)
    return AnswerReport(
        thresholds=study.recipe.warnings,
        cells=tuple(scored_cells(store, ((task.run_id, task.run, task.keys) for task in tasks))),
        sets=tuple(study.sets[where] for where in cells if where in study.sets),
    )


def scored_cells(store: Store, runs: Iterator[tuple[str, Run, Mapping[tuple[str, Part], str]]]) -> Iterator[ScoredCell]:
    """The cells of runs, each with its id and the keys of the cells that are meant; what is not scored yet is left out."""
    for run_id, run, keys in runs:
        cells = store.finished(run_id).cells
        for (target, part), key in keys.items():
            cell = cells.get((target, part))
            if cell is not None and cell.key == key:
                name = set_name(target, part)
                found = statistics_of(store, cell, name)
                yield ScoredCell(run=run.name, target=name, base=run.is_base, statistics=found)


def statistics_of(store: Store, cell: Cell, name: str) -> AnswerStatistics | None:
    """A cell's statistics; those of a record of version 0.1.0 are counted from its answers, where all of these are there.

    Args:
        store: the runs.
        cell: a run's score.
        name: of the set of questions.
    """
    if cell.statistics is not None:
        return cell.statistics
    try:
        items, _ = AnswerStore.reopen(store.answers / cell.answers).finished(name)
        found = answer_statistics(map(_answered, items))
    except (InputError, KeyError, TypeError, ValueError):
        return None
    return found if found.questions == cell.total else None


def _answered(item: Mapping[str, Any]) -> GivenAnswer:
    """An answer as it lies on disk."""
    return GivenAnswer(
        predicted=item["predicted"], answer=item["answer"], scores=item.get("scores"), numeric=item.get("credit") is not None
    )


def folder_report(folder: Path) -> AnswerReport:
    """What a study folder says of the answers behind its scores, wherever its questions and its model lie now.

    A folder that version 0.1.0 wrote does not say it: its runs are looked up by what ``scores.csv`` states of them. A folder
    without runs was not measured by tvt, and nothing is known of it.

    Raises:
        InputError: the folder's records are damaged.
    """
    written = read_answer_file(folder)
    if written is not None:
        return written
    if not (folder / "runs").is_dir():
        return AnswerReport(thresholds=WarningSettings(), known=False)
    study, store = read_study(folder), Store(folder)
    return AnswerReport(thresholds=_thresholds(folder), cells=tuple(_looked_up(study, store)))


def _thresholds(folder: Path) -> WarningSettings:
    try:
        return load_recipe(folder / RECIPE).warnings
    except (InputError, OSError):
        return WarningSettings()


def _looked_up(study: StudyFolder, store: Store) -> Iterator[ScoredCell]:
    """The cells of ``scores.csv``, each with the answers of the one run that has this score."""
    known = store.known()
    cells = {run_id: store.finished(run_id).cells for run_id in known}
    for score in study.scores:
        fitting = [
            cell
            for run_id, spec in known.items()
            if _is_run(score, spec, study.manifest.budget) and (cell := cells[run_id].get((score.target, "evaluation")))
            if (cell.correct, cell.total) == (score.correct, score.total)
        ]
        name = "base" if score.source is None else f"{score.source}, {score.run.replace('seed_', 'seed ')}"
        found = statistics_of(store, fitting[0], score.target) if len(fitting) == 1 else None
        yield ScoredCell(run=name, target=score.target, base=score.source is None, statistics=found)


def _is_run(score: Score, spec: RunRecord, budget: int | None) -> bool:
    """Whether a run's ``spec.json`` is of the run that a score is of."""
    if score.source is None:
        return spec.run.is_base
    return dict(spec.run.counts) == {score.source: budget} and f"seed_{spec.run.seed}" == score.run
