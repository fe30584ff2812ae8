"""What a study's runs say, as values: the scores that make its matrix, and the answers that a comparison needs.

The study folder is itself a study that every command of tvt reads: ``study.yaml``, ``scores.csv`` and ``mixtures.csv`` are
written anew from the runs' records whenever a run is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tvt.core.answer_statistics import AnswerReport
from tvt.core.arms import Answers, Arm, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.scores import MaskedScore, MixtureScore, Part, Run, Score, placebo_name, set_name, tally
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, write_answer_file, write_study
from tvt.data.studies.mixtures import MIXTURES_FILE
from tvt.errors import InputError, suggest
from tvt.evaluate.store import items_file
from tvt.io import atomic, digest, json_lines, json_text
from tvt.io.atomic import exclusively
from tvt.io.model_folder import numbers_in
from tvt.io.yaml_files import load_mixture, save_mixture
from tvt.study.outputs import scored_cells
from tvt.study.plan import BASE_RUN, Study
from tvt.study.store import RunRecord, Store

Row = Score | MaskedScore


def write_views(study: Study, store: Store) -> None:
    """Write what the study has measured so far, if its base model is scored."""
    with exclusively(store.folder / ".views"):
        rows = list(source_scores(study, store))
        scores = [row for row in rows if isinstance(row, Score)]
        if not any(score.source is None for score in scores):
            return
        mixtures = tuple(mixture_scores(study, store))
        manifest = StudyManifest(
            name=study.recipe.name,
            model=study.recipe.model.model_name_or_path,
            parameters=parameters(study.recipe.model.model_name_or_path),
            budget=study.recipe.budget,
            tasks=_tasks(study),
        )
        write_answer_file(store.folder, _answered(study, store))
        write_study(
            store.folder,
            manifest,
            scores,
            [row for row in rows if isinstance(row, MaskedScore)],
            mixtures=mixtures,
            placebos=tuple(placebo_scores(study, store)),
            doses=study.limited,
            notes="Written by tvt study from the runs' records; changes are lost.",
        )
        if not mixtures:  # those of an earlier recipe would contradict study.yaml
            (store.folder / MIXTURES_FILE).unlink(missing_ok=True)


def _answered(study: Study, store: Store) -> AnswerReport:
    """How the runs that the tables hold answered."""
    keys = {where: key for where, key in study.questions.items() if where[1] == "evaluation"}
    runs = [(study.run_id(run), run) for run in study.runs()]
    mixtures = [(run_id, spec.run) for run_id, spec in _mixtures(study, store)]
    cells = scored_cells(store, ((run_id, run, keys) for run_id, run in dict([*runs, *mixtures]).items()))
    sets = tuple(item for where, item in study.sets.items() if where in keys)
    return AnswerReport(thresholds=study.recipe.warnings, cells=tuple(cells), sets=sets)


def _tasks(study: Study) -> tuple[Task, ...]:
    manifests = {**study.sources, **study.targets}
    return tuple(manifest.task() for manifest in manifests.values())


def source_scores(study: Study, store: Store) -> Iterator[Row]:
    """The cells of the base and of every source's own run; a failed run's are masked with its reason."""
    for run in study.runs():
        if run.is_base:
            yield from _scored(study, store, run, "base", None)
        elif study.is_cell(run):
            yield from _scored(study, store, run, f"seed_{run.seed}", next(iter(run.counts)))


def matrix_of(study: Study, store: Store, seeds: Sequence[int] | None = None) -> TransferMatrix | None:
    """What the runs say so far; ``None`` before the base model and a source are scored.

    Args:
        study, store: of the runs.
        seeds: whose runs count; by default the recipe's.
    """
    allowed = {"base", *(f"seed_{seed}" for seed in (study.recipe.seeds if seeds is None else seeds))}
    rows = [row for row in source_scores(study, store) if row.run in allowed]
    scores = [row for row in rows if isinstance(row, Score)]
    if not any(score.source is not None for score in scores) or all(score.source is not None for score in scores):
        return None
    return TransferMatrix.from_scores(
        scores,
        masked=[row for row in rows if isinstance(row, MaskedScore)],
        tasks=[manifest.task() for manifest in {**study.sources, **study.targets}.values()],
        name=study.recipe.name,
        mixtures=[row for row in mixture_scores(study, store) if row.run in allowed],
        placebos=[row for row in placebo_scores(study, store) if row.run in allowed],
        doses=study.limited,
    )


def placebo_scores(study: Study, store: Store) -> Iterator[Row]:
    """The cells of every placebo run, with the placebo's name in place of a source."""
    for run in study.runs():
        if run.placebo is not None:
            yield from _scored(study, store, run, f"seed_{run.seed}", placebo_name(run.placebo))


