"""Why a request cannot be met: the limits that conflict, and by how much they would have to give way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cvxpy as cp
import numpy as np

from tvt.core.mixture import FailedSelection
from tvt.evidence.response import Response
from tvt.selection.audit import TOLERANCE
from tvt.selection.problem import ProblemBuilder
from tvt.selection.request import Request
from tvt.selection.solve import SOLVED, Solution, run_solvers, solve_with_few_sources


def diagnose(request: Request, response: Response, failed: Solution) -> FailedSelection:
    """Explain an infeasible request.

    All hard limits (caps, floors, text constraints, hard protection) are relaxed by one amount r >= 0, each in its own unit;
    the least r that lets a mixture exist is the relaxation, and the limits with a price at that point are in conflict; limits
    whose removal leaves the conflict in place are then taken off the list, so that what is named cannot hold together.
    """
    attempts = (*failed.record.tried, f"{failed.record.name}: {failed.status}")
    if not failed.infeasible:
        return FailedSelection(status="solver_error", reason="no solver answered", attempts=attempts)
    amount, suspects = _least_relaxation(request, response)
    if amount <= TOLERANCE:
        return _too_few_sources(request, response, attempts)
    conflicts = _irreducible(request, response, suspects)
    listed = _listing(conflicts)
    reason = f"no mixture meets {listed}; relaxing {'each' if len(conflicts) > 1 else 'it'} by {amount:.4f} would be enough"
    return FailedSelection(status="infeasible", reason=reason, conflicts=tuple(conflicts), relaxation=amount, attempts=attempts)


def _least_relaxation(
    request: Request, response: Response, kept: Callable[[str], bool] = lambda _: True
) -> tuple[float, list[str]]:
    """The least uniform relaxation of the limits that ``kept`` lets stand, and those with a price there."""
    builder = ProblemBuilder(request, response)
    r = cp.Variable(nonneg=True)
    named = builder.limits(relax=r)
    rows = []
    for part in named:
        chosen = np.array([kept(name) for name in part.names])
        if chosen.any():
            gap = part.constraint.args[0] - part.constraint.args[1]  # both kinds of row read: gap <= 0
            rows.append((gap[np.flatnonzero(chosen)] <= 0, [n for n in part.names if kept(n)]))
    problem = cp.Problem(cp.Minimize(r), [cp.sum(builder.w) == 1, *builder.atoms.constraints, *(c for c, _ in rows)])
    record = run_solvers(problem)
    if record.status not in SOLVED:
        return math.inf, [name for _, names in rows for name in names]
    priced = [
        name
        for constraint, names in rows
        for name, dual in zip(names, np.abs(np.atleast_1d(constraint.dual_value)), strict=True)
        if dual > 1e-5
    ]
    return float(r.value), priced


def _irreducible(request: Request, response: Response, suspects: list[str]) -> list[str]:
    """Drop suspects one at a time while the rest still conflict (deletion filter)."""
    if len(suspects) > 60:  # a long list is no clearer for being minimal
        return suspects
    core = list(suspects)
    for name in suspects:
        rest = [other for other in core if other != name]
        if rest and _least_relaxation(request, response, lambda n, rest=set(rest): n in rest)[0] > TOLERANCE:  # type: ignore[misc]
            core = rest
    return core


def _too_few_sources(request: Request, response: Response, attempts: tuple[str, ...]) -> FailedSelection:
    """The limits alone can be met; with so few sources, or with such a least weight, they cannot."""
    spec = request.spec
    names = []
    if spec.max_sources is not None:
        names.append(f"at most {spec.max_sources} sources")
    if spec.min_weight is not None:
        names.append(f"least weight {spec.min_weight:g} of a used source")
    reason = f"the limits can be met, but not with {' and '.join(names)}"
    for more in range((spec.max_sources or 0) + 1, len(request.sources) + 1 if spec.max_sources else 0):
        # What can be met at all does not depend on the objective, so that CVaR and its samples play no part.
        wider = replace(request, spec=spec.model_copy(update={"max_sources": more, "cvar": None}))
        if solve_with_few_sources(wider, response).weights is not None:
            extra = more - (spec.max_sources or 0)
            return FailedSelection(
                status="infeasible",
                reason=f"{reason}; {more} sources would be enough",
                conflicts=tuple(names),
                relaxation=float(extra),
                attempts=attempts,
            )
    return FailedSelection(status="infeasible", reason=reason, conflicts=tuple(names), attempts=attempts)


def _listing(names: list[str], most: int = 6) -> str:
    """The names in a sentence; many limits of one kind are phrases together."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind, separator, rest = name.partition(" of ")
        kinds.setdefault(kind if separator and kind in ("cap", "floor", "protection") else name, []).append(rest)
    phrases = []
    for kind, members in kinds.items():
        if len(members) > most:
            phrases.append(f"the {kind}s of {len(members)} tasks ({', '.join(members[:3])}, ...)")
        else:
            phrases += [f"{kind} of {m}" if kind in ("cap", "floor", "protection") else kind for m in members]
    return ", ".join(phrases[:most]) + (f" and {len(phrases) - most} more" if len(phrases) > most else "")
