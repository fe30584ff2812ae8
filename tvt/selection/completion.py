"""Estimates for missing cells of a transfer matrix, with honest errors. Missing is never 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.pgf import Bools, Floats


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
    """Fill each missing cell with overall mean + source effect + target effect, both shrunk toward 0 by their own counts.

    The error of an estimated cell is the spread of the measured cells around that additive fit, together with a typical
    measured cell's own error, so it is always wider than a measured one's typical error.
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
    holes = tuple((sources[i], targets[j]) for i, j in np.argwhere(~known))
    if holes:
        guess, spread = _additive(mean, known)
        typical = float(np.sqrt(np.nanmean(errors**2))) if np.isfinite(errors).any() else 0.0
        mean = np.where(known, mean, guess)
        errors = np.where(known, errors, np.hypot(spread, typical))
        listed = ", ".join(f"{s} on {t}" for s, t in holes[:4]) + (" and more" if len(holes) > 4 else "")
        notes.append(f"{len(holes)} missing cells estimated from source and target effects ({listed})")
    return Completed(sources=sources, targets=targets, mean=mean, errors=errors, estimated=holes, notes=tuple(notes))


def _additive(mean: Floats, known: Bools, rounds: int = 50) -> tuple[Floats, float]:
    """Shrunk two-way fit and the standard deviation of the known cells around it."""
    centre = float(mean[known].mean())
    rest = np.where(known, mean - centre, 0.0)
    row, column = np.zeros(mean.shape[0]), np.zeros(mean.shape[1])
    for _ in range(rounds):
        row = (np.where(known, rest - column, 0.0)).sum(axis=1) / (known.sum(axis=1) + 1.0)
        column = (np.where(known, rest - row[:, None], 0.0)).sum(axis=0) / (known.sum(axis=0) + 1.0)
    guess = centre + row[:, None] + column
    if known.sum() < 2:
        return guess, float(abs(centre))
    return guess, float(np.sqrt(np.mean((mean[known] - guess[known]) ** 2) * known.sum() / (known.sum() - 1)))
