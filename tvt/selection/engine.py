"""The engine: evidence and a spec in, a mixture out, or a typed failure with what conflicts and what would resolve it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np

from tvt.core.mixture import Audit, FailedSelection, Harm, Mixture, Prediction
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.objective import MET
from tvt.core.selection import SelectionSpec
from tvt.core.task import resolve_name
from tvt.core.values import aligned, encode, positions
from tvt.errors import InputError, TvtError
from tvt.evidence.completion import Completed
from tvt.evidence.evidence import Evidence, FullResponse, Measurements, with_kappa
from tvt.evidence.fit import FitReport
from tvt.evidence.posterior import Form
from tvt.evidence.predict import beyond_reach, posterior_predictions, predictions
from tvt.evidence.response import Curvature, Response
from tvt.io.machine import installed_version
from tvt.selection.audit import TOLERANCE, audit, objective_value, protection_shortfall, pure_value, round_to_counts, tidy
from tvt.selection.problem import ProblemBuilder
from tvt.selection.request import Request, resolve_request
from tvt.selection.solve import SOLVED, Solution, run_solvers, solve_convex, solve_with_few_sources
from tvt.types import Floats

BETTER = 1e-9
"""By how much a mixture's objective must exceed the base model's to be worth training."""


def select(
    evidence: Measurements | Evidence, spec: SelectionSpec, *, runs: MixtureRuns | None = None
) -> Mixture | FailedSelection:
    """Choose the mixture that serves ``spec`` best.

    Args:
        evidence: a transfer matrix (its response is linear or log), or a table of mixture runs (a response is fitted).
        spec: what is asked for.
        runs: with a matrix: mixture runs in the matrix's metric, which join its own evidence on kappa.

    Returns:
        The audited mixture. Its weights are all 0 (train on nothing) with the decision ``nothing_helps`` where no source
        credibly helps or the best mixture is no better than the base model. A request that cannot be met gives a
        FailedSelection.

    Raises:
        InputError: unknown names or impossible options, all at once.
        TvtError: the answer did not pass the independent audit (a defect).
    """
    return finish(prepare(evidence, spec, runs))


def finish(prepared: Prepared) -> Mixture | FailedSelection:
    """Solve what was prepared, audit it, decide whether to train, round it."""
    solution = prepared.solve()
    if solution.weights is None:
        return diagnose(prepared.request, prepared.response, solution)
    request, response = prepared.request, prepared.response
    weights = tidy(solution.weights, request)
    checked = audit(weights, request, response, max_sources=prepared.spec.max_sources)
    if not checked.passed:  # dust can matter at a tight limit: keep the solver's own weights, made to sum to 1
        weights = np.maximum(solution.weights, 0.0) / np.maximum(solution.weights, 0.0).sum()
        checked = audit(weights, request, response)
    if not checked.passed:
        raise TvtError(
            f"the solver's answer breaks a constraint by {checked.worst_violation:.2g}; please report it with the command"
        )
    credible = prepared.credible
    if prepared.spec.anyway or _helps(prepared, weights, credible):
        return _mixture(prepared, solution, weights, checked, credible or {})
    return _nothing_helps(prepared, solution, weights, credible or {})


def _helps(prepared: Prepared, weights: Floats, credible: dict[str, dict[str, float]] | None) -> bool:
    """Whether some source credibly helps and the mixture beats the base model, whose gains are all 0."""
    if credible is None:
        return True  # no base model is known
    if not any(credible.values()):
        return False
    request = prepared.request
    value = pure_value(weights, request, prepared.response, prepared.samples)
    base = _base_value(request)
    shifted = tuple(b + BETTER for b in base)
    return value[0] > shifted[0] or (len(value) > 1 and abs(value[0] - base[0]) <= MET and value[1] > shifted[1])


def _base_value(request: Request) -> tuple[float, ...]:
    """The objective's values of the base model, whose gains are all 0."""
    return tuple(map(float, request.spec.aim.values(np.zeros(len(request.served)), request.requested)))


def _mixture(
    prepared: Prepared, solution: Solution, weights: Floats, checked: Audit, credible: dict[str, dict[str, float]]
) -> Mixture:
    request, response, spec = prepared.request, prepared.response, prepared.spec
    counts = round_to_counts(weights, spec.budget, caps=np.minimum(request.caps, 1.0), floors=request.floors)
    value = objective_value(weights, request, response, prepared.samples)
    missed = len(value) > 1 and pure_value(weights, request, response, prepared.samples)[0] < -MET
    full = prepared.spread(weights)
    short = protection_shortfall(weights, request, response)
    gains = response.gains(weights)
    if prepared.of.posterior is None:
        predicted = predictions(prepared.full, full, spec.confidence, prepared.estimated)
    else:
        (predicted,) = posterior_predictions(prepared.of.posterior, prepared.full, full[None], spec.confidence)
    return Mixture(
        status="optimal" if solution.status == "optimal" else "optimal_inaccurate",
        objective=value[0] if missed or len(value) == 1 else value[1],
        weights=dict(zip(prepared.full.sources, map(float, full), strict=True)),
        counts=dict.fromkeys(prepared.full.sources, 0) | dict(zip(request.sources, map(int, counts), strict=True)),
        budget=spec.budget,
        predicted=predicted,
        prices=dict(sorted(solution.prices.items(), key=lambda item: -item[1])),
        harmed=tuple(
            Harm(target=t, limit=float(limit), gain=float(g), shortfall=float(s))
            for t, limit, g, s in zip(request.targets, request.limits, gains, short, strict=True)
            if s > 1e-6
        ),
        audit=checked,
        solver=solution.record,
        credible=credible,
        notes=(*prepared.notes, *beyond_reach(predicted, prepared.evidence)),
        provenance=provenance(prepared),
    )


def _nothing_helps(prepared: Prepared, solution: Solution, weights: Floats, credible: dict[str, dict[str, float]]) -> Mixture:
    """The base model: train on nothing. What would have been best stays on record."""
    sources, spec = prepared.full.sources, prepared.spec
    full = dict(zip(sources, map(float, prepared.spread(weights)), strict=True))
    return Mixture(
        verdict="nothing_helps",
        objective=_base_value(prepared.request)[0],
        weights=dict.fromkeys(sources, 0.0),
        counts=dict.fromkeys(sources, 0),
        budget=spec.budget,
        predicted={t: Prediction(gain=0.0, low=0.0, high=0.0) for t in prepared.full.targets},
        prices={},
        audit=Audit(passed=True, worst_violation=0.0),
        solver=solution.record,
        credible=credible,
        least_bad={s: w for s, w in full.items() if w > 0},
        notes=prepared.notes,
        provenance=provenance(prepared),
    )


def provenance(prepared: Prepared) -> dict[str, Any]:
    """Where the mixture came from: evidence, request, response, versions. Plain values, the same for the same inputs."""
    asked = prepared.spec.model_dump(mode="json", exclude_defaults=True)
    packages = ("tvt", "cvxpy", "numpy", "scipy", "clarabel")
    estimated = {"estimated_cells": len(prepared.estimated)} if prepared.estimated else {}
    curvature = {} if prepared.curvature is None else {"curvature": encode(prepared.curvature)}
    return {
        "evidence": {**prepared.evidence.provenance(), **estimated},
        "spec": asked,
        "response": prepared.full.label,
        **curvature,
        "versions": {name: installed_version(name) for name in packages},
    }


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
        wider = replace(request, spec=spec.model_copy(update={"max_sources": more}))
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One selection ready to solve. ``response`` and ``samples`` are over the request's (allowed) sources;
    ``full`` is the response over all sources, for predicting any mixture.
    """

    evidence: Evidence
    spec: SelectionSpec
    request: Request
    response: Response
    samples: tuple[Response, ...]
    of: FullResponse

    @property
    def full(self) -> Response:
        """The response over all sources."""
        return self.of.response

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of the response."""
        return self.of.notes

    @property
    def completed(self) -> Completed | None:
        """The matrix without holes, of a study."""
        return self.of.completed

    @property
    def report(self) -> FitReport | None:
        """How well a fitted response predicts."""
        return self.of.report

    @property
    def curvature(self) -> Curvature | None:
        """Kappa of the log response and how it came about; None for other responses."""
        return self.of.curvature

    @property
    def credible(self) -> dict[str, dict[str, float]] | None:
        """By counting target, the allowed sources whose gain is credible; ``None`` where no base model is known."""
        request = self.request
        return self.evidence.credible(
            self.of, sources=request.sources, counting=request.counting, confidence=self.spec.confidence
        )

    @property
    def estimated(self) -> tuple[tuple[str, str], ...]:
        """The (source, target) that were not measured but estimated."""
        return () if self.completed is None else self.completed.estimated

    @property
    def settled(self) -> SelectionSpec:
        """The request with kappa settled: what is prepared from it fits nothing anew."""
        return with_kappa(self.spec, self.curvature)

    def solve(self) -> Solution:
        """Solve with the method that the request needs."""
        few = self.spec.max_sources is not None or self.spec.min_weight is not None
        solver = solve_with_few_sources if few else solve_convex
        return solver(self.request, self.response, self.samples)

    def spread(self, weights: Floats) -> Floats:
        """Weights over the allowed sources (S,) written over all sources."""
        return aligned(weights, (self.request.sources, self.full.sources), missing=0.0)


def prepare(
    evidence: Measurements | Evidence, spec: SelectionSpec, runs: MixtureRuns | None = None, form: Form | None = None
) -> Prepared:
    """Look names up, build the response and draw samples.

    ``runs`` are mixture runs beside a matrix, in its metric: they join its evidence on kappa.
    ``form`` is what was learned of a table of mixture runs before; else it is learned anew.

    Raises:
        InputError: unknown names, impossible limits, risk without errors; all faults at once.
    """
    known = Evidence.of(evidence).with_runs(runs)
    full = known.full_response(spec, form)
    response = full.response
    names = tuple(dict.fromkeys((*known.sources, *known.targets)))
    _refuse_dead_targets(known, response, spec)
    request = resolve_request(
        spec,
        sources=response.sources,
        targets=response.targets,
        resolve=lambda text: resolve_name(text, known.tasks, names),
        is_pgf=known.is_pgf,
        sign=response.sign,
        reference=response.reference,
    )
    careful = spec.risk or spec.protect_z
    if careful and not np.isfinite(response.errors).any():
        raise InputError("no standard errors are known, so risk has nothing to go by; give several runs or counts, or --cvar")
    keep = positions(response.sources, request.sources)
    samples = known.redrawn(spec, full) if spec.cvar is not None else ()
    return Prepared(
        evidence=known,
        spec=spec,
        request=request,
        response=response.take_sources(keep),
        samples=tuple(s.take_sources(keep) for s in samples),
        of=full,
    )


def _refuse_dead_targets(evidence: Evidence, response: Response, spec: SelectionSpec) -> None:
    """Refuse goals, weights and limits on targets without a single measured cell."""
    named = {*spec.goals, *spec.targets, *spec.protect}
    dead = [t for t in evidence.targets if t not in response.targets and t in named]
    if dead:
        raise InputError(*(f"target {t}: {evidence.unmeasured(t)}; it cannot be asked for" for t in dead))