def _scored(study: Study, store: Store, run: Run, name: str, source: str | None) -> Iterator[Row]:
    """The cells of one run."""
    run_id = study.run_id(run)
    cells = store.finished(run_id).cells
    reason = None
    for target in study.targets:
        cell = cells.get((target, "evaluation"))
        if cell is not None and cell.key == study.questions[target, "evaluation"]:
            yield Score(
                run=name,
                source=source,
                target=target,
                accuracy=cell.correct / cell.total,
                correct=cell.correct,
                total=cell.total,
                both_correct=cell.both_correct,
            )
            continue
        reason = reason or store.failure(run_id)
        if reason is not None:
            yield MaskedScore(run=name, source=source, target=target, reason=reason)


def mixture_scores(study: Study, store: Store) -> Iterator[MixtureScore]:
    """The cells of every other run that was trained as the study's are: doses, and mixtures of several sources."""
    budget = study.recipe.budget
    for run_id, spec in _mixtures(study, store):
        counts = spec.run.counts
        cells = store.finished(run_id).cells
        for target in study.targets:
            cell = cells.get((target, "evaluation"))
            if cell is not None and cell.key == study.questions[target, "evaluation"]:
                yield MixtureScore(
                    mixture=_mixture_name(counts, budget),
                    run=f"seed_{spec.run.seed}",
                    weights={source: count / budget for source, count in counts.items()},
                    target=target,
                    correct=cell.correct,
                    total=cell.total,
                    both_correct=cell.both_correct,
                )


def _mixtures(study: Study, store: Store) -> Iterator[tuple[str, RunRecord]]:
    """The ids of those runs, with what ``spec.json`` says of them."""
    budget, family = study.recipe.budget, digest.of_value(study.family())
    for run_id, spec in store.known().items():
        counts = spec.run.counts
        whole = len(counts) == 1 and sum(counts.values()) == budget
        if not counts or spec.run.placebo or sum(counts.values()) > budget or whole or study.is_cell(spec.run):
            continue
        if spec.run.seed in study.recipe.seeds and _belongs(study, spec.identity, counts, family):
            yield run_id, spec


def foreign_runs(study: Study, store: Store) -> list[str]:
    """Ids of runs in the folder that are none of the study's, nor on its sources: of another seed, budget, model or recipe."""
    family = digest.of_value(study.family())
    mine = {study.run_id(run) for run in study.runs()}
    foreign = []
    for run_id, spec in store.known().items():
        counts = spec.run.counts
        fits = spec.run.seed in study.recipe.seeds and sum(counts.values()) <= study.recipe.budget and not spec.run.placebo
        if run_id not in mine and not (counts and fits and _belongs(study, spec.identity, counts, family)):
            foreign.append(run_id)
    return foreign


def _mixture_name(counts: Mapping[str, int], budget: int) -> str:
    """A name that depends on the counts alone: the same mixture may go by several labels."""
    shares = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    names = " + ".join(f"{100 * count / budget:.3g}% {source}" for source, count in shares[:4])
    more = f" + {len(shares) - 4} more" if len(shares) > 4 else ""
    return f"{names}{more} [{digest.of_value(dict(counts))[:6]}]"


def _belongs(study: Study, identity: Mapping[str, Any], counts: Mapping[str, int], family: str) -> bool:
    mine = digest.of_value({name: identity.get(name) for name in study.family()}) == family
    return mine and all(study.training.get(source) == identity["data"].get(source) for source in counts)


def parameters(model_name_or_path: str) -> float | None:
    """Parameters of the base model in billions: counted where it is a folder, else what its name says, if anything."""
    folder = Path(model_name_or_path)
    if folder.is_dir():
        return numbers_in(folder) / 1e9 or None
    match = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)[Bb](?![a-z])", folder.name)
    return float(match.group(1)) if match else None


def comparison_runs(arms: Sequence[Arm], seeds: Sequence[int]) -> dict[tuple[str, int], Run]:
    """The run of each arm and seed; an arm without examples is the base model."""
    return {
        (arm.label, seed): (
            Run(label=arm.label, counts=arm.counts, seed=seed, placebo=arm.placebo) if sum(arm.counts.values()) else BASE_RUN
        )
        for arm in arms
        for seed in seeds
    }


