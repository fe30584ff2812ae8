"""The swarm of the world of mixed sources: mixture runs beside its single-source runs, for fitting and judging predictions.

    python scripts/world_swarm.py -o studies/world [--singles] [--workers 2] [--bundle data_manifests/studies/miniature-swarm]

200 runs of ``recipes/world.yaml`` on drawn mixtures, some 30 CPU seconds a run; what is done is not done again. With
``--singles`` it does the study's own runs too. ``--bundle`` writes the scores and weights alone, as the study
``miniature-swarm`` that comes with tvt.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from tvt.core.recipe import Recipe
from tvt.core.scores import Run
from tvt.data.task_questions import count, locate
from tvt.io import strict_yaml
from tvt.io.yaml_files import load_recipe
from tvt.report.study_tables import StudyProgress
from tvt.selection.audit import round_to_counts
from tvt.study.executors import choose_executor
from tvt.study.jobs import RunTask, Where, make_task
from tvt.study.session import Session, open_session
from tvt.types import Floats

ROOT = Path(__file__).resolve().parents[1]
MIXTURES, REPEATED = 176, 12
"""Different mixtures, and how many of them are trained with three seeds instead of one: 200 runs."""
SOME = (2, 3, 4, 6, 8, 12)
"""How many sources a mixture has, besides all."""
EPOCHS = 10
"""How often an example is used at most: own data of 32 rows reaches 10% of the budget."""


def draw(rng: np.random.Generator, caps: Floats) -> Floats:
    """One mixture: some of the sources, or all, with shares from even to very uneven."""
    sources = len(caps)
    used = sources if rng.random() < 0.25 else int(rng.choice(SOME))
    chosen = rng.choice(sources, used, replace=False)
    weights = np.zeros(sources)
    weights[chosen] = rng.dirichlet(np.full(used, rng.choice([0.3, 1.0, 3.0]))) + 1e-6
    for _ in range(50):  # what a small source cannot take goes to the others
        weights = np.minimum(weights / weights.sum(), caps)
    shares: Floats = weights / weights.sum()
    return shares


def mixture_runs(recipe: Recipe, sizes: dict[str, int]) -> list[Run]:
    """The swarm's runs, always the same ones: the repeated mixtures first."""
    rng = np.random.default_rng(0)
    caps = np.array([min(1.0, EPOCHS * sizes[source] / recipe.budget) for source in recipe.sources])
    runs = []
    for k in range(MIXTURES):
        weights = draw(rng, caps)
        while weights.max() > 0.99 or (weights > caps + 1e-9).any():
            weights = draw(rng, caps)
        counts = round_to_counts(weights, recipe.budget, caps=caps)
        by_source = {s: int(n) for s, n in zip(recipe.sources, counts, strict=True) if n}
        seeds = (0, 1, 2) if k < REPEATED else (k % 3,)
        runs += [Run(label=f"swarm {k + 1}", counts=by_source, seed=seed) for seed in seeds]
    return runs


def do(session: Session, tasks: list[RunTask], workers: int) -> None:
    """Do what is missing of the tasks."""
    states = session.status(tasks)
    todo = sum(states[task.run_id] not in ("done", "failed") for task in tasks)
    with StudyProgress(todo, Console(stderr=True)) as progress:
        session.do(tasks, choose_executor(session.study.recipe, workers=workers), progress)


PROVENANCE = """Measured by scripts/world_swarm.py: recipes/world.yaml (23 sources of unknown quality, 6 targets, 3 seeds,
placebos) and 200 runs on drawn mixtures of it. A tiny model on drawn tasks: it says nothing about real models, and is here to
try and to judge predictions on."""


def bundle(folder: Path, output: Path, targets: Sequence[str], sources: Sequence[str]) -> None:
    """Write a study's scores and weights, with short names of mixtures, into a folder of their own."""
    output.mkdir(parents=True, exist_ok=True)
    for name in ("scores.csv", "doses.csv", "placebos.csv"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)
    with (folder / "mixtures.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    names = {label: f"mixture {k + 1:03d}" for k, label in enumerate(sorted({row[0] for row in rows}))}
    with (output / "mixtures.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(header)
        lines.writerows(sorted([names[row[0]], *row[1:]] for row in rows))
    study = {
        "format_version": 1,
        "name": "miniature-swarm",
        "model": "tvt/miniature-balanced",
        "parameters": 0.000751776,
        "budget": 3200,
        "mixtures": "mixtures.csv",
        "counts": "measured",
        "provenance": " ".join(PROVENANCE.split()),
        "tasks": list(dict.fromkeys((*sources, *targets))),
    }
    (output / "study.yaml").write_text(strict_yaml.dump(study), encoding="utf-8")


def main() -> None:
    """Run the study and the swarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the study's folder")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "world.yaml")
    parser.add_argument("--singles", action="store_true", help="do the study's own runs first")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--bundle", type=Path, help="folder to write the scores and weights to, when all is done")
    args = parser.parse_args()
    session = open_session(load_recipe(args.recipe), args.output)
    study = session.study
    sizes = {name: count(locate(manifest, "training")) for name, manifest in study.sources.items()}
    cells: list[Where] = [(target, "evaluation") for target in study.targets]
    tasks = [make_task(study, run, cells) for run in mixture_runs(study.recipe, sizes)]
    do(session, [*(session.tasks() if args.singles else ()), *tasks], args.workers)
    if args.bundle:
        bundle(args.output, args.bundle, list(study.targets), list(study.sources))


if __name__ == "__main__":
    main()
