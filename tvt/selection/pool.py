"""The mixtures that proposals are chosen from: a file's candidates, or mixtures made within the limits of a request.

Made ones are what the convex program gives for the response and for samples of its posterior (Thompson sampling), the corners
that it gives for random gains, and blends of all these with what was measured: limits on weights are convex, so a blend of
mixtures that keep to them does too. Limits on the number of sources are met by leaving the smallest weights out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import cvxpy as cp
import numpy as np

from tvt.core.values import Frozen, aligned
from tvt.errors import InputError
from tvt.selection.audit import TOLERANCE, tidy, within_limits
from tvt.selection.engine import Prepared, settle
from tvt.selection.problem import ProblemBuilder
from tvt.selection.request import Request
from tvt.selection.solve import Solution, run_solvers
from tvt.types import Bools, Floats

SAMPLES = 6
"""Samples of the posterior whose best mixture is found."""
CORNERS = 24
"""Corners of the limits that are found."""
BLENDS = 260
"""Blends that are drawn."""
FEW = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates(Frozen):
    """Mixtures that may be proposed: ``weights`` (N, S) over the evidence's sources, named by ``ids``."""

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    weights: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Frozen):
    """Mixtures within all limits, over a response's sources (N, S), with the ids that a file gave them."""

    weights: Floats
    ids: tuple[str, ...] | None = None


def allowed(prepared: Prepared, weights: Floats, *, region: bool) -> Bools:
    """Which mixtures (N, S) over the full response's sources keep to every hard limit of the request, (N,).

    Args:
        prepared: the request and its evidence.
        weights: the mixtures.
        region: whether they have to lie where runs were measured, too.
    """
    request = prepared.request
    over = aligned(weights, None, (prepared.full.sources, request.sources))
    kept = within_limits(over, request)
    used = over > FEW
    if request.spec.max_sources is not None:
        kept &= used.sum(axis=1) <= request.spec.max_sources
    if request.spec.min_weight is not None:
        kept &= (np.where(used, over, np.inf) >= request.spec.min_weight - TOLERANCE).all(axis=1)
    if request.spec.kl:
        kept &= ~(used & (request.prior <= 0)).any(axis=1)
    if region and request.region is not None:
        kept &= np.array([request.region.rows.at(row)[0] <= request.region.radius + TOLERANCE for row in over], dtype=bool)
    if request.spec.hard and kept.any():
        kept[kept] = shortfalls(prepared, weights[kept]).max(axis=1, initial=0.0) <= TOLERANCE
    return kept


def shortfalls(prepared: Prepared, weights: Floats) -> Floats:
    """By how much each target falls below its limit, less its safety margin, at mixtures (N, S): (N, T)."""
    request, posterior = prepared.request, prepared.of.posterior
    limits = request.limits
    if not np.isfinite(limits).any():
        return np.zeros((len(weights), len(limits)))
    if request.spec.protect_z:
        # The lower end of a two-sided interval that leaves out as much as z standard deviations do.
        confidence = 2 * NormalDist().cdf(request.spec.protect_z) - 1
        gains = posterior.interval(weights, confidence)[0]
    else:
        gains = posterior.at(weights).mean
    return np.where(np.isfinite(limits), np.maximum(np.nan_to_num(limits) - gains, 0.0), 0.0)


def from_candidates(prepared: Prepared, candidates: Candidates) -> Pool:
    """The candidates that keep to all limits.

    Raises:
        InputError: a candidate has weight on a source that the evidence does not know.
    """
    full = prepared.full.sources
    foreign = [s for k, s in enumerate(candidates.sources) if s not in full and (candidates.weights[:, k] > FEW).any()]
    if foreign:
        raise InputError(
            *(f"candidates have weight on {source}, of which no run is known; add runs or leave it out" for source in foreign)
        )
    weights = aligned(candidates.weights, None, (candidates.sources, full), missing=0.0)
    kept = np.flatnonzero(allowed(prepared, weights, region=False))
    return Pool(weights=weights[kept], ids=tuple(candidates.ids[k] for k in kept))


def within(prepared: Prepared, rng: np.random.Generator) -> Pool | Solution:
    """Mixtures made within the limits, the selected one first; the failed solution where there is none."""
    settled, solution = settle(prepared)
    if solution.weights is None:
        return solution
    request = prepared.request
    best = tidy(solution.weights, request)
    found = [best, *_sampled(settled, rng), *_corners(prepared, rng)]
    measured = aligned(prepared.measured.weights, None, (prepared.full.sources, request.sources), missing=0.0)
    inside = measured[within_limits(measured, request)]
    found += list(_blends(np.array(found), inside, best, rng))
    rows = np.array([_sparse(row, request) for row in found])
    full = aligned(rows, None, (request.sources, prepared.full.sources), missing=0.0)
    keep = allowed(prepared, full, region=True)
    keep[0] = True  # the program's own, which was found under its own response
    return Pool(weights=full[keep])


def _sampled(prepared: Prepared, rng: np.random.Generator) -> list[Floats]:
    """The best mixtures of samples of the posterior; those of few sources cost a search each, so there they are left out."""
    spec = prepared.spec
    if spec.max_sources is not None or spec.min_weight is not None:
        return []
    seeded = spec.model_copy(update={"seed": int(rng.integers(2**31))})
    drawn = prepared.evidence.redrawn(seeded, prepared.of, SAMPLES)
    places = [prepared.full.sources.index(s) for s in prepared.request.sources]
    found = []
    for response in drawn:
        again = replace(prepared, response=response.take_sources(places)).solve()
        if again.weights is not None:
            found.append(tidy(again.weights, prepared.request))
    return found


def _corners(prepared: Prepared, rng: np.random.Generator) -> list[Floats]:
    """Mixtures that are best for random gains of the sources: corners of the limits on weights and protected gains."""
    request = prepared.request
    builder = ProblemBuilder(request, prepared.response)
    rows = [named.constraint for named in builder.limits()]
    direction = cp.Parameter(len(request.sources))
    problem = cp.Problem(cp.Maximize(direction @ builder.w), [cp.sum(builder.w) == 1, *rows, *builder.atoms.constraints])
    found = []
    for _ in range(CORNERS):
        direction.value = rng.standard_normal(len(request.sources))
        if run_solvers(problem).status == "optimal":
            found.append(tidy(np.asarray(builder.w.value, dtype=float), request))
    return found


def _blends(found: Floats, measured: Floats, best: Floats, rng: np.random.Generator) -> Floats:
    """Blends of few mixtures each, (``BLENDS``, S), half of them near the best."""
    every = np.concatenate([found, measured]) if len(measured) else found
    shares = rng.dirichlet(np.full(len(every), min(1.0, 2.5 / len(every))), BLENDS)
    rows = shares @ every
    near = rng.uniform(0.05, 0.5, BLENDS // 2)[:, None]
    rows[: BLENDS // 2] = (1 - near) * best + near * rows[: BLENDS // 2]
    return rows


def _sparse(weights: Floats, request: Request) -> Floats:
    """Without the smallest weights where the request limits sources; those that then break another limit are left out later."""
    spec = request.spec
    if spec.max_sources is None and spec.min_weight is None:
        return weights
    order = np.argsort(-weights)
    keep = order[: spec.max_sources or len(order)]
    kept = np.zeros_like(weights)
    kept[keep] = np.where(weights[keep] >= (spec.min_weight or 0.0), weights[keep], 0.0)
    return kept / kept.sum() if kept.sum() > 0 else weights
