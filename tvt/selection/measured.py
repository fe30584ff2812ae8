"""What was measured, beside what is chosen: the best measured mixture by the same objective."""

from __future__ import annotations

import numpy as np

from tvt.core.mixture import BestMeasured
from tvt.core.values import aligned, positions
from tvt.evidence.measured import Measured
from tvt.evidence.response import Response
from tvt.selection.audit import TOLERANCE
from tvt.selection.request import Request
from tvt.types import Bools, Floats


def best_measured(measured: Measured, request: Request, full: Response) -> BestMeasured | None:
    """The measured mixture with the best value of the objective; ``None`` where none keeps to the limits on weights.

    Limits on protected gains are left out: they hold for what is predicted of a mixture, which is another thing.
    """
    weights = aligned(measured.weights, None, (full.sources, request.sources))
    gains = measured.gains[:, positions(full.targets, request.targets)]
    known = np.isfinite(gains[:, request.served]).all(axis=1) & within_limits(weights, request)
    if not known.any():
        return None
    scores = np.where(known, request.spec.aim.score(np.nan_to_num(gains[:, request.served]), request.requested), -np.inf)
    best = int(scores.argmax())
    error = None
    if request.spec.aim.linear:
        found = float(np.linalg.norm(measured.errors[best, request.served] * request.requested.weights))
        error = found if np.isfinite(found) else None
    values = gains[best] if np.isnan(full.reference).any() else full.scores(gains[best])
    shares = measured.weights[best]
    return BestMeasured(
        mixture=measured.names[best],
        objective=float(scores[best]),
        se=error,
        runs=int(measured.runs[best]),
        weights={source: float(w) for source, w in zip(full.sources, shares, strict=True) if w > 0},
        scores={t: float(v) for t, v in zip(request.targets, values, strict=True) if np.isfinite(v)},
    )


def within_limits(weights: Floats, request: Request) -> Bools:
    """Which mixtures (N, S) over the allowed sources sum to 1 and keep to caps, floors and linear constraints, (N,)."""
    kept: Bools = np.abs(weights.sum(axis=1) - 1) <= 1e-3  # a mixture on other sources sums to less
    kept &= (weights <= request.caps + TOLERANCE).all(axis=1) & (weights >= request.floors - TOLERANCE).all(axis=1)
    for limit in request.linear:
        kept &= weights @ limit.coefficients <= limit.bound + TOLERANCE
    return kept
