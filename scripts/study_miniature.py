"""The whole loop on the miniature, larger: does the selected mixture beat its baselines, and do predicted gains come true?

    python scripts/study_miniature.py -o studies/miniature-large [--recipe recipes/world.yaml] [--seeds 4] [--own-data]
        [--randoms 3] [--targets Jigsaw ...]

A study of all sources with at least four seeds; then, for each target, a mixture selected without the target's own data (with
``--own-data`` another one where it is allowed), trained with its baselines on every seed and reported on questions that the
selection did not see. An hour or more on two cores; what is done is not done again. Prints the tables of tvt/docs/miniature.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

from tvt.compare.baselines import arms_of
from tvt.compare.comparison import Comparison
from tvt.compare.engine import compare
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.data.task_questions import count, locate
from tvt.io.yaml_files import load_recipe
from tvt.report.study_tables import StudyProgress
from tvt.selection.engine import select
from tvt.study.executors import choose_executor
from tvt.study.jobs import RunTask
from tvt.study.session import Session, open_session
from tvt.study.views import (
    StoredComparison,
    comparison_name,
    comparison_names,
    comparison_runs,
    keep_comparison,
    load_comparison,
    measured,
)

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 10
"""How often a mixture may use an example: what little own data there is may come again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One target's selection and what came of it."""

    target: str
    own_data: bool
    kept: StoredComparison
    comparison: Comparison


def do(session: Session, tasks: list[RunTask], workers: int) -> None:
    """Do what is missing of the tasks."""
    states = session.status(tasks)
    todo = sum(states[task.run_id] not in ("done", "failed") for task in tasks)
    with StudyProgress(todo, Console(stderr=True)) as progress:
        session.do(tasks, choose_executor(session.study.recipe, workers=workers), progress)


def choose(session: Session, matrix: TransferMatrix, target: str, own_data: bool, randoms: int) -> StoredComparison:
    """The comparison of the mixture selected for a target, with or without the target's own data; kept, so that it stays."""
    stem = f"{target}-own" if own_data else target
    name = next((n for n in comparison_names(session.store.folder) if n.rsplit("-", 1)[0] == stem), None)
    if name is not None:
        return load_comparison(session.store.folder, name)
    sizes = {source: count(locate(manifest, "training")) for source, manifest in session.study.sources.items()}
    spec = SelectionSpec(
        targets={target: 1.0}, without_direct=not own_data, budget=session.study.recipe.budget, sizes=sizes, max_epochs=EPOCHS
    )
    chosen = select(matrix, spec)
    if not isinstance(chosen, Mixture):
        sys.exit(f"{target}: {chosen.reason}")
    kept = StoredComparison(
        name=comparison_name(chosen, stem), mixture=chosen, arms=arms_of(matrix, chosen, budget=chosen.budget, randoms=randoms)
    )
    keep_comparison(session.store.folder, kept)
    return kept


def verdicts(outcomes: Sequence[Outcome]) -> list[str]:
    """How often the selected mixture is better than each kind of baseline, and than the base model."""
    counted: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        kinds = {entry.label: entry.kind for entry in outcome.comparison.arms}
        for difference in outcome.comparison.differences:
            if difference.target is None and difference.against is not None:
                counted.setdefault(kinds[difference.against], Counter())[difference.outcome] += 1
        counted.setdefault("base model", Counter())[outcome.comparison.gain("selected", None).outcome] += 1
    lines = ["| selected against | better | worse | no difference shown | same mixture |", "|---|---|---|---|---|"]
    for kind, outcomes_of in counted.items():
        cells = [str(outcomes_of[verdict]) for verdict in ("better", "worse", "no difference shown", "same mixture")]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def gains(outcomes: Sequence[Outcome]) -> list[str]:
    """Predicted and realised PGF of the selected mixture, and realised PGF of every other arm, by target."""
    labels = list(dict.fromkeys(entry.label for outcome in outcomes for entry in outcome.comparison.arms))
    lines = [f"| target | base | predicted | {' | '.join(labels)} |", f"|---|---|---|{'---|' * len(labels)}"]
    for outcome in outcomes:
        comparison, cells = outcome.comparison, []
        for label in labels:
            entry = comparison.same.get(label, label)
            gain = next((c.pgf for c in comparison.gains if c.arm == entry and c.target is None), None)
            cells.append("-" if gain is None else f"{gain.value:+.3f} ±{gain.error:.3f}")
        name = f"{outcome.target}{' (own data allowed)' if outcome.own_data else ''}"
        predicted = next((p for p in comparison.calibration.points if p.kind == "selected"), None)
        text = "-" if predicted is None else f"{predicted.predicted:+.3f}"
        lines.append(f"| {name} | {100 * comparison.base[outcome.target]:.1f}% | {text} | {' | '.join(cells)} |")
    return lines


