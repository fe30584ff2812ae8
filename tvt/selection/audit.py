"""Weights and counts in plain numpy, apart from the solver: the audit of an answer, the value of its objective, the repair of
solver dust, rounding to integer counts, the simple mixtures that need no solver, and the best measured one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvt.core.mixture import Audit, BestMeasured
from tvt.core.selection import SelectionSpec
from tvt.core.values import aligned, positions
from tvt.evidence.measured import Measured
from tvt.evidence.response import Response
from tvt.selection.request import Request
from tvt.types import Bools, Floats

TOLERANCE = 1e-6
DUST = 1e-7
"""Weights below this are solver noise and become 0 (unless a floor holds them up)."""
MOST_DUST = 1e-4


def tidy(weights: Floats, request: Request) -> Floats:
    """Remove solver dust: weights that are no example of the budget and less than ``MOST_DUST`` become 0, bounds hold exactly,
    the sum is 1 to the last bits.
    """
    w = np.where(weights < max(DUST, min(0.5 / request.spec.budget, MOST_DUST)), 0.0, weights)
    w = np.clip(w, request.floors, request.caps)
    for _ in range(4):
        rest = 1.0 - w.sum()
        if abs(rest) < 1e-15:
            break
        used = w > 0
        room = np.where(used, request.caps - w if rest > 0 else w - request.floors, 0.0)
        if room.sum() <= 0:
            break
        w = np.clip(w + rest * room / room.sum(), request.floors, request.caps)
    return w


def audit(weights: Floats, request: Request, response: Response, *, max_sources: int | None = None) -> Audit:
    """Check weights (S,) against every hard constraint of the request, each to 1e-6 in its own unit."""
    worst = [abs(float(weights.sum()) - 1.0), float(np.max(-weights, initial=0.0))]
    worst.append(float(np.max(weights - request.caps, initial=0.0)))
    worst.append(float(np.max(request.floors - weights, initial=0.0)))
    worst += [float(limit.coefficients @ weights) - limit.bound for limit in request.linear]
    if request.region is not None:
        worst.append(request.region.rows.at(weights)[0] - request.region.radius)
    if request.spec.hard:
        worst.append(float(np.max(protection_shortfall(weights, request, response), initial=0.0)))
    used = weights > 0
    if max_sources is not None:
        worst.append(float(max(int(used.sum()) - max_sources, 0)))
    if request.spec.min_weight is not None and used.any():
        worst.append(float(np.max(request.spec.min_weight - weights[used])))
    largest = max(worst)
    finite = bool(np.isfinite(weights).all())
    return Audit(passed=finite and largest <= TOLERANCE, worst_violation=max(largest, 0.0) if finite else float("inf"))


def protection_shortfall(weights: Floats, request: Request, response: Response) -> Floats:
    """By how much each target (T,) falls below its limit, less its safety margin; 0 where it is not protected."""
    gains = response.lower_gains(weights, request.spec.protect_z)
    return np.where(np.isfinite(request.limits), np.maximum(np.nan_to_num(request.limits) - gains, 0.0), 0.0)


def objective_value(
    weights: Floats, request: Request, response: Response, samples: tuple[Response, ...] = ()
) -> tuple[float, ...]:
    """The objective's values at ``weights``, recomputed, each with penalties taken off; larger is better, compared in order."""
    spec = request.spec
    penalty = 0.0
    if not spec.hard:
        penalty += spec.harm_penalty * float(protection_shortfall(weights, request, response).sum())
    if spec.kl:
        inside = weights > 0
        with np.errstate(divide="ignore"):
            penalty += spec.kl * float((weights[inside] * np.log(weights[inside] / request.prior[inside])).sum())
    return tuple(value - penalty for value in pure_value(weights, request, response, samples))


def pure_value(weights: Floats, request: Request, response: Response, samples: tuple[Response, ...] = ()) -> tuple[float, ...]:
    """The objective's values without penalties for harm and divergence; risk and CVaR count."""
    spec, which, requested = request.spec, request.served, request.requested
    robust = response.lower_gains(weights, spec.risk)
    first, *rest = map(float, spec.aim.values(robust[which], requested))
    if spec.cvar is not None:
        first = _tail_mean([float(spec.aim.values(s.gains(weights)[which], requested)[0]) for s in samples], spec.cvar)
    elif spec.aim.linear:
        first = float(response.gains(weights)[which] @ requested.weights)
        first -= spec.risk * response.mean_error(weights, request.weights)
    return first, *rest


def _tail_mean(values: list[float], share: float) -> float:
    """Mean over the worst ``share`` of the values, the last one taken in part."""
    ordered = np.sort(np.asarray(values))
    take = share * ordered.size
    portions = np.clip(take - np.arange(ordered.size), 0.0, 1.0)
    return float(ordered @ portions / take)


def round_to_counts(
    weights: Floats, budget: int, *, caps: Floats | None = None, floors: Floats | None = None
) -> NDArray[np.int64]:
    """Counts (S,) that sum to ``budget``, by largest remainder, within ``caps`` and ``floors`` (shares) where
    integers allow it.

    Sources with weight 0 get 0. Ties go to the larger weight, then to the earlier source.

    Raises:
        ValueError: weights that do not sum to 1.
    """
    if abs(float(weights.sum()) - 1) > 1e-6:
        raise ValueError(f"weights sum to {weights.sum():.6g}, not 1")
    exact = weights * budget
    counts = np.floor(exact + 1e-9).astype(np.int64)
    used = weights > 0
    high = np.full(weights.size, budget) if caps is None else np.floor(caps * budget + 1e-6).clip(max=budget).astype(np.int64)
    low = np.zeros(weights.size, np.int64) if floors is None else np.ceil(floors * budget - 1e-6).astype(np.int64)
    counts = np.clip(counts, np.minimum(low, high), high)
    while (rest := budget - int(counts.sum())) != 0:
        step = 1 if rest > 0 else -1
        open_ = used & ((counts < high) if step > 0 else (counts > np.maximum(low, 0)))
        if not open_.any():  # integer bounds too tight for the budget: exceed a cap by one example rather than lose it
            open_ = used & ((counts < exact + 1) if step > 0 else (counts > 0))
        order = sorted(np.flatnonzero(open_), key=lambda i: (-step * (exact[i] - counts[i]), -weights[i], i))
        for i in order[: abs(rest)]:
            counts[i] += step
    return counts


def uniform(sources: int) -> Floats:
    """Equal shares, (S,)."""
    return np.full(sources, 1 / sources)


def best_single(values: Sequence[Any] | Floats) -> Floats:
    """All on the source with the highest of ``values`` (S,), numbers or tuples; the first of equals."""
    weights = np.zeros(len(values))
    weights[max(range(len(values)), key=lambda i: values[i])] = 1.0
    return weights


def proportional(values: Floats) -> Floats:
    """Shares in proportion to the positive ``values`` (S,); equal shares where none is positive."""
    positive = np.maximum(values, 0.0)
    return positive / positive.sum() if positive.sum() > 0 else uniform(len(values))


def limited(spec: SelectionSpec) -> bool:
    """Whether a selection has limits or cares for risk, which the simple mixtures do not."""
    limits = (spec.caps, spec.floors, spec.constraints, spec.sizes, spec.protect, spec.max_sources, spec.min_weight, spec.kl)
    return any(limits) or bool(spec.risk or spec.cvar)


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
