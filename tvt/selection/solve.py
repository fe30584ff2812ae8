"""Solving a request: fallback solvers in a fixed, recorded order, two stages where goals can be met, and few sources.

cvxpy raises nothing on infeasible problems: the status is read.

At most K sources, each with a least weight, are found by outer approximation (Duran and Grossmann, 1986). A mixed-integer
*linear* master sees every curve, norm and divergence through tangent cuts and bounds the optimum from above; the exact convex
problem on the master's set of sources bounds it from below. Both points give new cuts until the bounds meet.
"""

from __future__ import annotations

import copy
import ctypes
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np

from tvt.core.mixture import SolverRecord
from tvt.core.objective import MET
from tvt.core.values import Frozen
from tvt.evidence.response import Curve, ErrorRows, Response, mixedness
from tvt.selection.audit import protection_shortfall
from tvt.selection.problem import Model, ProblemBuilder
from tvt.selection.request import Request
from tvt.types import Bools, Floats

SOLVED = ("optimal", "optimal_inaccurate")
LINEAR_ORDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SCIPY", {"scipy_options": {"mip_rel_gap": 1e-9}}),
    ("CLARABEL", {}),
    ("SCS", {"eps": 1e-7}),
)
CONIC_ORDER: tuple[tuple[str, dict[str, Any]], ...] = (("CLARABEL", {}), ("SCS", {"eps": 1e-7, "max_iters": 20_000}))
"""Fallback orders: the first that answers is taken. Linear and mixed-integer problems go to HiGHS (as SciPy
carries it), whose vertices are exact."""
DISPLAY = {"SCIPY": "HIGHS"}
TIGHT: dict[str, dict[str, Any]] = {
    "CLARABEL": {"tol_feas": 1e-11, "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "max_iter": 1000},
    "SCS": {"eps": 1e-9, "max_iters": 200_000},
}
"""Settings for an answer that the audit did not let pass."""
_tight: ContextVar[bool] = ContextVar("tight", default=False)

LAZY_MARGINS = 12
"""From more protected targets than this on, safety margins are taken in as they are needed."""

STAGE_SLACK = 1e-7
"""By how much the second stage may fall below the first stage's value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution(Frozen):
    """Weights (S,) with their objective and shadow prices, or the status without weights."""

    status: str
    weights: Floats | None
    objective: float
    prices: dict[str, float]
    record: SolverRecord

    @property
    def infeasible(self) -> bool:
        """Whether the solver proved that nothing meets the constraints."""
        return self.status in ("infeasible", "infeasible_inaccurate")

    def after(self, first: Solution) -> Solution:
        """This second stage's solution with the time of both stages."""
        seconds, tried = first.record.seconds + self.record.seconds, first.record.tried + self.record.tried
        return replace(self, record=self.record.model_copy(update={"seconds": seconds, "tried": tried}))


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Keep what a solver's C++ code prints (HiGHS has debugging prints) out of stdout, where only answers belong."""
    try:
        libc, kept = ctypes.CDLL(None), os.dup(1)
    except (OSError, TypeError):  # no stdout to keep clean, or a platform without such a handle
        yield
        return
    sys.stdout.flush()
    libc.fflush(None)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def tighter() -> Iterator[None]:
    """Have the solvers go on until they are far more exact than they are by default."""
    before = _tight.set(True)
    try:
        yield
    finally:
        _tight.reset(before)


def run_solvers(problem: Any) -> SolverRecord:
    """Solve in place with the first solver that gives an answer; an answer may be *infeasible*."""
    order = LINEAR_ORDER if _is_linear(problem) else CONIC_ORDER
    tried: list[str] = []
    began = time.perf_counter()
    for name, usual in order:
        label = DISPLAY.get(name, name)
        options = {**usual, **(TIGHT.get(name, {}) if _tight.get() else {})}
        try:
            with quiet_stdout(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                problem.solve(solver=name, **copy.deepcopy(options))
        except (cp.error.SolverError, ValueError, ArithmeticError) as error:
            tried.append(f"{label}: {str(error).splitlines()[0][:80]}")
            continue
        if problem.status in ("optimal", "infeasible", "unbounded") or name == order[-1][0]:
            seconds = time.perf_counter() - began
            return SolverRecord(name=label, status=problem.status, seconds=seconds, tried=tuple(tried))
        tried.append(f"{label}: {problem.status}")
    return SolverRecord(name="none", status="solver_error", seconds=time.perf_counter() - began, tried=tuple(tried))


def _is_linear(problem: Any) -> bool:
    return bool(problem.is_lp()) or (problem.is_mixed_integer() and bool(problem.objective.args[0].is_affine()))


def solve_convex(request: Request, response: Response, samples: Sequence[Response] = ()) -> Solution:
    """Solve a request without a limit on the number of sources.

    With many protected targets, few need their safety margin: it is a large cone each, so the problem starts without them and
    takes in those of the targets that fall short, until none is new. What is left out holds by itself, so the answer is exact.
    """
    guarded = np.isfinite(request.limits)
    lazy = request.spec.protect_z > 0 and int(guarded.sum()) > LAZY_MARGINS
    margins = np.zeros_like(guarded) if lazy else guarded
    earlier: Solution | None = None
    while True:
        solution = _solve_with_margins(request, response, samples, margins)
        solution = solution if earlier is None else solution.after(earlier)
        if solution.weights is None or not lazy:
            return solution
        short = protection_shortfall(np.maximum(solution.weights, 0.0), request, response) > 1e-8
        if not (short & ~margins).any():
            return solution
        margins, earlier = margins | short, solution


def _solve_with_margins(request: Request, response: Response, samples: Sequence[Response], margins: Bools) -> Solution:
    """Both stages with the safety margins of some targets."""
    model = ProblemBuilder(request, response, samples, margins=margins).build()
    first = solve_once(model)
    if first.weights is None or not has_second_stage(model):
        return first
    to_second_stage(model, float(model.value.value))
    again = solve_once(model)
    return first if again.weights is None else again.after(first)


def solve_once(model: Model) -> Solution:
    """Solve a model's current objective."""
    record = run_solvers(model.problem())
    if record.status not in SOLVED:
        return Solution(status=record.status, weights=None, objective=float("nan"), prices={}, record=record)
    return _solution(model, float(model.objective.value), record)


def has_second_stage(model: Model) -> bool:
    """Whether a solved model meets all that its objective asked for first, and has something left to choose by."""
    return model.then is not None and float(model.value.value) >= -MET


def to_second_stage(model: Model, first: float) -> None:
    """Turn a model to its second stage: the best second value at (nearly) the ``first`` value."""
    model.extra.append(model.value >= min(first, 0.0) - STAGE_SLACK)
    model.objective = model.then - model.penalty


def _solution(model: Model, objective: float, record: SolverRecord) -> Solution:
    prices: dict[str, float] = {}
    for named in model.named:
        duals = named.constraint.dual_value
        if duals is None:
            continue
        for name, price in zip(named.names, np.abs(np.atleast_1d(duals)), strict=True):
            if price > 1e-5:
                prices[name] = prices.get(name, 0.0) + float(price)
    return Solution(
        status=record.status, weights=np.asarray(model.w.value, dtype=float), objective=objective, prices=prices, record=record
    )


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

    def mixedness(self, w: Any) -> Any:
        """Tangents from above."""
        height = cp.Variable()
        self.constraints.append(height <= 1)
        for point in self.points:
            value = float(mixedness(point))
            if value > 1e-3:
                slope = (1 - 2 * point) / (2 * value)
                self.constraints.append(height <= value - float(slope @ point) + slope @ w)
        return height

    def lengths(self, rows: Sequence[ErrorRows], w: Any) -> Any:
        """Supporting hyperplanes from below; each row alone gives the first."""
        bounds = cp.Variable(len(rows), nonneg=True)
        for r, part in enumerate(rows):
            if len(part.scales):
                self.constraints.append(bounds[r] >= cp.multiply(part.scales, w[part.positions]) + part.starts)
            if len(part.dense):
                self.constraints.append(bounds[r] >= part.dense @ w + part.offsets)
            for point in self.points:
                length, gradient = part.at(point)
                if length > 0:
                    self.constraints.append(bounds[r] >= length - float(gradient @ point) + gradient @ w)
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
