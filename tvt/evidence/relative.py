"""The convex relative of a posterior: a concave response near its means, for the program that chooses a mixture.

Per target ``limit - exp(-h)`` with ``h = b + g'w + sum_k a_k' log(1 + w/offset_k)``, ``a >= 0``: increasing and bounded
from above, so that no mixture is chosen for what a line says far away. It is fitted to the posterior's means at the table's
runs, with penalties for each source by the variances that the processes learned, as one non-negative least-squares problem
per target.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from tvt.evidence.kernels import OFFSETS
from tvt.evidence.posterior import TablePosterior, Target
from tvt.evidence.response import Curve, Response
from tvt.types import Floats

HEADROOMS = (3.0, 1.0, 0.3, 0.1)
"""Distances of the limit from the best run, in units of best minus median: the one that comes nearest to the means."""
NOISE_SHARE = 0.3
"""Part of the scores' noise with which penalties count: much of it is averaged out in the posterior's means."""
LEAST_NOISE = 1e-3
"""Variance of noise that penalties count with at least, in units of the scores'."""


class _Fit(NamedTuple):
    """Coefficients of one target: ``intercept``, ``slopes`` (S,), ``bends`` (Q, S), ``limit``; and the squared error of
    gains.
    """

    intercept: float
    slopes: Floats
    bends: Floats
    limit: float
    error: float


def convex_relative(posterior: TablePosterior, reference: Floats, sign: float) -> Response:
    """The concave response nearest to the posterior.

    Args:
        posterior: of a table of mixture runs.
        reference: the scores that gains of 0 stand for, (T,).
        sign: -1 for losses.
    """
    design = _Design(posterior.weights)
    means = posterior.smoothed()
    fits = [_best(design, means[:, j], target) for j, target in enumerate(posterior.parts)]
    response = _response(posterior, fits, reference, sign)
    left = response.gains(posterior.weights) - posterior.gains
    known = np.isfinite(left)
    residual = np.sqrt((np.where(known, left, 0.0) ** 2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    return replace(response, residual=residual)


def redrawn_relatives(posterior: TablePosterior, of: Response, seed: int, count: int) -> tuple[Response, ...]:
    """Relatives of draws from the posterior: what the response might be instead, for CVaR."""
    rng = np.random.default_rng(seed)
    design = _Design(posterior.weights)
    draws = posterior.draws(rng, count)
    found = []
    for draw in draws:
        fits = []
        for j, target in enumerate(posterior.parts):
            assert of.limits is not None  # noqa: S101 - a relative has limits
            fits.append(design.fit(draw[:, j], target, float(of.limits[j])))
        found.append(replace(_response(posterior, fits, of.reference, of.sign), residual=of.residual))
    return tuple(found)


def _best(design: _Design, means: Floats, target: Target) -> _Fit:
    """The fit with the limit that comes nearest."""
    if not target.components:
        level = float(target.gains.mean()) if len(target.gains) else 0.0
        zeros = np.zeros(design.sources)
        return _Fit(0.0, zeros, np.zeros((len(OFFSETS), design.sources)), level + 1.0, 0.0)
    top, middle = float(target.gains.max()), float(np.median(target.gains))
    reach = top - middle if top > middle else float(np.ptp(target.gains))
    return min((design.fit(means, target, top + h * reach) for h in HEADROOMS), key=lambda fit: fit.error)


def _response(posterior: TablePosterior, fits: list[_Fit], reference: Floats, sign: float) -> Response:
    count = len(posterior.targets)
    return Response(
        sources=posterior.sources,
        targets=posterior.targets,
        intercept=np.array([fit.intercept for fit in fits]),
        linear=np.stack([fit.slopes for fit in fits], axis=1),
        concave=np.stack([fit.bends for fit in fits], axis=2),
        curves=tuple(Curve(offset=o) for o in OFFSETS),
        errors=np.full((len(posterior.sources), count), np.nan),
        residual=np.zeros(count),
        reference=reference,
        sign=sign,
        limits=np.array([fit.limit for fit in fits]),
        label=f"fitted ({posterior.form.label})",
    )


class _Design:
    """Features of a table's weights. Slopes and level are free and bends are not negative: the free part is projected out,
    and what is left is a non-negative least-squares problem.
    """

    def __init__(self, weights: Floats) -> None:
        n, self.sources = weights.shape
        self.weights = weights
        bent = np.concatenate([Curve(offset=o)(weights) for o in OFFSETS], axis=1)
        self.centre, spread = bent.mean(axis=0), bent.std(axis=0)
        self.spread = np.where(spread > 1e-9, spread, np.inf)
        self.bent = (bent - self.centre) / self.spread
        self.middle = weights.mean(axis=0)
        self.scale = max(float(np.sqrt(((weights - self.middle) ** 2).sum(axis=1).mean())), 1e-9)
        self.free = np.concatenate([np.ones((n, 1)), (weights - self.middle) / self.scale], axis=1)

    def fit(self, means: Floats, target: Target, limit: float) -> _Fit:
        """The response toward ``limit`` nearest to gains ``means`` (n,), at rows with a score."""
        gains = np.minimum(means[target.rows], limit - 0.5 * (limit - float(target.gains.max())))
        inner = -np.log(limit - gains)
        centre, spread = float(inner.mean()), float(inner.std()) or 1.0
        intercept, slopes, bends = self._solve((inner - centre) / spread, target)
        slopes, bends = spread * slopes / self.scale, spread * bends / self.spread
        start = centre + spread * intercept - float(slopes @ self.middle) - float(bends @ self.centre)
        fit = _Fit(start, slopes, bends.reshape(len(OFFSETS), self.sources), limit, 0.0)
        values = fit.intercept + self.weights @ fit.slopes
        for offset, row in zip(OFFSETS, fit.bends, strict=True):
            values = values + Curve(offset=offset)(self.weights) @ row
        left = limit - np.exp(np.minimum(-values[target.rows], 50.0)) - means[target.rows]
        return fit._replace(error=float((left**2).sum()))

    def _solve(self, goal: Floats, target: Target) -> tuple[float, Floats, Floats]:
        """Level, slopes (S,) and bends (Q S,) of the standardised goal."""
        *curves, slope, noise = target.sources
        strength = np.sqrt(max(NOISE_SHARE * noise, LEAST_NOISE))
        free = np.concatenate([self.free[target.rows], np.diag([0.0, *[strength / np.sqrt(slope)] * self.sources])])
        penalties = strength * np.sqrt(len(OFFSETS) / np.tile(curves, len(OFFSETS)))
        bent = np.concatenate([self.bent[target.rows], np.zeros((self.sources + 1, len(penalties)))])
        goal = np.concatenate([goal, np.zeros(self.sources + 1)])
        basis, _ = np.linalg.qr(free)
        inner = np.concatenate([bent - basis @ (basis.T @ bent), np.diag(penalties)])
        left = np.concatenate([goal - basis @ (basis.T @ goal), np.zeros(len(penalties))])
        bends, _ = nnls(inner, left, maxiter=50 * len(penalties) + 1000)
        level = np.linalg.lstsq(free, goal - bent @ bends, rcond=None)[0]
        return float(level[0]), level[1:], bends
