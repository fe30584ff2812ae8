"""At most K sources, each with a least weight: outer approximation (Duran and Grossmann, 1986).

A mixed-integer *linear* master sees every curve, norm and divergence through tangent cuts and bounds the optimum from above;
the exact convex problem on the master's set of sources bounds it from below. Both points give new cuts until the bounds meet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np

from tvt.core.mixture import SolverRecord
from tvt.evidence.response import Curve, Response
from tvt.selection.problem import Model, ProblemBuilder
from tvt.selection.request import Request
from tvt.selection.solve import SOLVED, Solution, has_second_stage, solve_once, to_second_stage
from tvt.types import Bools, Floats

GAP = 1e-6
"""The bounds count as met within this, in units of the objective."""
ROUNDS = 60
GRID = (0.0, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.75, 1.0)
"""Where every source gets its first cuts."""


class CutAtoms:
    """Tangent cuts at given points, each a vector of weights (S,)."""

    def __init__(self, points: Sequence[Floats]) -> None:
        self.points = points
        self.constraints: list[Any] = []

    def curve(self, curve: Curve, w: Any) -> Any:
        """Tangents from above, source by source."""
        height = cp.Variable(w.shape[0])
        for point in self.points:
            slope = curve.slope(point)
            self.constraints.append(height <= curve(point) - slope * point + cp.multiply(slope, w))
        return height

    def norm(self, scales: Floats, w: Any) -> Any:
        """Supporting hyperplanes from below; ``|scale_i w_i|`` alone gives the first."""
        bounds = cp.Variable(scales.shape[1], nonneg=True)
        for r in range(scales.shape[1]):
            scale = scales[:, r]
            self.constraints.append(bounds[r] >= cp.multiply(scale, w))
            for point in self.points:
                length = float(np.linalg.norm(scale * point))
                if length > 0:
                    self.constraints.append(bounds[r] >= (scale**2 * point / length) @ w)
        return bounds

    def decay(self, inner: Any, at: Callable[[Floats], Floats]) -> Any:
        """Tangents of ``exp(-h)`` from below."""
        above = cp.Variable(inner.shape[0])
        for point in self.points:
            value = at(point)
            self.constraints.append(above >= cp.multiply(np.exp(-value), 1 + value - inner))
        return above

    def divergence(self, w: Any, prior: Floats) -> Any:
        """Tangents of ``w log(w/prior)`` from below, source by source."""
        inside = np.flatnonzero(prior > 0)
        parts = cp.Variable(inside.size)
        outside = np.flatnonzero(prior <= 0)
        if outside.size:
            self.constraints.append(w[outside] == 0)
        for point in self.points:
            at = np.maximum(point[inside], 1e-6)
            log = np.log(at / prior[inside])
            self.constraints.append(parts >= at * log + cp.multiply(log + 1, w[inside] - at))
        return cp.sum(parts)


@dataclass
class _Search:
    """One stage of the search: its best exact solution, the master's bound, and the cuts so far."""

    request: Request
    response: Response
    samples: Sequence[Response]
    first: float | None = None
    """The first stage's value, in the second."""

    def run(self) -> tuple[Solution, Model | None]:
        n = len(self.request.sources)
        points = [np.full(n, g) for g in GRID]
        best: Solution | None = None
        best_model: Model | None = None
        began, bound, rounds = time.perf_counter(), np.inf, 0
        for rounds in range(1, ROUNDS + 1):  # noqa: B007 - reported below
            master, used = self._master(points)
            answer = solve_once(master)
            if answer.weights is None:
                break
            bound = min(bound, answer.objective)
            points.append(np.clip(answer.weights, 0.0, 1.0))
            exact, model = self._exact(np.asarray(used.value) > 0.5)
            if exact.weights is not None:
                points.append(np.clip(exact.weights, 0.0, 1.0))
                if best is None or exact.objective > best.objective:
                    best, best_model = exact, model
            if best is not None and bound - best.objective <= GAP:
                break
        seconds = time.perf_counter() - began
        if best is None:
            status = "infeasible" if answer.weights is None else "solver_error"
            record = SolverRecord(name="HIGHS", status=status, seconds=seconds, tried=answer.record.tried)
            return Solution(status=status, weights=None, objective=float("nan"), prices={}, record=record), None
        closed = bound - best.objective <= GAP
        name = f"outer approximation (HIGHS + {best.record.name}, {rounds} rounds)"
        status = "optimal" if closed else "optimal_inaccurate"
        return replace(best, status=status, record=SolverRecord(name=name, status=status, seconds=seconds)), best_model

    def _master(self, points: list[Floats]) -> tuple[Model, Any]:
        spec, n = self.request.spec, len(self.request.sources)
        model = ProblemBuilder(self.request, self.response, self.samples, CutAtoms(points)).build()
        used = cp.Variable(n, boolean=True)
        model.extra.append(model.w <= cp.multiply(np.minimum(self.request.caps, 1.0), used))
        model.extra.append(cp.sum(used) <= (spec.max_sources or n))
        if spec.min_weight is not None:
            model.extra.append(model.w >= spec.min_weight * used)
        if self.first is not None:
            to_second_stage(model, self.first)
        return model, used

    def _exact(self, used: Bools) -> tuple[Solution, Model]:
        floors = np.where(used, np.maximum(self.request.floors, self.request.spec.min_weight or 0.0), self.request.floors)
        fixed = replace(self.request, caps=np.where(used, self.request.caps, 0.0), floors=floors)
        model = ProblemBuilder(fixed, self.response, self.samples).build()
        if self.first is not None:
            to_second_stage(model, self.first)
        return solve_once(model), model


def solve_with_few_sources(request: Request, response: Response, samples: Sequence[Response] = ()) -> Solution:
    """Solve a request that limits the number of sources or asks for a least weight of each used one."""
    first, model = _Search(request, response, samples).run()
    if first.status not in SOLVED or model is None or not has_second_stage(model):
        return _without_zero_caps(first, request)
    again, _ = _Search(request, response, samples, first=float(model.value.value)).run()
    return _without_zero_caps(first if again.weights is None else again.after(first), request)


def _without_zero_caps(solution: Solution, request: Request) -> Solution:
    """Drop the prices of sources that the search itself closed: they are no limit of the user's."""
    mine = {name for name, cap in zip(request.cap_names, request.caps, strict=True) if cap >= 1}
    return replace(solution, prices={name: price for name, price in solution.prices.items() if name not in mine})
