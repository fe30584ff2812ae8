"""The engine: evidence and a spec in, a mixture (or a typed failure) out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Audit, FailedSelection, Harm, Mixture, Prediction
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.objective import MET
from tvt.core.selection import SelectionSpec
from tvt.errors import TvtError
from tvt.evidence.predict import beyond_reach, predictions
from tvt.evidence.whole import Evidence
from tvt.io.installed import version
from tvt.selection.audit import audit, objective_value, protection_shortfall, pure_value, tidy
from tvt.selection.diagnose import diagnose
from tvt.selection.prepare import Prepared, prepare
from tvt.selection.request import Request
from tvt.selection.rounding import round_to_counts
from tvt.selection.solve import Solution
from tvt.selection.verdict import credible_sources
from tvt.types import Floats

BETTER = 1e-9
"""By how much a mixture's objective must exceed the base model's to be worth training."""


def select(evidence: Evidence, spec: SelectionSpec, *, runs: MixtureRuns | None = None) -> Mixture | FailedSelection:
    """Choose the mixture that serves ``spec`` best.

    Args:
        evidence: a transfer matrix (its response is linear or log), or a table of mixture runs (a response is fitted).
        spec: what is asked for.
        runs: with a matrix: mixture runs in the matrix's metric, which join its own evidence on kappa.

    Returns:
        The audited mixture. Its weights are all 0 (train on nothing) with the verdict ``nothing_helps`` where no source
        credibly helps or the best mixture is no better than the base model. A request that cannot be met gives a
        FailedSelection.

    Raises:
        InputError: unknown names or impossible options, all at once.
        TvtError: the answer did not pass the independent audit (a defect).
    """
    return finish(prepare(evidence, spec, runs))


def finish(prepared: Prepared) -> Mixture | FailedSelection:
    """Solve what was prepared, audit it, give the verdict, round it."""
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
    credible = _credible(prepared)
    if prepared.spec.anyway or _helps(prepared, weights, credible):
        return _mixture(prepared, solution, weights, checked, credible)
    return _nothing_helps(prepared, solution, weights, credible)


def _credible(prepared: Prepared) -> dict[str, dict[str, float]]:
    if prepared.completed is None or not isinstance(prepared.evidence, TransferMatrix):
        return {}
    return credible_sources(prepared.evidence, prepared.completed, prepared.request)


def _helps(prepared: Prepared, weights: Floats, credible: dict[str, dict[str, float]]) -> bool:
    """Whether some source credibly helps and the mixture beats the base model, whose gains are all 0."""
    if isinstance(prepared.evidence, MixtureRuns):
        return True  # the table knows no base model
    if not any(credible.values()):
        return False
    request = prepared.request
    value = pure_value(weights, request, prepared.response, prepared.samples)
    base = _base_value(request)
    shifted = tuple(b + BETTER for b in base)
    return value[0] > shifted[0] or (len(value) > 1 and abs(value[0] - base[0]) <= MET and value[1] > shifted[1])


def _base_value(request: Request) -> tuple[float, ...]:
    """The objective's values of the base model, whose gains are all 0."""
    return tuple(map(float, request.spec.aim.values(np.zeros(len(request.served)), request.wanted)))


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
    predicted = predictions(prepared.whole, full, spec.confidence, prepared.estimated)
    return Mixture(
        status="optimal" if solution.status == "optimal" else "optimal_inaccurate",
        objective=value[0] if missed or len(value) == 1 else value[1],
        weights=dict(zip(prepared.whole.sources, map(float, full), strict=True)),
        counts=dict.fromkeys(prepared.whole.sources, 0) | dict(zip(request.sources, map(int, counts), strict=True)),
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
    sources, spec = prepared.whole.sources, prepared.spec
    full = dict(zip(sources, map(float, prepared.spread(weights)), strict=True))
    return Mixture(
        verdict="nothing_helps",
        objective=_base_value(prepared.request)[0],
        weights=dict.fromkeys(sources, 0.0),
        counts=dict.fromkeys(sources, 0),
        budget=spec.budget,
        predicted={t: Prediction(gain=0.0, low=0.0, high=0.0) for t in prepared.whole.targets},
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
    evidence = prepared.evidence
    if isinstance(evidence, MixtureRuns):
        of = {"kind": "mixture_runs", "digest": evidence.digest, "runs": len(evidence.ids)}
    else:
        of = {
            "kind": "transfer_matrix",
            "name": evidence.name,
            "digest": evidence.digest(),
            "runs": list(evidence.runs),
            "metric": evidence.metric,
            "model": evidence.model,
        }
    asked = prepared.spec.model_dump(mode="json", exclude_defaults=True)
    packages = ("tvt", "cvxpy", "numpy", "scipy", "clarabel")
    if prepared.estimated:
        of["estimated_cells"] = len(prepared.estimated)
    beside = getattr(evidence, "evidence", None)
    if beside is not None:
        of["mixture_runs"] = list(beside.ids)
    curvature = {} if prepared.curvature is None else {"curvature": prepared.curvature.to_json()}
    return {
        "evidence": of,
        "spec": asked,
        "response": prepared.whole.label,
        **curvature,
        "versions": {name: version(name) for name in packages},
    }
