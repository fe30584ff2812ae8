"""Estimates for missing cells of a transfer matrix, with honest errors. Missing is never 0.

What a row and a column say about a cell that was not measured: a two-way model with random effects.

A value is ``level + row effect + column effect + rest``, measured with known noise. Effects and rests are normal around 0; the
rest of each column has its own spread, since targets differ in how much anything moves them. The variances maximise the
restricted likelihood (Patterson and Thompson 1971), effects are the best linear unbiased predictors (Henderson 1975): with few
cells, or where rows say little, row effects shrink to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen, aligned
from tvt.evidence.gradients import Covariate, covariate_of, rule_of_thumb, true_runs
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
    by_gradients: tuple[tuple[str, str], ...] = ()
    """Those of the estimated cells that rest on gradients of the base model too."""

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
    guessed = _by_gradients(matrix)
    filled = known | guessed
    sources = tuple(s for s, row in zip(matrix.sources, filled, strict=True) if row.any())
    targets = tuple(t for t, column in zip(matrix.targets, filled.T, strict=True) if column.any())
    notes = [f"source {s} left out: no cell of it was measured" for s in matrix.sources if s not in sources]
    notes += [f"target {t} left out: {matrix.reason(matrix.sources[0], t)}" for t in matrix.targets if t not in targets]
    matrix = matrix.reindex(sources=sources, targets=targets)
    mean, errors = matrix.mean, matrix.error
    known, guessed = np.isfinite(mean), _by_gradients(matrix)
    once = int((matrix.run_count == 1).sum())
    if once and np.isfinite(matrix.run_variance).all():
        notes.append(f"{once} cells were measured in one run; their errors take the spread between runs from the other cells")
    holes = tuple((sources[i], targets[j]) for i, j in np.argwhere(~known))
    by_gradients: tuple[tuple[str, str], ...] = ()
    if holes:
        guess, spread, rests = _estimates(matrix, known, guessed)
        by_gradients = tuple((sources[i], targets[j]) for i, j in np.argwhere(~known & rests))
        typical = float(np.sqrt(np.nanmean(errors**2))) if np.isfinite(errors).any() else 0.0
        mean = np.where(known, mean, guess)
        errors = np.where(known, errors, np.maximum(spread, typical))
        notes += _hole_notes([hole for hole in holes if hole not in set(by_gradients)], "source and target effects")
        notes += _hole_notes(by_gradients, "gradients of the base model")
    return Completed(
        sources=sources,
        targets=targets,
        mean=mean,
        errors=errors,
        estimated=holes,
        notes=tuple(notes),
        by_gradients=by_gradients,
    )


def _by_gradients(matrix: TransferMatrix) -> Bools:
    """Which cells gradients say something of, (sources, targets)."""
    if matrix.gradients is None:
        return np.zeros((len(matrix.sources), len(matrix.targets)), dtype=bool)
    change = matrix.gradients.reindex(matrix.sources, matrix.targets).change
    return np.asarray(np.isfinite(change), dtype=bool)


def _hole_notes(holes: Sequence[tuple[str, str]], what: str) -> list[str]:
    """That missing cells were estimated, and from what."""
    if not holes:
        return []
    listed = ", ".join(f"{s} on {t}" for s, t in holes[:4]) + (" and more" if len(holes) > 4 else "")
    return [f"{len(holes)} missing cells estimated from {what} ({listed})"]


def _estimates(matrix: TransferMatrix, known: Bools, guessed: Bools) -> tuple[Floats, Floats, Bools]:
    """Estimates of all cells, their standard errors, and which of them rest on gradients.

    Where gradients cannot be calibrated, they stand alone in rows and columns without any measured cell, with wide errors.
    """
    covariate = covariate_of(matrix)
    if covariate is not None:
        return *cell_model(matrix.mean, run_variance(matrix), known, matrix.self_cells, covariate).foreseen(), guessed
    shape = known.shape
    guess, spread, nothing = np.zeros(shape), np.zeros(shape), np.ones(shape, dtype=bool)
    if known.any():
        guess, spread = estimate_cells(matrix.mean, run_variance(matrix), known, matrix.self_cells)
        nothing = ~(np.any(known, axis=1, keepdims=True) & np.any(known, axis=0, keepdims=True))
    rests = guessed & nothing
    if matrix.gradients is not None and rests.any():
        rule = rule_of_thumb(matrix.gradients, true_runs(matrix))
        axes = (rule.sources, matrix.sources), (rule.targets, matrix.targets)
        guess, spread = (np.where(rests, aligned(of, *axes), other) for of, other in ((rule.mean, guess), (rule.se, spread)))
    return guess, spread, rests


def run_variance(matrix: TransferMatrix) -> float:
    """Variance of a measured mean between runs, 0 where it is not known."""
    seed = matrix.run_error
    return float(np.nanmean(seed**2)) if np.isfinite(seed).any() else 0.0


def estimate_cells(mean: Floats, noise: float, known: Bools, own: Bools) -> tuple[Floats, Floats]:
    """Estimates of all cells, and the standard errors with which a measurement of them is foreseen.

    Args:
        mean: measured values, (sources, targets).
        noise: variance of a measured mean between runs.
        known: which cells are measured.
        own: which are a task's transfer to itself.
    """
    return cell_model(mean, noise, known, own).foreseen()


@dataclass(frozen=True, kw_only=True, eq=False)
class CellModel(Frozen):
    """The two-way model of a matrix, and how much more a task's transfer to itself is."""

    fit: TwoWay
    own: Bools
    """Which cells are a task's transfer to itself, (sources, targets)."""
    more: float
    """What these are beyond the others, on average over the measured ones,"""
    unsure: float
    """and its variance between them."""
    noise: float

    def foreseen(self) -> tuple[Floats, Floats]:
        """Means of all cells, and the standard errors with which a measurement of them is foreseen."""
        guess = self.fit.mean + np.where(self.own, self.more, 0.0)
        return guess, np.sqrt(self.fit.variance + self.noise + np.where(self.own, self.unsure, 0.0))

    def without_rows(self) -> tuple[Floats, Floats]:
        """Means of all cells, and the variances of true values around them, as of sources of which no run is known."""
        guess = self.fit.alone + np.where(self.own, self.more, 0.0)
        return guess, self.fit.alone_variance + np.where(self.own, self.unsure, 0.0)