def measured(
    study: Study,
    store: Store,
    arms: Sequence[Arm],
    targets: Sequence[str],
    *,
    seeds: Sequence[int] | None = None,
    part: Part | None = None,
) -> Measured:
    """The answers of a comparison's runs; what is missing comes with its reason.

    Args:
        study, store: of the runs.
        arms: that are compared.
        targets: that they are compared on.
        seeds: of the runs; by default the recipe's.
        part: of the questions; by default what is reported on.

    Raises:
        InputError: the base model is not scored yet.
    """
    seeds = study.recipe.seeds if seeds is None else seeds
    base = _answers(study, store, BASE_RUN, targets, part)
    if isinstance(base, str):
        raise InputError(f"{store.folder}: the base model: {base}; run the comparison with --run")
    answers: dict[str, dict[int, Mapping[str, Answers]]] = {arm.label: {} for arm in arms}
    missing: dict[tuple[str, int], str] = {}
    for (label, seed), run in comparison_runs(arms, seeds).items():
        result = _answers(study, store, run, targets, part)
        if isinstance(result, str):
            missing[label, seed] = result
        else:
            answers[label][seed] = result
    ceilings = {target: study.targets[target].ceiling for target in targets}
    return Measured(targets=tuple(targets), seeds=tuple(seeds), ceilings=ceilings, base=base, answers=answers, missing=missing)


def _answers(study: Study, store: Store, run: Run, targets: Sequence[str], only: Part | None) -> dict[str, Answers] | str:
    """What each answer is worth, by target; or why it is not known."""
    run_id = study.run_id(run)
    cells = store.finished(run_id).cells
    result: dict[str, Answers] = {}
    for target in targets:
        part = only or study.part(target)
        cell = cells.get((target, part))
        if cell is None or cell.key != study.questions[target, part]:
            return store.failure(run_id) or "not done yet"
        path = items_file(store.answers / cell.answers, set_name(target, part))
        try:
            items = json_lines.read(path)
            result[target] = np.array([item.get("credit", item["correct"]) for item in items], dtype=np.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: missing or damaged; delete {store.run_folder(run_id)} and run again") from error
        if len(items) != cell.total or tally(result[target].tolist()) != cell.correct:
            raise InputError(f"{path}: is not what the run's record says; delete {store.run_folder(run_id)} and run again")
    return result


MIXTURE, ENTRIES = "mixture.yaml", "entries.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class StoredComparison:
    """A comparison of the study."""

    name: str
    mixture: Mixture
    arms: tuple[Arm, ...]


def comparison_name(mixture: Mixture, stem: str) -> str:
    """What the comparison of a mixture is called: the mixture file's name and the start of its content's digest."""
    return f"{stem}-{digest.of_value(mixture.model_dump(mode='json'))[:8]}"


def keep_comparison(folder: Path, comparison: StoredComparison) -> None:
    """Write a comparison into a study's folder; the arms come last."""
    place = folder / "comparisons" / comparison.name
    save_mixture(comparison.mixture, place / MIXTURE)
    record = {"schema": SCHEMA, "entries": [arm.model_dump(mode="json", exclude_none=True) for arm in comparison.arms]}
    atomic.write_text(place / ENTRIES, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def comparison_names(folder: Path) -> tuple[str, ...]:
    """The comparisons of a study, the oldest first."""
    text = sorted((folder / "comparisons").glob(f"*/{ENTRIES}"), key=lambda path: (path.stat().st_mtime_ns, path))
    return tuple(path.parent.name for path in text)


def load_comparison(folder: Path, name: str) -> StoredComparison:
    """Read a comparison.

    Raises:
        InputError: no such comparison, or a damaged one.
    """
    place = folder / "comparisons" / name
    names: Sequence[str] = comparison_names(folder)
    if name not in names:
        known = f"; there are {', '.join(names)}" if names else ""
        raise InputError(f"{folder}: no comparison '{name}'{suggest(name, names)}{known}")
    try:
        record = json_text.loads((place / ENTRIES).read_text(encoding="utf-8"))
        arms = tuple(Arm.model_validate(arm) for arm in record["entries"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{place / ENTRIES}: damaged; delete {place} and compare the mixture again") from error
    return StoredComparison(name=name, mixture=load_mixture(place / MIXTURE), arms=arms)
