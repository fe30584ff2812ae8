"""What the runs of a study left behind, read for an analysis: their adapters, compared, and their answers, counted.

What the records say is enough: neither the tasks' rows nor the base model need be there, so a study that was moved can be
looked at as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvt.core.answer_statistics import AnswerReport, AnswerStatistics, GivenAnswer, ScoredCell, answer_statistics
from tvt.core.recipe import Recipe, WarningSettings
from tvt.core.scores import Part, Run, Score, set_name
from tvt.data.studies.beside import DOSES_FILE, read_doses
from tvt.data.studies.folder import StudyFolder, read_answer_file, read_study
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io.adapter_file import verify_adapter
from tvt.io.lora_file import LoraFile, LowRank, open_lora
from tvt.io.yaml_files import load_recipe
from tvt.study.jobs import RunTask
from tvt.study.plan import Study
from tvt.study.store import RECIPE, Cell, RunRecord, Store
from tvt.train.record import ADAPTER

if TYPE_CHECKING:
    from tvt.transfer.adapter_similarity import AdapterKey, AdapterSimilarity

Progress = Callable[[int, int], None]
"""Called with how many modules are compared and how many there are."""
_REMEDY = "name the folder of a study that tvt study run made, or leave out --adapters"


def _silent(done: int, total: int) -> None:
    pass


def study_adapters(folder: Path, progress: Progress = _silent) -> AdapterSimilarity:
    """Compare the adapters of a study's sources, seed by seed.

    Every adapter is checked against its record first. Then the files are read module by module: what is in memory is one
    module's matrices of all adapters, in float64 (for 53 tasks, rank 8 and the largest layers of a 32B model some 0.2 GB a
    seed), however large the adapters are.

    Args:
        folder: the study folder.
        progress: called with how many modules are done.

    Raises:
        InputError: no study with runs, fewer than two sources with adapters, two runs that could each be a source's, or
            adapters that are damaged or no plain LoRA; every fault, one line each.
    """
    from tvt.transfer.adapter_similarity import adapter_similarity  # loads scipy.stats, which answers need not

    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"{folder}: holds no adapters ({RECIPE} and runs/ are missing); {_REMEDY}")
    recipe, store = load_recipe(path), Store(folder)
    if recipe.training.method == "full":
        raise InputError(f"{folder}: finetunes the whole model, and likeness is of LoRA adapters; leave out --adapters")
    doses = read_doses(folder / DOSES_FILE, recipe.sources) if (folder / DOSES_FILE).is_file() else {}
    folders, missing = _find(recipe, store, doses)
    sources = dict.fromkeys(source for source, _ in folders)
    if len(sources) < 2:
        what = f"adapters of {len(sources)} of {len(recipe.sources)} sources, and comparing takes two"
        why = f" ({missing[0]})" if missing else ""
        raise InputError(f"{folder}: holds {what}{why}; finish the study with tvt study run, or leave out --adapters")
    files = _open(folders)
    return adapter_similarity(list(folders), _streamed(files, progress), missing)


def _find(recipe: Recipe, store: Store, doses: Mapping[str, float]) -> tuple[dict[AdapterKey, Path], list[str]]:
    """The adapter of every source and seed, in the recipe's order, and what to say of those that are not there."""
    known = store.known()
    folders: dict[AdapterKey, Path] = {}
    missing, faults = [], []
    for seed in recipe.seeds:
        for source in recipe.sources:
            whole = {source: round(doses.get(source, 1.0) * recipe.budget)}
            runs = [run for run, spec in known.items() if _is_run(spec, whole, seed, recipe)]
            trained = [run for run in runs if store.training(run) is not None and (store.run_folder(run) / ADAPTER).is_dir()]
            if len(trained) > 1:
                where = " and ".join(str(store.run_folder(run)) for run in trained)
                hint = "delete the one that stands on other rows or another base model than the study does now"
                faults.append(f"{where}: both are {source}, seed {seed}; {hint}")
            elif trained:
                folders[source, f"seed_{seed}"] = store.run_folder(trained[0]) / ADAPTER
            else:
                reason = next((why for run in runs if (why := store.failure(run))), "not trained yet")
                missing.append(f"{source}, seed {seed}: {reason}")
    if faults:
        raise InputError(*faults)
    return folders, missing


def _is_run(spec: RunRecord, counts: Mapping[str, int], seed: int, recipe: Recipe) -> bool:
    """Whether a run is that of a source alone on as many examples as it gets, trained as the recipe says."""
    if dict(spec.run.counts) != counts or spec.run.seed != seed:
        return False
    expected, identity = recipe.training_identity(), spec.identity
    here = {part: {**identity.get(part, {})} for part in expected}
    for part in (expected["model"], here["model"]):
        part.pop("model_name_or_path", None)  # a digest in the one, a folder in the other
    return here == expected


def _open(folders: Mapping[AdapterKey, Path]) -> list[LoraFile]:
    """Check all adapters, also whether they fit each other."""
    faults: list[str] = []
    files: list[LoraFile] = []
    for folder in folders.values():
        try:
            verify_adapter(folder)
            files.append(open_lora(folder))
        except InputError as error:
            faults += error.faults
    faults = faults or list(_widths(files))
    if faults:
        raise InputError(*faults)
    return files


def _widths(files: list[LoraFile]) -> Iterator[str]:
    """Modules that are not as wide as in the adapter before: those of another base model."""
    first: dict[str, tuple[LoraFile, tuple[int, int]]] = {}
    for file in files:
        for module in file.modules:
            earlier, shape = first.setdefault(module, (file, file.shape(module)))
            if file.shape(module) != shape:
                where = f"{file.path.parent}: {module} has another width than in {earlier.path.parent}"
                yield f"{where}; compare adapters of one base model"
                break


def _streamed(files: list[LoraFile], progress: Progress) -> Iterator[tuple[str, list[LowRank | None]]]:
    """Every module with all adapters' updates of it."""
    modules = list(dict.fromkeys(module for file in files for module in file.modules))
    for done, module in enumerate(modules, 1):
        yield module, [file.read(module) for file in files]
        progress(done, len(modules))


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
                result = statistics_of(store, cell, name)
                yield ScoredCell(run=run.name, target=name, base=run.is_base, statistics=result)


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
        result = answer_statistics(map(_answered, items))
    except (InputError, KeyError, TypeError, ValueError):
        return None
    return result if result.questions == cell.total else None


def _answered(item: Mapping[str, Any]) -> GivenAnswer:
    """An answer as it lies on disk."""
    return GivenAnswer(
        predicted=item["predicted"], answer=item["answer"], scores=item.get("scores"), open_ended=item.get("credit") is not None
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
            if _is_scored_run(score, spec, study.manifest.budget) and (cell := cells[run_id].get((score.target, "evaluation")))
            if (cell.correct, cell.total) == (score.correct, score.total)
        ]
        name = "base" if score.source is None else f"{score.source}, {score.run.replace('seed_', 'seed ')}"
        result = statistics_of(store, fitting[0], score.target) if len(fitting) == 1 else None
        yield ScoredCell(run=name, target=score.target, base=score.source is None, statistics=result)


def _is_scored_run(score: Score, spec: RunRecord, budget: int | None) -> bool:
    """Whether a run's ``spec.json`` is of the run that a score is of."""
    if score.source is None:
        return spec.run.is_base
    return dict(spec.run.counts) == {score.source: budget} and f"seed_{spec.run.seed}" == score.run
