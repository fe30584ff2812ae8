"""The engine: evidence and a spec in, a mixture out, or a typed failure with what conflicts and what would resolve it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

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
from tvt.evidence.measured import Measured
from tvt.evidence.posterior import Form
from tvt.evidence.predict import beyond_reach, nearest_measured, predictions
from tvt.evidence.response import Curvature, Response
from tvt.evidence.response_posterior import ResponsePosterior
from tvt.io.machine import installed_version
from tvt.selection.audit import (
    audit,
    best_measured,
    objective_value,
    protection_shortfall,
    pure_value,
    round_to_counts,
    tidy,
    within_limits,
)
from tvt.selection.diagnosis import diagnose
from tvt.selection.request import Region, Request, resolve_request
from tvt.selection.solve import Solution, solve_convex, solve_with_few_sources, tighter
from tvt.types import Floats

ROUNDS = 4
SETTLED = 1e-3
"""How often a request is solved at most with the response matched anew, and the sum of absolute differences of weights that
counts as none."""
MOST_MISSED = 1e-3
"""By how much more than asked protection may be met to make up for a solver's inexactness."""
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
    prepared, solution = settle(prepared)
    if solution.weights is None:
        return diagnose(prepared.request, prepared.response, solution)
    weights, checked = _audited(prepared, solution.weights)
    if not checked.passed:
        prepared, solution, weights, checked = _solved_tighter(prepared, solution, weights, checked)
    request = prepared.request
    if not checked.passed:
        raise TvtError(
            f"the solver's answer breaks a constraint by {checked.worst_violation:.2g}; please report it with the command"
        )
    prepared, weights, checked = _best_known(prepared, weights, checked)
    credible = prepared.credible
    if not prepared.spec.anyway and not prepared.evidence.has_signal(prepared.of, request.weights):
        return _no_signal(prepared, solution)
    if prepared.spec.anyway or _helps(prepared, weights, credible):
        return _mixture(prepared, solution, weights, checked, credible or {})
    return _nothing_helps(prepared, solution, weights, credible or {})


def _audited(prepared: Prepared, raw: Floats) -> tuple[Floats, Audit]:
    """A solver's weights (S,) without its dust, and whether they meet every limit."""
    request, response = prepared.request, prepared.response
    weights = tidy(raw, request)
    checked = audit(weights, request, response, max_sources=prepared.spec.max_sources)
    if not checked.passed:  # dust can matter at a tight limit: keep the solver's own weights, made to sum to 1
        weights = np.maximum(raw, 0.0) / np.maximum(raw, 0.0).sum()
        checked = audit(weights, request, response)
    return weights, checked


def _solved_tighter(
    prepared: Prepared, solution: Solution, weights: Floats, checked: Audit
) -> tuple[Prepared, Solution, Floats, Audit]:
    """Solve anew where an answer misses a limit by a little: with tighter settings, then also with protection that asks for as
    much more as was missing. What was given comes back where nothing is better.
    """
    for more in (0.0, 2 * checked.worst_violation, 10 * checked.worst_violation):
        if more > MOST_MISSED:
            break
        stricter = replace(prepared, request=replace(prepared.request, limits=prepared.request.limits + more))
        with tighter():
            again = stricter.solve()
        if again.weights is None:
            continue
        tried, found = _audited(prepared, again.weights)
        if found.passed:
            return prepared, again, tried, found
    return prepared, solution, weights, checked


def settle(prepared: Prepared) -> tuple[Prepared, Solution]:
    """Solve, and solve again with the response matched to the posterior at the solution, until that moves it no more.

    The response that a convex program can use differs from the posterior where runs say what no concave function can, and its
    errors are bounds away from the point where their tangents are taken. Matched, both are exact at the solution.
    """
    solution = prepared.solve()
    if solution.weights is None or not prepared.inexact:
        return prepared, solution
    for _ in range(ROUNDS):
        nearer = _matched(prepared, tidy(solution.weights, prepared.request))
        again = nearer.solve()
        if again.weights is None:
            return (prepared, solution) if prepared.response.anchor is not None else (nearer, again)
        moved = float(np.abs(again.weights - solution.weights).sum())
        prepared, solution = nearer, again
        if moved < SETTLED:
            break
    return prepared, solution


def _matched(prepared: Prepared, weights: Floats) -> Prepared:
    """With the response moved so that at ``weights`` (S,) it says what the posterior says."""
    estimate = prepared.of.posterior.at(prepared.spread(weights)[None])
    return replace(prepared, response=prepared.response.matched(weights, estimate.mean[0], estimate.se[0]))


