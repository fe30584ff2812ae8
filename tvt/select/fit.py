"""Responses fitted on a table of past mixture runs, and the curvature of the log response fitted on mixture runs.

The fitted form is ``b + g'w + sum_k a_k log(w_k + eps)`` with ``a >= 0`` (written from 0 at w = 0), one bounded least-squares
problem per target. Which eps, and whether curves help at all, is decided by out-of-fold error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls
from scipy.special import ndtri

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.pgf import Floats
from tvt.errors import InputError
from tvt.select.completion import complete
from tvt.select.response import Curve, Response, transfer_response

OFFSETS: tuple[tuple[float, ...], ...] = ((), (0.001,), (0.003,), (0.01,), (0.03,), (0.1,), (0.3,), (0.001, 0.03), (0.003, 0.1))
"""Candidate curve sets, by their eps; the empty one is the linear fit."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Candidate ridge penalties, per row of the table and in units of each target's variance."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class FitReport:
    """How well a response predicts runs it has not seen, by target: out-of-fold Spearman rank correlation and RMSE.

    ``linear_rank`` is the same for the linear fit; ``rank`` and ``rmse`` those of the chosen form, all (T,).
    """

    targets: tuple[str, ...]
    runs: int
    offsets: tuple[float, ...]
    ridge: float
    rank: Floats
    linear_rank: Floats
    rmse: Floats


def fit_response(runs: MixtureRuns, seed: int = 0) -> tuple[Response, FitReport]:
    """Fit the response of a table of mixture runs; gains are improvements over the table's mean score.

    Raises:
        InputError: too few runs for the number of sources.
    """
    n, s = runs.weights.shape
    if n < max(8, s // 2):
        raise InputError(f"{n} mixture runs are too few to fit a response of {s} sources; at least {max(8, s // 2)} are needed")
    sign = -1.0 if runs.lower_is_better else 1.0
    reference = np.nanmean(runs.scores, axis=0)
    gains = sign * (runs.scores - reference)
    folds = np.random.default_rng(seed).permutation(n) % FOLDS
    chosen, ridge, held_out, linear = _choose(runs.weights, gains, folds)
    intercept, slopes, bends = _fit(runs.weights, gains, chosen, ridge)
    rmse = np.sqrt(np.nanmean((held_out - gains) ** 2, axis=0))
    report = FitReport(
        targets=runs.targets,
        runs=n,
        offsets=chosen,
        ridge=ridge,
        rank=_rank_correlations(held_out, gains),
        linear_rank=_rank_correlations(linear, gains),
        rmse=rmse,
    )
    response = Response(
        sources=runs.sources,
        targets=runs.targets,
        intercept=intercept,
        linear=slopes,
        concave=bends,
        curves=tuple(Curve(offset=o) for o in chosen),
        errors=np.full((s, len(runs.targets)), np.nan),
        residual=rmse,
        reference=reference,
        sign=sign,
        label=f"fitted on {n} runs, " + (f"log eps {', '.join(f'{o:g}' for o in chosen)}" if chosen else "linear"),
    )
    return response, report


def refit_samples(runs: MixtureRuns, fitted: Response, report: FitReport, seed: int, count: int = 50) -> tuple[Response, ...]:
    """The same form fitted on bootstrap resamples of the runs, for CVaR."""
    rng = np.random.default_rng(seed)
    gains = fitted.sign * (runs.scores - fitted.reference)
    samples = []
    for _ in range(count):
        rows = rng.integers(0, len(gains), len(gains))
        intercept, slopes, bends = _fit(runs.weights[rows], gains[rows], report.offsets, report.ridge)
        samples.append(replace(fitted, intercept=intercept, linear=slopes, concave=bends))
    return tuple(samples)


def fit_kappa(matrix: TransferMatrix, runs: MixtureRuns) -> float:
    """The curvature at which the log response of a study best predicts the gains of mixture runs (least squares).

    Raises:
        InputError: the table shares no source or no target with the study.
    """
    completed = complete(matrix)
    sources = [s for s in runs.sources if s in completed.sources]
    targets = [t for t in runs.targets if t in completed.targets]
    if not sources or not targets:
        raise InputError("the table of mixture runs shares no source or no target with the study; check the column names")
    rows = [completed.sources.index(s) for s in sources]
    columns = [completed.targets.index(t) for t in targets]
    mean = completed.mean[np.ix_(rows, columns)]
    weights = runs.weights[:, [runs.sources.index(s) for s in sources]]
    scores = runs.scores[:, [runs.targets.index(t) for t in targets]]

    def loss(log_kappa: float) -> float:
        response = transfer_response(mean, mean * 0, sources=sources, targets=targets, kappa=float(np.exp(log_kappa)))
        return float(np.nansum((response.gains(weights) - scores) ** 2))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(1e-2), np.log(1e4)), method="bounded").x))