def cell_model(mean: Floats, noise: float, known: Bools, own: Bools, covariate: Covariate | None = None) -> CellModel:
    """The model that :func:`estimate_cells` takes its estimates from; with a covariate, its slope is fitted too."""
    between = known & ~own
    fit = fit_two_way(mean, noise, between if between.any() else known, covariate)
    more, unsure = 0.0, 0.0
    if (known & own).any() and between.any():
        beyond = (mean - fit.mean)[known & own]
        more, unsure = float(beyond.mean()), float(beyond.var())
    return CellModel(fit=fit, own=own, more=more, unsure=unsure, noise=noise)


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoWay(Frozen):
    """Predictions for all cells, (rows, columns)."""

    mean: Floats
    variance: Floats
    """Of a cell's true value around its prediction, measurement noise not included."""
    alone: Floats
    """The prediction without the row's effect, as of a row of which nothing was measured,"""
    alone_variance: Floats
    """and its variance."""
    slope: float = 0.0
    """Of the covariate, where there is one."""
    slope_error: float = 0.0
    rest: Floats | None = None
    """Variance of each column's rest, (columns,); ``None`` with fewer than :data:`LEAST` cells."""


def fit_two_way(values: Floats, noise: float, known: Bools, covariate: Covariate | None = None) -> TwoWay:
    """Fit the model to the known cells and predict every cell.

    Args:
        values: (rows, columns); what is not known is not looked at.
        noise: variance of the measurement of a cell.
        known: (rows, columns); at least one.
        covariate: one more term of the model, whose slope is a fixed effect with a prior.
    """
    y = np.where(known, values, 0.0)
    x = np.zeros(y.shape) if covariate is None else covariate.x
    slope = 0.0 if covariate is None else covariate.slope
    count = int(known.sum())
    if count < LEAST:
        return _level_alone(y - np.where(known, slope * x, 0.0), known, covariate)
    scale = np.ones(y.shape[1])
    for _ in range(_ROUNDS if covariate is None else 2 * _ROUNDS):
        rest_of = y - np.where(known, slope * x, 0.0)
        total = max(float(rest_of[known].var()), _TINY)
        rows, columns, rest = _variances(rest_of, noise, known, scale, total)
        found = _predict(y, known / (rest * scale + noise), rows, columns, covariate)
        slope = found.slope
        squares = np.where(known, (y - found.mean) ** 2 + found.variance, 0.0).sum(axis=0)
        cells = known.sum(axis=0)
        own = np.maximum(squares - cells * noise, 0.02 * rest) / rest
        scale = (own + _PRIOR_CELLS) / (cells + _PRIOR_CELLS)
        scale /= np.exp(np.log(scale).mean())
    spread = rest * scale
    return replace(found, variance=found.variance + spread, alone_variance=found.alone_variance + spread, rest=spread)