def _best_known(prepared: Prepared, weights: Floats, checked: Audit) -> tuple[Prepared, Floats, Audit]:
    """The measured mixture that is better than ``weights`` (S,) by the posterior, where there is one; else what was given.

    Runs beside a study may show that some sources do better together than apart. No concave response has that, so the program
    may pass such a mixture by.
    """
    request, known = prepared.request, prepared.measured.weights
    if prepared.evidence.matrix is None or not prepared.inexact or prepared.spec.cvar is not None:
        return prepared, weights, checked
    options = aligned(known, None, (prepared.full.sources, request.sources))
    best = objective_value(weights, request, prepared.response)
    for option in options[within_limits(options, request)]:
        there = _matched(prepared, option)
        value = objective_value(option, request, there.response)
        if value[0] <= best[0] + BETTER:
            continue
        found = audit(option, request, there.response, max_sources=prepared.spec.max_sources)
        if found.passed:
            best, prepared, weights, checked = value, there, option, found
    return prepared, weights, checked


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
    predicted = predictions(prepared.of, full[None], spec.confidence, prepared.estimated)[0]
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
        measured_nearby=nearest_measured(prepared.measured, full),
        best_measured=best_measured(prepared.measured, request, prepared.full),
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
        predicted={t: Prediction(gain=0.0, low=0.0, high=0.0, se=0.0) for t in prepared.full.targets},
        prices={},
        audit=Audit(passed=True, worst_violation=0.0),
        solver=solution.record,
        credible=credible,
        least_bad={s: w for s, w in full.items() if w > 0},
        notes=prepared.notes,
        provenance=provenance(prepared),
    )


def _no_signal(prepared: Prepared, solution: Solution) -> Mixture:
    """The best measured mixture: the runs do not tell mixtures apart any further. What would have been chosen is on record."""
    sources, spec, request = prepared.full.sources, prepared.spec, prepared.request
    best = best_measured(prepared.measured, request, prepared.full)
    weights = np.array([0.0 if best is None else best.weights.get(s, 0.0) for s in sources])
    weights = weights / weights.sum() if weights.any() else weights
    counts = round_to_counts(weights, spec.budget) if weights.any() else weights.astype(int)
    assert solution.weights is not None  # noqa: S101 - the caller has looked
    chosen = dict(zip(sources, map(float, prepared.spread(tidy(solution.weights, request))), strict=True))
    return Mixture(
        verdict="no_signal",
        objective=None if best is None else best.objective,
        weights=dict(zip(sources, map(float, weights), strict=True)),
        counts=dict(zip(sources, map(int, counts), strict=True)),
        budget=spec.budget,
        predicted=predictions(prepared.of, weights[None], spec.confidence, prepared.estimated)[0],
        prices={},
        audit=Audit(passed=True, worst_violation=0.0),
        solver=solution.record,
        measured_nearby=nearest_measured(prepared.measured, weights) if weights.any() else None,
        best_measured=best,
        least_bad={s: w for s, w in chosen.items() if w > 0},
        notes=prepared.notes,
        provenance=provenance(prepared),
    )


def provenance(prepared: Prepared) -> dict[str, Any]:
    """Where the mixture came from: evidence, request, response, versions. Plain values, the same for the same inputs."""
    asked = prepared.spec.model_dump(mode="json", exclude_defaults=True)
    packages = ("tvt", "cvxpy", "numpy", "scipy", "clarabel")
    estimated = {"estimated_cells": len(prepared.estimated)} if prepared.estimated else {}
    if prepared.completed is not None and prepared.completed.by_gradients:
        estimated["gradient_cells"] = len(prepared.completed.by_gradients)
    curvature = {} if prepared.curvature is None else {"curvature": encode(prepared.curvature)}
    return {
        "evidence": {**prepared.evidence.provenance(), **estimated},
        "spec": asked,
        "response": prepared.full.label,
        **curvature,
        "versions": {name: installed_version(name) for name in packages},
    }


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

    @cached_property
    def measured(self) -> Measured:
        """What was measured, over the full response's names."""
        return self.evidence.measured(self.of)

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
    def inexact(self) -> bool:
        """Whether the response is exact only where it is matched to the posterior: its errors play a part, or its mean is
        another than the posterior's.
        """
        careful = bool(self.spec.risk or (self.spec.protect_z and self.spec.protect))
        bends = bool(self.response.curves) or self.response.mixing is not None
        return (careful and bends) or not isinstance(self.of.posterior, ResponsePosterior)

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

    ``runs`` are mixture runs beside a matrix, in its metric: they join its evidence.
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
    region = None if spec.beyond else known.region(request.sources)
    request = replace(request, region=None if region is None else Region(*region))
    if spec.standardise:
        request = _standardised(request, known)
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


def _standardised(request: Request, evidence: Evidence) -> Request:
    """The request with each target's weight in units of its scores' standard deviation over the runs.

    Raises:
        InputError: a study, whose gains have one unit, or an objective that is no weighted mean.
    """
    spreads = evidence.spreads()
    if spreads is None or not request.spec.aim.linear:
        raise InputError(
            "--standardise divides the scores of a table of mixture runs in a weighted mean; drop it for a study, for goals "
            "and for --objective worst"
        )
    weights = request.weights / spreads
    return replace(request, weights=weights / weights.sum())


def _refuse_dead_targets(evidence: Evidence, response: Response, spec: SelectionSpec) -> None:
    """Refuse goals, weights and limits on targets without a single measured cell."""
    named = {*spec.goals, *spec.targets, *spec.protect}
    dead = [t for t in evidence.targets if t not in response.targets and t in named]
    if dead:
        raise InputError(*(f"target {t}: {evidence.unmeasured(t)}; it cannot be asked for" for t in dead))