def calibration(outcomes: Sequence[Outcome]) -> list[str]:
    """How well predicted gains rank and match realised ones, over the selected mixtures and over the others."""
    groups = {
        f"{'selected' if chosen else 'others'}, own data {'allowed' if own else 'left out'}": [
            point
            for outcome in outcomes
            for point in outcome.comparison.calibration.points
            if outcome.own_data == own and (point.kind == "selected") == chosen
        ]
        for own in sorted({outcome.own_data for outcome in outcomes})
        for chosen in (True, False)
    }
    groups["all"] = [point for points in groups.values() for point in points]
    lines = ["| mixtures | number | rank | predicted - realised | mean absolute error | inside 90% intervals |"]
    lines.append("|---|---|---|---|---|---|")
    for name, points in groups.items():
        predicted = np.array([point.predicted for point in points])
        realised = np.array([point.realised for point in points])
        error = predicted - realised
        rank = f"{spearmanr(predicted, realised).statistic:.2f}" if len(points) > 2 else "-"
        inside = np.mean([bool(point.inside) for point in points])
        lines.append(
            f"| {name} | {len(points)} | {rank} | {error.mean():+.3f} | {np.abs(error).mean():.3f} | {100 * inside:.0f}% |"
        )
    return lines


def main() -> None:
    """Run the study, select, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the study's folder")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "miniature.yaml")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--randoms", type=int, default=3, help="random mixtures beside each selected one")
    parser.add_argument("--own-data", action="store_true", help="select with the target's own data, too")
    parser.add_argument("--targets", nargs="+", default=["Jigsaw", "Nearest_Post", "Count_Comparison", "Visual_Similarity"])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, [f"seeds={list(range(args.seeds))}"])
    session = open_session(recipe, args.output)
    do(session, session.tasks(), args.workers)
    matrix = replace(load_study(args.output), evidence=None)
    pairs = [(target, own) for target in args.targets for own in ((False, True) if args.own_data else (False,))]
    kept = {pair: choose(session, matrix, *pair, args.randoms) for pair in pairs}
    tasks: dict[str, RunTask] = {}
    for (target, _), comparison in kept.items():
        runs = list(comparison_runs(comparison.arms, recipe.seeds).values())
        for task in session.comparison_tasks(runs, [target]):
            known = tasks.get(task.run_id)
            tasks[task.run_id] = task if known is None else replace(task, keys={**known.keys, **task.keys})
    do(session, list(tasks.values()), args.workers)
    outcomes = []
    for (target, own), comparison in kept.items():
        cells = measured(session.study, session.store, comparison.arms, [target])
        spec = SelectionSpec.model_validate(comparison.mixture.provenance["spec"])
        result = compare(cells, comparison.arms, matrix, spec)
        outcomes.append(Outcome(target=target, own_data=own, kept=comparison, comparison=result))
    print("\n".join(["", *gains(outcomes), "", *verdicts(outcomes), "", *calibration(outcomes)]))


if __name__ == "__main__":
    main()
