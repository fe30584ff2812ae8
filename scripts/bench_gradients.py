"""How well gradients of the base model rank a study's sources within its targets, beside what a study alone tells, and at
what cost.

    python scripts/bench_gradients.py RECIPE STUDY -o FOLDER --seeds 0 1 2

RECIPE is the study's recipe, STUDY the folder of its finished runs, of which nothing is changed. In FOLDER, each seed draws
rows, questions and the adapter's start anew; what is there is used again. Figures are rank correlations (Spearman) within
targets, own data left out, with the measured PGF: of the plain estimate, of cells hidden from the completion with and without
gradients (five parts in turn), of a source's mean effect on the other targets, and of two halves of the study's runs, beyond
which nothing can be known.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.data.studies.load import load_study
from tvt.evidence.completion import complete
from tvt.evidence.gradient_estimates import gradient_estimates, rank_within_targets
from tvt.evidence.gradients import in_units
from tvt.io.yaml_files import load_recipe
from tvt.study.session import open_session
from tvt.types import Bools, Floats

PARTS = 5
_TABLES = ("study.yaml", "scores.csv", "mixtures.csv", "placebos.csv", "doses.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    measured = replace(load_study(given.study), gradients=None)
    print(json.dumps({"halves": _mean(halves(measured), measured), "source_mean": _mean(source_means(measured), measured)}))
    for seed in given.seeds:
        cost = estimated(given.recipe, given.output / f"seed-{seed}", seed)
        print(
            json.dumps({"seed": seed, **figures(with_estimate(given.study, given.output / f"seed-{seed}")), **cost}), flush=True
        )


def estimated(recipe: str, folder: Path, seed: int) -> dict[str, Any]:
    """Take the gradients of one draw; what it took, and which share of a study's training rows its rows and questions are."""
    from tvt.study.gradients import estimate

    session = open_session(load_recipe(Path(recipe), [f"seeds=[{seed}]"]), folder)
    started, used = time.monotonic(), time.process_time()
    found = estimate(session)
    trained = sum(sum(run.counts.values()) for run in session.study.runs() if run.placebo is None)
    return {
        "rows": found.rows,
        "questions": found.questions,
        "share_of_one_seed": round((found.rows + found.questions) / trained, 4),
        "computed": found.computed,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }


def with_estimate(study: Path, folder: Path) -> TransferMatrix:
    """The measured matrix with the estimate beside it, which stands in another folder."""
    place = folder / "measured"
    place.mkdir(exist_ok=True)
    for path in (*(study / name for name in _TABLES), folder / "gradients.json"):
        if path.is_file():
            shutil.copyfile(path, place / path.name)
    return load_study(place)


def figures(matrix: TransferMatrix) -> dict[str, Any]:
    """Rank correlations within targets, and the calibration."""
    if matrix.gradients is None:
        raise SystemExit("no gradients.json was written")
    cells = matrix.gradients.reindex(matrix.sources, matrix.targets, change=in_units(matrix.gradients)[0])
    found = gradient_estimates(matrix)
    if found is None:
        raise SystemExit("no gradients.json was written")
    return {
        "gradients": _mean(cells.change, matrix),
        "completion": _mean(hidden(replace(matrix, gradients=None)), matrix),
        "completion_with_gradients": _mean(hidden(matrix), matrix),
        "slope": round(found.calibration.slope, 3),
        "slope_error": round(found.calibration.slope_error, 3),
        "scatter": round(found.calibration.scatter, 3),
    }


def halves(matrix: TransferMatrix) -> Floats:
    """The means of a study's two halves of runs, (2, sources, targets), which :func:`_mean` holds against each other."""
    half = len(matrix.runs) // 2
    one, other = matrix.only_runs(range(half)), matrix.only_runs(range(half, len(matrix.runs)))
    return np.stack([one.mean, other.mean])


def source_means(matrix: TransferMatrix) -> Floats:
    """A source's mean over the other targets, own data left out."""
    values = np.where(matrix.self_cells, np.nan, matrix.mean)
    found = np.full(values.shape, np.nan)
    for j in range(values.shape[1]):
        found[:, j] = np.nanmean(np.delete(values, j, axis=1), axis=1)
    return found


def hidden(matrix: TransferMatrix) -> Floats:
    """Each cell as the completion estimates it from the other parts of the cells."""
    parts = np.random.default_rng(0).permutation(matrix.mean.size).reshape(matrix.mean.shape) % PARTS
    found = np.full(matrix.mean.shape, np.nan)
    for part in range(PARTS):
        out: Bools = parts == part
        rest = replace(matrix, values=np.where(out, np.nan, matrix.values))
        completed = complete(rest)
        for i, j in np.argwhere(out):
            if matrix.sources[i] in completed.sources and matrix.targets[j] in completed.targets:
                found[i, j] = completed.cell(matrix.sources[i], matrix.targets[j])[0]
    return found


def _mean(values: Floats, matrix: TransferMatrix) -> float:
    """Mean over targets of the rank correlation with the measured matrix, or of two matrices with each other."""
    estimate, measured = (values[0], values[1]) if values.ndim == 3 else (values, matrix.mean)
    ranks: Iterable[float] = rank_within_targets(estimate, measured, matrix.self_cells)
    return round(float(np.nanmean(list(ranks))), 3)


if __name__ == "__main__":
    main()
