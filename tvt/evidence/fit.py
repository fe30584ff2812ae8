"""Responses fitted on a table of past mixture runs.

The fitted form is ``h = b + g'w + sum_k a_k log(w_k + eps)`` with ``a >= 0`` (written from 0 at w = 0), one bounded
least-squares problem per target. The gain is ``h``, or it approaches a limit: ``limit - exp(-h)``, which for losses is the
familiar ``floor + exp(...)`` of data mixing laws. Which eps, which limit, and whether curves help at all, is decided by
out-of-fold error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from tvt.core.mixture_runs import MixtureRuns
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.evidence.response import Curve, Response
from tvt.stats.ranks import rank_correlation
from tvt.types import Bools, Floats

Folds = NDArray[np.int64]

OFFSETS: tuple[tuple[float, ...], ...] = (
    (),
    (3e-4,),
    (1e-3,),
    (3e-3,),
    (1e-2,),
    (3e-2,),
    (0.1,),
    (3e-4, 1e-2),
    (1e-3, 3e-2),
    (3e-4, 3e-3, 3e-2),
)
"""Candidate curve sets, by their eps; the empty one is a linear fit."""
HEADROOMS: tuple[float | None, ...] = (None, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Candidate distances of the limit from the best score seen, in units of best minus median; None: no limit."""
RIDGE = 1e-2
RIDGES = (3e-4, 1e-3, 3e-3, 3e-2, 1e-1)
"""The ridge penalty with which curves and limits are compared, and the others tried on the best of them. Per row of the table,
in units of each feature's variance."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Form:
    """A member of the fitted family: the curves' eps, the limits' headroom (None: no limit) and the ridge penalty."""

    offsets: tuple[float, ...] = ()
    headroom: float | None = None
    ridge: float = RIDGE

    @property
    def label(self) -> str:
        """For people."""
        curves = f"log eps {', '.join(f'{o:g}' for o in self.offsets)}" if self.offsets else "linear"
        return curves + ("" if self.headroom is None else ", toward a limit")


@dataclass(frozen=True, kw_only=True, eq=False)
class FitReport(Frozen):
    """How well a response predicts runs it has not seen, by target: out-of-fold Spearman rank correlation and RMSE.

    ``linear_rank`` is the same for the linear fit; ``rank`` and ``rmse`` those of the chosen form, all (T,).
    """

    targets: tuple[str, ...]
    runs: int
    form: Form
    rank: Floats
    linear_rank: Floats
    rmse: Floats

    def json_value(self) -> dict[str, Any]:
        """The key ``fit`` of a selection and of predictions."""
        by_target = zip(self.targets, self.rank, self.linear_rank, self.rmse, strict=True)
        return {
            "runs": self.runs,
            "eps": self.form.offsets,
            "limit": self.form.headroom is not None,
            "ridge": self.form.ridge,
            "out_of_fold": {
                target: {"rank_correlation": rank, "linear_rank_correlation": linear, "rmse": rmse}
                for target, rank, linear, rmse in by_target
            },
        }


def fit_response(runs: MixtureRuns, seed: int = 0, form: Form | None = None) -> tuple[Response, FitReport]:
    """Fit the response of a table of mixture runs; gains are improvements over the table's mean score.

    Args:
        runs: weights and scores.
        seed: of the folds.
        form: the member of the family to fit; default: the one with the least out-of-fold error.

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
    linear = _held_out(runs.weights, gains, folds, Form())
    if form is None:
        form, held_out = _choose(runs.weights, gains, folds)
    else:
        held_out = _held_out(runs.weights, gains, folds, form)
    fitted = _fit(runs.weights, gains, form)
    rmse = np.sqrt(np.nanmean((held_out - gains) ** 2, axis=0))
    report = FitReport(
        targets=runs.targets,
        runs=n,
        form=form,
        rank=_rank_correlations(held_out, gains),
        linear_rank=_rank_correlations(linear, gains),
        rmse=rmse,
    )
    response = Response(
        sources=runs.sources,
        targets=runs.targets,
        intercept=fitted.intercept,
        linear=fitted.slopes,
        concave=fitted.bends,
        curves=tuple(Curve(offset=o) for o in form.offsets),
        errors=np.full((s, len(runs.targets)), np.nan),
        residual=rmse,
        reference=reference,
        sign=sign,
        limits=fitted.limits,
        label=f"fitted ({form.label})",
    )
    return response, report


def refit_samples(runs: MixtureRuns, fitted: Response, report: FitReport, seed: int, count: int = 50) -> tuple[Response, ...]:
    """The same form fitted on bootstrap resamples of the runs, for CVaR."""
    rng = np.random.default_rng(seed)
    gains = fitted.sign * (runs.scores - fitted.reference)
    samples = []
    for _ in range(count):
        rows = rng.integers(0, len(gains), len(gains))
        part = _fit(runs.weights[rows], gains[rows], report.form)
        samples.append(replace(fitted, intercept=part.intercept, linear=part.slopes, concave=part.bends, limits=part.limits))
    return tuple(samples)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted:
    """Coefficients: ``intercept`` (T,), ``slopes`` (S, T), ``bends`` (Q, S, T), ``limits`` (T,) or None."""

    form: Form
    intercept: Floats
    slopes: Floats
    bends: Floats
    limits: Floats | None

    def predict(self, weights: Floats) -> Floats:
        """Gains, (N, T)."""
        total = self.intercept + weights @ self.slopes
        for offset, coefficients in zip(self.form.offsets, self.bends, strict=True):
            total = total + Curve(offset=offset)(weights) @ coefficients
        if self.limits is None:
            return total
        approached: Floats = self.limits - np.exp(-total)
        return approached


