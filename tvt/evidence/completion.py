"""Estimates for missing cells of a transfer matrix, with honest errors. Missing is never 0.

What a row and a column say about a cell that was not measured: a two-way model with random effects.

A value is ``level + row effect + column effect + rest``, measured with known noise. Effects and rests are normal around 0; the
rest of each column has its own spread, since targets differ in how much anything moves them. The variances maximise the
restricted likelihood (Patterson and Thompson 1971), effects are the best linear unbiased predictors (Henderson 1975): with few
cells, or where rows say little, row effects shrink to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen
from tvt.types import Bools, Floats

LEAST = 4
"""With fewer cells there is nothing but a level."""
_ROUNDS = 2
_PRIOR_CELLS = 4.0
"""A column's own spread counts as much as that of all columns once it has so many cells."""
_STEPS = 7
_SHARES = (np.log(1e-4), np.log(4.0))
"""Logarithms of the least and the largest share of the values' variance that any part may have."""
_GAIN = 1e-6
"""Smaller gains of the log likelihood may be rounding, which depends on the order of rows and columns."""
_TINY = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Completed(Frozen):
    """A mean matrix without holes: ``mean`` and ``errors`` (S, T); ``estimated`` lists the (source, target) not measured.

    ``sources`` and ``targets`` without a single measured cell are left out; ``notes`` says so.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    mean: Floats
    errors: Floats
    estimated: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def cell(self, source: str, target: str) -> tuple[float, float]:
        """Mean and standard error of a cell; an unknown error is 0."""
        at = self.sources.index(source), self.targets.index(target)
        return float(self.mean[at]), float(np.nan_to_num(self.errors[at]))


def complete(matrix: TransferMatrix) -> Completed:
    """Estimate each missing cell from what its source and its target do elsewhere.

    A task's transfer to itself is larger than to others: it is estimated as one, plus what the measured ones have more.
    The error of an estimated cell is that of :func:`estimate_cells`, and never smaller than a measured cell's typical one.
    """
    known: Bools = np.isfinite(matrix.mean)
    sources = tuple(s for s, row in zip(matrix.sources, known, strict=True) if row.any())
    targets = tuple(t for t, column in zip(matrix.targets, known.T, strict=True) if column.any())
    notes = [f"source {s} left out: no cell of it was measured" for s in matrix.sources if s not in sources]
    notes += [f"target {t} left out: {matrix.reason(matrix.sources[0], t)}" for t in matrix.targets if t not in targets]
    matrix = matrix.reindex(sources=sources, targets=targets)
    mean, errors = matrix.mean, matrix.error
    known = np.isfinite(mean)
    once = int((matrix.run_count == 1).sum())
    if once and np.isfinite(matrix.run_variance).all():
        notes.append(f"{once} cells were measured in one run; their errors take the spread between runs from the other cells")
    holes = tuple((sources[i], targets[j]) for i, j in np.argwhere(~known))
    if holes:
        own = matrix.self_cells
        seed = matrix.run_error
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


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoWay(Frozen):
    """Predictions for all cells, (rows, columns)."""

    mean: Floats
    variance: Floats
    """Of a cell's true value around its prediction, measurement noise not included."""


def fit_two_way(values: Floats, noise: float, known: Bools) -> TwoWay:
    """Fit the model to the known cells and predict every cell.

    Args:
        values: (rows, columns); what is not known is not looked at.
        noise: variance of the measurement of a cell.
        known: (rows, columns); at least one.
    """
    y = np.where(known, values, 0.0)
    count = int(known.sum())
    total = max(float(values[known].var()), _TINY)
    if count < LEAST:
        level = float(values[known].mean())
        spread = max(total, level**2 if count == 1 else 0.0)
        return TwoWay(mean=np.full(y.shape, level), variance=np.full(y.shape, spread * (1 + 1 / count)))
    scale = np.ones(y.shape[1])
    for _ in range(_ROUNDS):
        rows, columns, rest = _variances(y, noise, known, scale, total)
        mean, variance = _predict(y, known / (rest * scale + noise), rows, columns)
        squares = np.where(known, (y - mean) ** 2 + variance, 0.0).sum(axis=0)
        cells = known.sum(axis=0)
        own = np.maximum(squares - cells * noise, 0.02 * rest) / rest
        scale = (own + _PRIOR_CELLS) / (cells + _PRIOR_CELLS)
        scale /= np.exp(np.log(scale).mean())
    return TwoWay(mean=mean, variance=variance + rest * scale)


def _variances(y: Floats, noise: float, known: Bools, scale: Floats, total: float) -> tuple[float, float, float]:
    """Variances of rows, columns and rests that maximise the restricted likelihood, by steps on a grid that becomes finer."""
    best, step, found = np.log([0.1, 0.4, 0.4]), np.log(4.0), -np.inf
    for _ in range(_STEPS):
        centre = best
        for moves in product((-1, 0, 1), repeat=3):
            at = np.clip(centre + step * np.array(moves), *_SHARES)
            rows, columns, rest = total * np.exp(at)
            likelihood = _likelihood(y, known, rest * scale + noise, rows, columns)
            if likelihood > found + _GAIN:
                found, best = likelihood, at
        if np.array_equal(best, centre):
            step /= 2
    rows, columns, rest = total * np.exp(best)
    return float(rows), float(columns), float(rest)


def _likelihood(y: Floats, known: Bools, spread: Floats, rows: float, columns: float) -> float:
    """Restricted log likelihood, up to a constant. ``spread`` is each column's variance of rest and noise."""
    weights = known / spread
    of_rows = weights.sum(axis=1) + 1 / rows
    # The equations of the row effects are diagonal: put them into those of the column effects.
    schur = np.diag(weights.sum(axis=0) + 1 / columns) - weights.T @ (weights / of_rows[:, None])
    lower = np.linalg.cholesky(schur)

    def solve(x: Floats) -> Floats:
        """The inverse of the cells' covariance, times x."""
        weighted = weights * x
        a, b = weighted.sum(axis=1), weighted.sum(axis=0)
        column = np.linalg.solve(lower.T, np.linalg.solve(lower, b - weights.T @ (a / of_rows)))
        row = (a - weights @ column) / of_rows
        solved: Floats = weighted - weights * (row[:, None] + column)
        return solved

    information = float(solve(known.astype(float)).sum())
    level = float(solve(y).sum()) / information
    rest = np.where(known, y - level, 0.0)
    logs = float((np.log(spread) * known.sum(axis=0)).sum() + np.log(of_rows).sum() + 2 * np.log(np.diag(lower)).sum())
    logs += len(of_rows) * np.log(rows) + len(lower) * np.log(columns) + np.log(information)
    return float(-0.5 * (logs + (rest * solve(rest)).sum()))


def _predict(y: Floats, weights: Floats, rows: float, columns: float) -> tuple[Floats, Floats]:
    """Best linear unbiased prediction of each cell without its rest, and the variance of its error (Henderson's equations)."""
    many, few = y.shape
    size = 1 + many + few
    equations = np.zeros((size, size))
    sums = weights.sum(axis=1), weights.sum(axis=0)
    equations[0, 0] = weights.sum()
    equations[0, 1:] = np.concatenate(sums)
    equations[1 : 1 + many, 1 + many :] = weights
    equations = equations + np.triu(equations, 1).T
    equations[np.arange(1, size), np.arange(1, size)] = np.concatenate([sums[0] + 1 / rows, sums[1] + 1 / columns])
    inverse = np.linalg.inv(equations)
    weighted = weights * y
    effects = inverse @ np.concatenate([[weighted.sum()], weighted.sum(axis=1), weighted.sum(axis=0)])
    row, column = slice(1, 1 + many), slice(1 + many, size)
    mean = effects[0] + effects[row][:, None] + effects[column]
    own = np.diag(inverse)
    apart = own[0] + own[row][:, None] + own[column]
    variance = apart + 2 * (inverse[0, row][:, None] + inverse[0, column] + inverse[row, column])
    return mean, np.maximum(variance, 0.0)
