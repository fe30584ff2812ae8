"""Solving with fallback solvers in a fixed, recorded order. cvxpy raises nothing on infeasible problems: the status is read."""

from __future__ import annotations

import copy
import ctypes
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np

from tvt.core.frozen import Frozen
from tvt.core.mixture import SolverRecord
from tvt.core.objective import MET
from tvt.evidence.response import Response
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


def run_solvers(problem: Any) -> SolverRecord:
    """Solve in place with the first solver that gives an answer; an answer may be *infeasible*."""
    order = LINEAR_ORDER if _is_linear(problem) else CONIC_ORDER
    tried: list[str] = []
    began = time.perf_counter()
    for name, options in order:
        label = DISPLAY.get(name, name)
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
