"""How transfer grows with the dose: what sources do after a part of the training budget, beside what they do after all of it.

A dose is a run on one source with a fraction of the budget (``doses`` of the recipe). Each dose is held against the full budget
on the very cells (run, source, target) that both have, self-transfer left out: other sources, or fewer runs, would move a mean
without any dose, for the mean of positive parts grows with noise.

Source of the question: Sachdeva, Uppal, Java, Balasubramanian, CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.values import Frozen
from tvt.stats.noise import UNKNOWN, Interval, run_interval
from tvt.stats.ranks import rank_correlation
from tvt.transfer.aggregates import aggregate, leave_one_out, run_mean
from tvt.types import Floats

SIGNS = {"positive": 1, "negative": -1}
_DIGITS = 6
"""Decimals to which fractions of a budget are the same dose."""


@dataclass(frozen=True, kw_only=True)
class DosePoint(Frozen):
    """One dose; by sign (``positive``, ``negative``), mean transferability over the sources."""

    dose: float
    """Fraction of the budget."""
    mean: dict[str, Interval]
    """At this dose."""
    full: dict[str, float]
    """At the full budget, on the same cells."""
    rise: dict[str, Interval]
    """From this dose to the full budget, run by run on the same cells."""
    pattern: Interval
    """Spearman's correlation of the mean cells with those at the full budget. Both stand on the same base scores and questions,
    whose errors they share, which lifts it."""
    runs: int
    sources: int
    cells: int
    """Pairs of a source and another target."""

    def json_value(self) -> dict[str, Any]:
        """The keys of a dose in ``tvt analyze --json``."""
        plain = {"dose": self.dose, "runs": self.runs, "sources": self.sources, "cells": self.cells, "pattern": self.pattern}
        return {**plain, **self.mean, **{f"{sign}_rise_to_full": rise for sign, rise in self.rise.items()}}


@dataclass(frozen=True)
class DoseTrend:
    """The doses of a study, smallest first; the full budget, on all its cells, is the last, with nothing to hold it against."""

    points: tuple[DosePoint, ...]

    def json_value(self) -> tuple[DosePoint, ...]:
        """The doses in a row."""
        return self.points


def dose_trend(matrix: TransferMatrix) -> DoseTrend | None:
    """The trend of a study over its doses; ``None`` where it has none, or none that shares a cell with the full budget."""
    if matrix.evidence is None or not matrix.evidence.doses.any():
        return None
    full = np.where(matrix.self_cells, np.nan, matrix.values)
    if matrix.doses is not None:  # sources of few rows have no cell at the full budget
        full = np.where(matrix.doses[:, :, None] < 1, np.nan, full)
    values = dose_values(matrix, matrix.evidence)
    found = [_point(dose, at, full) for dose, at in sorted(values.items())]
    points = [point for point in found if point is not None]
    last = _point(1.0, full, full)
    if not points or last is None:
        return None
    return DoseTrend((*points, replace(last, rise=dict.fromkeys(SIGNS, UNKNOWN), pattern=UNKNOWN)))


def dose_values(matrix: TransferMatrix, evidence: MixtureRuns) -> dict[float, Floats]:
    """PGF at every dose, (runs, sources, targets) as in the matrix, NaN where not measured, masked, or self-transfer.

    Doses of runs or sources that the matrix does not have are left out: there is no full budget to hold them against.
    """
    found: dict[float, list[list[list[Floats]]]] = {}
    names = evidence.runs or ("",) * len(evidence.ids)
    evidence = evidence.reindex(targets=matrix.targets)
    for row in np.nonzero(evidence.doses)[0]:
        source = evidence.sources[int(evidence.weights[row].argmax())]
        if names[row] not in matrix.runs or source not in matrix.sources:
            continue
        dose = round(float(evidence.weights[row].sum()), _DIGITS)
        cells = found.setdefault(dose, [[[] for _ in matrix.sources] for _ in matrix.runs])
        cells[matrix.runs.index(names[row])][matrix.sources.index(source)].append(evidence.scores[row])
    missing = [np.full(len(matrix.targets), np.nan)]
    return {
        dose: np.where(
            matrix.self_cells,
            np.nan,
            # A dose that was measured twice in a run counts with its mean.
            np.array([[run_mean(np.array(rows or missing)) for rows in run] for run in cells]),
        )
        for dose, cells in found.items()
    }


def _point(dose: float, at: Floats, full: Floats) -> DosePoint | None:
    """A dose beside the full budget, from (runs, sources, targets); ``None`` where they share no cell."""
    shared = np.isfinite(at) & np.isfinite(full)
    runs, sources = shared.any(axis=(1, 2)), shared.any(axis=(0, 2))
    if not shared.any():
        return None
    at, full = (np.where(shared, values, np.nan)[runs][:, sources] for values in (at, full))
    pair = np.stack([at, full], axis=1)
    return DosePoint(
        dose=dose,
        mean={word: _estimate(pair, lambda p, s=sign: _mean(p[0], s)) for word, sign in SIGNS.items()},  # type: ignore[misc]
        full={word: _mean(run_mean(full), sign) for word, sign in SIGNS.items()},
        rise={
            word: _estimate(pair, lambda p, s=sign: _mean(p[1], s) - _mean(p[0], s))  # type: ignore[misc]
            for word, sign in SIGNS.items()
        },
        pattern=_correlation(_estimate(pair, lambda p: rank_correlation(p[0].ravel(), p[1].ravel()))),
        runs=int(runs.sum()),
        sources=int(sources.sum()),
        cells=int(shared.any(axis=0).sum()),
    )


def _estimate(pair: Floats, of: Callable[[Floats], float]) -> Interval:
    """A figure of the mean matrices at a dose and at the full budget, from (runs, 2, sources, targets)."""
    return run_interval(of(run_mean(pair)), np.array([of(left) for left in leave_one_out(pair)]))


def _correlation(of: Interval) -> Interval:
    """The same within what a correlation can be."""
    return replace(of, low=max(of.low, -1.0), high=min(of.high, 1.0)) if np.isfinite(of.low) else of


def _mean(values: Floats, sign: int) -> float:
    """Mean transferability over the sources that have a cell."""
    found = aggregate(values, sign)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
