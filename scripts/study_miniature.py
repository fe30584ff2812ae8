"""The whole loop on the miniature, larger: does the selected mixture beat its baselines, and do predicted gains come true?

    python scripts/study_miniature.py -o studies/miniature-large [--seeds 4] [--targets Jigsaw ...]

A study of all sources with at least four seeds; then, for each target, a mixture selected without the target's own data,
trained with its baselines on every seed and reported on questions that the selection did not see. An hour or more on two cores;
what is done is not done again. Prints the tables of
tvt/docs/miniature.md.
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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One target's selection and what came of it."""

    target: str
    kept: StoredComparison
    comparison: Comparison


def do(session: Session, tasks: list[RunTask], workers: int) -> None:
    """Do what is missing of the tasks."""
    states = session.status(tasks)
    todo = sum(states[task.run_id] not in ("done", "failed") for task in tasks)
    with StudyProgress(todo, Console(stderr=True)) as progress:
        session.do(tasks, choose_executor(session.study.recipe, workers=workers), progress)


def choose(session: Session, matrix: TransferMatrix, target: str) -> StoredComparison:
    """The comparison of the mixture selected for a target without the target's own data; kept, so that it stays what it is."""
    name = next((n for n in comparison_names(session.store.folder) if n.rsplit("-", 1)[0] == target), None)
    if name is not None:
        return load_comparison(session.store.folder, name)
    spec = SelectionSpec(targets={target: 1.0}, without_direct=True, budget=session.study.recipe.budget)
    chosen = select(matrix, spec)
    if not isinstance(chosen, Mixture):
        sys.exit(f"{target}: {chosen.reason}")
    kept = StoredComparison(
        name=comparison_name(chosen, target), mixture=chosen, arms=arms_of(matrix, chosen, budget=chosen.budget)
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
    for kind, found in counted.items():
        cells = [str(found[verdict]) for verdict in ("better", "worse", "no difference shown", "same mixture")]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def gains(outcomes: Sequence[Outcome]) -> list[str]:
    """Realised PGF of every entry, by target."""
    labels = list(dict.fromkeys(entry.label for outcome in outcomes for entry in outcome.comparison.arms))
    lines = [f"| target | base | verdict | {' | '.join(labels)} |", f"|---|---|---|{'---|' * len(labels)}"]
    for outcome in outcomes:
        comparison, cells = outcome.comparison, []
        for label in labels:
            entry = comparison.same.get(label, label)
            found = next((c.pgf for c in comparison.gains if c.arm == entry and c.target is None), None)
            cells.append("-" if found is None else f"{found.value:+.3f} ±{found.error:.3f}")
        base = f"{100 * comparison.base[outcome.target]:.1f}%"
        lines.append(f"| {outcome.target} | {base} | {outcome.kept.mixture.verdict} | {' | '.join(cells)} |")
    return lines


def promise(outcomes: Sequence[Outcome]) -> str:
    """How well predicted gains rank and match realised ones, over all trained mixtures and targets."""
    points = [point for outcome in outcomes for point in outcome.comparison.calibration.points]
    predicted = np.array([point.predicted for point in points])
    realised = np.array([point.realised for point in points])
    rank = spearmanr(predicted, realised)
    chosen = [p.predicted - p.realised for p in points if p.kind == "selected"]
    others = [p.predicted - p.realised for p in points if p.kind != "selected"]
    return (
        f"Predicted against realised PGF over {len(points)} pairs of mixture and target: rank correlation "
        f"{rank.statistic:.2f} (p {rank.pvalue:.2g}); predicted less realised {np.mean(chosen):+.3f} for the selected "
        f"mixtures, {np.mean(others):+.3f} for the others."
    )


def main() -> None:
    """Run the study, select, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the study's folder")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "miniature.yaml")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--targets", nargs="+", default=["Jigsaw", "Nearest_Post", "Count_Comparison", "Visual_Similarity"])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    recipe = load_recipe(args.recipe, [f"seeds={list(range(args.seeds))}"])
    session = open_session(recipe, args.output)
    do(session, session.tasks(), args.workers)
    matrix = replace(load_study(args.output), evidence=None)
    kept = {target: choose(session, matrix, target) for target in args.targets}
    tasks: dict[str, RunTask] = {}
    for target, comparison in kept.items():
        runs = list(comparison_runs(comparison.arms, recipe.seeds).values())
        for task in session.comparison_tasks(runs, [target]):
            known = tasks.get(task.run_id)
            tasks[task.run_id] = task if known is None else replace(task, keys={**known.keys, **task.keys})
    do(session, list(tasks.values()), args.workers)
    outcomes = []
    for target, comparison in kept.items():
        found = measured(session.study, session.store, comparison.arms, [target])
        spec = SelectionSpec.model_validate(comparison.mixture.provenance["spec"])
        outcomes.append(Outcome(target=target, kept=comparison, comparison=compare(found, comparison.arms, matrix, spec)))
    print("\n".join(["", *gains(outcomes), "", *verdicts(outcomes), "", promise(outcomes)]))


if __name__ == "__main__":
    main()