def _choose(weights: Floats, gains: Floats, folds: Folds) -> tuple[Form, Floats]:
    """The form with the least out-of-fold error (in units of each target's spread), and its held-out predictions."""
    scale = np.nanstd(gains, axis=0)
    scale = np.where(scale > 0, scale, 1.0)

    def judged(form: Form) -> tuple[float, Form, Floats]:
        held_out = _held_out(weights, gains, folds, form)
        return float(np.nanmean(((held_out - gains) / scale) ** 2)), form, held_out

    tried = [judged(Form(offsets=offsets, headroom=headroom)) for offsets in OFFSETS for headroom in HEADROOMS]
    best = min(tried, key=lambda t: t[0])
    tried += [judged(replace(best[1], ridge=ridge)) for ridge in RIDGES]
    _, form, held_out = min(tried, key=lambda t: t[0])
    return form, held_out


def _held_out(weights: Floats, gains: Floats, folds: Folds, form: Form) -> Floats:
    """Each run's gains as predicted by a fit on the other folds, (N, T)."""
    held_out = np.full(gains.shape, np.nan)
    for fold in np.unique(folds):
        away = folds != fold
        held_out[~away] = _fit(weights[away], gains[away], form).predict(weights[~away])
    return held_out


def _fit(weights: Floats, gains: Floats, form: Form) -> _Fitted:
    """Ridge least squares, target by target; with a limit on the log of the distance to it."""
    limits = None
    goal = gains
    if form.headroom is not None:
        best, middle = np.nanmax(gains, axis=0), np.nanmedian(gains, axis=0)
        limits = best + form.headroom * np.where(best > middle, best - middle, 1.0)
        goal = -np.log(limits - gains)
    design = _Design(weights, form)
    parts = [design.solve(goal[:, j]) for j in range(goal.shape[1])]
    return _Fitted(
        form=form,
        intercept=np.array([p[0] for p in parts]),
        slopes=np.stack([p[1] for p in parts], axis=1),
        bends=np.stack([p[2] for p in parts], axis=2),
        limits=limits,
    )


class _Design:
    """The features of a table of weights. Slopes are free and bends are not negative: the free part is projected out, and
    what is left is a non-negative least-squares problem.
    """

    def __init__(self, weights: Floats, form: Form) -> None:
        n, self.sources = weights.shape
        curved = [Curve(offset=o)(weights) for o in form.offsets]
        bent = np.concatenate(curved, axis=1) if curved else np.zeros((n, 0))
        self.count = len(form.offsets)
        self.centre, spread = bent.mean(axis=0), bent.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.middle = weights.mean(axis=0)
        self.free = np.concatenate([np.ones((n, 1)), weights - self.middle], axis=1)
        self.bent = (bent - self.centre) / self.spread
        self.ridge, self.sigma = form.ridge, float(weights.std(axis=0).mean())
        self._whole = self._prepare(np.ones(n, dtype=bool))

    def _prepare(self, known: Bools) -> tuple[Floats, Floats, Floats, Floats]:
        strength = np.sqrt(self.ridge * known.sum())
        free = np.concatenate([self.free[known], np.diag([0.0, *np.full(self.sources, strength * self.sigma)])])
        bent = np.concatenate([self.bent[known], np.zeros((self.sources + 1, self.bent.shape[1]))])
        basis, _ = np.linalg.qr(free)
        inner = bent - basis @ (basis.T @ bent)
        return free, bent, basis, np.concatenate([inner, strength * np.eye(inner.shape[1])])

    def solve(self, goal: Floats) -> tuple[float, Floats, Floats]:
        """Intercept, slopes (S,) and bends (Q, S) for one target (N,), NaN where missing."""
        known = np.isfinite(goal)
        free, bent, basis, stacked = self._whole if known.all() else self._prepare(known)
        target = np.concatenate([goal[known], np.zeros(self.sources + 1)])
        a = np.zeros(0)
        if self.count:
            left = np.concatenate([target - basis @ (basis.T @ target), np.zeros(bent.shape[1])])
            a, _ = nnls(stacked, left, maxiter=50 * bent.shape[1] + 1000)
        g = np.linalg.lstsq(free, target - bent @ a, rcond=None)[0]
        scaled = a / self.spread
        bends: Floats = scaled.reshape(self.count, self.sources)
        slopes: Floats = g[1:].astype(float)
        return float(g[0] - slopes @ self.middle - scaled @ self.centre), slopes, bends


def _rank_correlations(predicted: Floats, observed: Floats) -> Floats:
    """Spearman's rank correlation by column, with average ranks for ties."""
    return np.array([rank_correlation(p, o) for p, o in zip(predicted.T, observed.T, strict=True)])