def _level_alone(y: Floats, known: Bools, covariate: Covariate | None) -> TwoWay:
    """The prediction from too few cells: their level, beside the covariate with its prior slope."""
    count, values = int(known.sum()), y[known]
    level = float(values.mean())
    spread = max(float(values.var()), _TINY, level**2 if count == 1 else 0.0)
    mean, variance = np.full(y.shape, level), np.full(y.shape, spread * (1 + 1 / count))
    if covariate is not None:
        mean, variance = mean + covariate.slope * covariate.x, variance + (covariate.sd * covariate.x) ** 2
    slope, sd = (0.0, 0.0) if covariate is None else covariate[1:]
    return TwoWay(mean=mean, variance=variance, alone=mean, alone_variance=variance, slope=slope, slope_error=sd)


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


def _predict(y: Floats, weights: Floats, rows: float, columns: float, covariate: Covariate | None = None) -> TwoWay:
    """Best linear unbiased prediction of each cell without its rest, and the variance of its error (Henderson's equations).

    A covariate is one more unknown of the equations, whose prior is one more observation of it.
    """
    many, few = y.shape
    size = 1 + many + few
    equations = np.zeros((size, size))
    sums = weights.sum(axis=1), weights.sum(axis=0)
    equations[0, 0] = weights.sum()
    equations[0, 1:] = np.concatenate(sums)
    equations[1 : 1 + many, 1 + many :] = weights
    equations = equations + np.triu(equations, 1).T
    equations[np.arange(1, size), np.arange(1, size)] = np.concatenate([sums[0] + 1 / rows, sums[1] + 1 / columns])
    weighted = weights * y
    right = np.concatenate([[weighted.sum()], weighted.sum(axis=1), weighted.sum(axis=0)])
    x = np.zeros(y.shape)
    if covariate is not None:
        x, slope, sd = covariate
        seen = weights * x
        border = np.concatenate([[seen.sum()], seen.sum(axis=1), seen.sum(axis=0)])
        corner = (seen * x).sum() + 1 / sd**2
        equations = np.block([[equations, border[:, None]], [border[None], np.array([[corner]])]])
        right = np.append(right, (seen * y).sum() + slope / sd**2)
    inverse = np.linalg.inv(equations)
    effects = inverse @ right
    row, column = slice(1, 1 + many), slice(1 + many, size)
    own = np.diag(inverse)
    alone = effects[0] + np.zeros((many, 1)) + effects[column]
    apart = own[0] + np.zeros((many, 1)) + own[column] + 2 * inverse[0, column]
    mean = alone + effects[row][:, None]
    variance = apart + own[row][:, None] + 2 * (inverse[0, row][:, None] + inverse[row, column])
    slope, error = 0.0, 0.0
    if covariate is not None:
        slope, error = float(effects[-1]), float(np.sqrt(own[-1]))
        of_slope = x**2 * own[-1] + 2 * x * (inverse[0, -1] + inverse[column, -1])
        alone, mean = alone + slope * x, mean + slope * x
        apart = apart + of_slope
        variance = variance + of_slope + 2 * x * inverse[row, -1][:, None]
    return TwoWay(
        mean=mean,
        variance=np.maximum(variance, 0.0),
        alone=alone,
        alone_variance=np.maximum(apart, 0.0) + rows,
        slope=slope,
        slope_error=error,
    )