def interval_factor(confidence: float) -> float:
    """Half-width of a two-sided normal interval at ``confidence``, in standard errors."""
    return float(ndtri(0.5 + confidence / 2))


def _choose(weights: Floats, gains: Floats, folds: NDArray[np.int64]) -> tuple[tuple[float, ...], float, Floats, Floats]:
    """The curves and ridge with the least out-of-fold error, their held-out predictions, and the best linear fit's."""
    scale = np.nanstd(gains, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    best: tuple[float, tuple[float, ...], float, Floats] | None = None
    linear: tuple[float, Floats] | None = None
    for offsets in OFFSETS:
        for ridge in RIDGES:
            held_out = np.full(gains.shape, np.nan)
            for fold in np.unique(folds):
                away = folds != fold
                fitted = _fit(weights[away], gains[away], offsets, ridge)
                held_out[~away] = _predict(weights[~away], offsets, *fitted)
            error = float(np.nanmean(((held_out - gains) / scale) ** 2))
            if best is None or error < best[0]:
                best = (error, offsets, ridge, held_out)
            if not offsets and (linear is None or error < linear[0]):
                linear = (error, held_out)
    assert best is not None  # noqa: S101 - OFFSETS and RIDGES are not empty
    assert linear is not None  # noqa: S101
    return best[1], best[2], best[3], linear[1]


def _features(weights: Floats, offsets: Sequence[float]) -> Floats:
    """Curve features, (N, S * Q)."""
    if not offsets:
        return np.zeros((len(weights), 0))
    return np.concatenate([Curve(offset=o)(weights) for o in offsets], axis=1)


def _predict(weights: Floats, offsets: Sequence[float], intercept: Floats, slopes: Floats, bends: Floats) -> Floats:
    total = intercept + weights @ slopes
    for offset, coefficients in zip(offsets, bends, strict=True):
        total = total + Curve(offset=offset)(weights) @ coefficients
    return total


def _fit(weights: Floats, gains: Floats, offsets: Sequence[float], ridge: float) -> tuple[Floats, Floats, Floats]:
    """Intercept (T,), slopes (S, T) and non-negative bends (Q, S, T) by ridge least squares.

    Slopes are free, bends are not: the free part is projected out and what is left is a non-negative problem.
    """
    s, q, t = weights.shape[1], len(offsets), gains.shape[1]
    curved = _features(weights, offsets)
    centre, spread = curved.mean(axis=0), curved.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    middle = weights.mean(axis=0)
    intercept, slopes, bends = np.zeros(t), np.zeros((s, t)), np.zeros((q, s, t))
    for j in range(t):
        known = np.isfinite(gains[:, j])
        free = np.concatenate([np.ones((known.sum(), 1)), weights[known] - middle], axis=1)
        bent = (curved[known] - centre) / spread
        strength = np.sqrt(ridge * known.sum())
        sigma = weights.std(axis=0).mean()
        free_pad = np.concatenate([free, np.diag([0.0, *np.full(s, strength * sigma)])])
        bent_pad = np.concatenate([bent, np.zeros((s + 1, bent.shape[1]))])
        target = np.concatenate([gains[known, j], np.zeros(s + 1)])
        basis, _ = np.linalg.qr(free_pad)
        inner = bent_pad - basis @ (basis.T @ bent_pad)
        left = target - basis @ (basis.T @ target)
        a = np.zeros(0)
        if q:
            stacked = np.concatenate([inner, strength * np.eye(inner.shape[1])])
            a, _ = nnls(stacked, np.concatenate([left, np.zeros(inner.shape[1])]), maxiter=50 * inner.shape[1] + 1000)
        g = np.linalg.lstsq(free_pad, target - bent_pad @ a, rcond=None)[0]
        scaled = a / spread
        slopes[:, j], bends[:, :, j] = g[1:], scaled.reshape(q, s)
        intercept[j] = g[0] - g[1:] @ middle - scaled @ centre
    return intercept, slopes, bends


def _rank_correlations(predicted: Floats, observed: Floats) -> Floats:
    """Spearman's rank correlation by column, with average ranks for ties."""
    return np.array([rank_correlation(p, o) for p, o in zip(predicted.T, observed.T, strict=True)])


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rank correlation of two series over the places where both are known; NaN where one is constant."""
    both = np.isfinite(left) & np.isfinite(right)
    if both.sum() < 2:
        return float("nan")
    a, b = _ranks(left[both]), _ranks(right[both])
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks
