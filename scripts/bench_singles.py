"""What single sources foretell of mixtures: a study's mixture runs held against predictions from its single sources alone.

    OMP_NUM_THREADS=1 python scripts/bench_singles.py STUDY... [--json]

For each study with mixture runs and each response: the rank correlation within targets (mean over targets), predicted minus
measured, the mean absolute error, and the share of mixtures' means over seeds inside the 90% intervals.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from tvt.core.choices import RESPONSES
from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.evidence.predict import predict
from tvt.stats.ranks import rank_correlation
from tvt.types import Floats

LEAST_RANKED = 4


@dataclass(frozen=True)
class Figures:
    """Of a study under a response."""

    study: str
    response: str
    mixtures: int
    rank: float
    bias: float
    error: float
    inside: float


def measured(matrix: TransferMatrix) -> tuple[Floats, Floats]:
    """Weights (N, S) of the mixtures and their mean gains over seeds (N, T).

    Raises:
        InputError: the study has no run on several sources.
    """
    if matrix.evidence is None or not matrix.evidence.mixtures.any():
        raise InputError(f"study {matrix.name}: it has no runs on mixtures to hold predictions against")
    runs = matrix.evidence.reindex(sources=matrix.sources, targets=matrix.targets)
    runs = runs.take(np.flatnonzero(runs.mixtures).tolist())
    weights, group = np.unique(np.round(runs.weights, 6), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return weights, np.stack([np.nanmean(runs.scores[group == k], axis=0) for k in range(len(weights))])


def figures(matrix: TransferMatrix, response: str) -> Figures:
    """How the single sources foretell the study's mixtures under a response."""
    weights, gains = measured(matrix)
    told = predict(replace(matrix, evidence=None), weights, matrix.sources, SelectionSpec(response=response)).gains
    mean, low, high = (
        np.array([[getattr(row[t], end) for t in matrix.targets] for row in told]) for end in ("gain", "low", "high")
    )
    known = np.isfinite(gains)
    ranks = [
        rank_correlation(mean[known[:, j], j], gains[known[:, j], j])
        for j in range(len(matrix.targets))
        if known[:, j].sum() >= LEAST_RANKED
    ]
    off = (mean - gains)[known]
    inside = ((low <= gains) & (gains <= high))[known]
    rank = float(np.nanmean(ranks)) if np.isfinite(ranks).any() else float("nan")
    return Figures(
        matrix.name, response, len(weights), rank, off.mean().item(), np.abs(off).mean().item(), inside.mean().item()
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = [figures(load_study(name), response) for name in args.studies for response in RESPONSES.own]
    console = Console()
    if args.json:
        console.print_json(json.dumps([vars(f) for f in found]))
        return
    table = Table("study", "response", "mixtures", "rank within targets", "predicted - measured", "mean error", "inside 90%")
    for f in found:
        table.add_row(
            f.study, f.response, str(f.mixtures), f"{f.rank:.2f}", f"{f.bias:+.3f}", f"{f.error:.3f}", f"{f.inside:.0%}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
