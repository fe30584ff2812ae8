"""Estimates for missing cells of a transfer matrix, with honest errors. Missing is never 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.two_way import fit_two_way
from tvt.types import Bools, Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Completed:
    """A mean matrix without holes: ``mean`` and ``errors`` (S, T); ``estimated`` lists the (source, target) not measured.

    ``sources`` and ``targets`` without a single measured cell are left out; ``notes`` says so.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    mean: Floats
    errors: Floats
    estimated: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def complete(matrix: TransferMatrix) -> Completed:
    """Estimate each missing cell from what its source and its target do elsewhere (:mod:`tvt.core.two_way`).

    A task's transfer to itself is larger than to others: it is estimated as one, plus what the measured ones have more.
    The error of an estimated cell is that of :func:`estimate_cells`, and never smaller than a measured cell's typical one.
    """
    mean, errors = matrix.mean, matrix.error
    known: Bools = np.isfinite(mean)
    rows = [bool(row.any()) for row in known]
    columns = [bool(column.any()) for column in known.T]
    notes = [
        f"source {s} left out: no cell of it was measured" for s, keep in zip(matrix.sources, rows, strict=True) if not keep
    ]
    for target, keep in zip(matrix.targets, columns, strict=True):
        if not keep:
            notes.append(f"target {target} left out: {matrix.reason(matrix.sources[0], target)}")
    cut = np.ix_(rows, columns)
    mean, errors, known = mean[cut], errors[cut], known[cut]
    sources = tuple(s for s, keep in zip(matrix.sources, rows, strict=True) if keep)
    targets = tuple(t for t, keep in zip(matrix.targets, columns, strict=True) if keep)
    once = int((matrix.run_count[cut] == 1).sum())
    if once and np.isfinite(matrix.run_variance).all():
        notes.append(f"{once} cells were measured in one run; their errors take the spread between runs from the other cells")
    holes = tuple((sources[i], targets[j]) for i, j in np.argwhere(~known))
    if holes:
        own = matrix.self_cells[cut]
        seed = matrix.run_error[cut]
        guess, spread = estimate_cells(mean, float(np.nanmean(seed**2)) if np.isfinite(seed).any() else 0.0, known, own)
        typical = float(np.sqrt(np.nanmean(errors**2))) if np.isfinite(errors).any() else 0.0
        mean = np.where(known, mean, guess)
        errors = np.where(known, errors, np.maximum(spread, typical))
        listed = ", ".join(f"{s} on {t}" for s, t in holes[:4]) + (" and more" if len(holes) > 4 else "")
        notes.append(f"{len(holes)} missing cells estimated from source and target effects ({listed})")
    return Completed(sources=sources, targets=targets, mean=mean, errors=errors, estimated=holes, notes=tuple(notes))


def estimate_cells(mean: Floats, noise: float, known: Bools, own: Bools) -> tuple[Floats, Floats]:
    """Estimates of all cells, and the standard errors with which a measurement of them is foreseen.

    Args:
        mean: measured values, (sources, targets).
        noise: variance of a measured mean between runs.
        known: which cells are measured.
        own: which are a task's transfer to itself.
    """
    between = known & ~own
    fit = fit_two_way(mean, noise, between if between.any() else known)
    more, unsure = 0.0, 0.0
    if (known & own).any() and between.any():
        beyond = (mean - fit.mean)[known & own]
        more, unsure = float(beyond.mean()), float(beyond.var())
    guess = fit.mean + np.where(own, more, 0.0)
    return guess, np.sqrt(fit.variance + noise + np.where(own, unsure, 0.0))
