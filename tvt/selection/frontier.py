"""The frontier: how much gain a more careful mixture costs, against risk or against the worst harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tvt.core.selection import ALL, SelectionSpec
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.evidence.evidence import Evidence, Measurements
from tvt.evidence.predict import resting_on
from tvt.selection.audit import round_to_counts, tidy
from tvt.selection.engine import Prepared, prepare
from tvt.types import Floats

Kind = Literal["risk", "harm"]
RISKS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
POINTS = 9


@dataclass(frozen=True, kw_only=True)
class FrontierPoint(Frozen):
    """One mixture on the frontier. ``setting`` is the risk factor, or the least gain demanded of every target.

    ``gain`` is the counting targets' weighted mean gain; ``error`` its standard error as the risk term has it, proportional
    to the weights (intervals follow the response's curve and are wider); ``worst`` the smallest gain of any target.
    """

    setting: float
    gain: float
    error: float
    worst: float
    worst_target: str
    weights: dict[str, float]
    counts: dict[str, int]
    estimated: tuple[str, ...] = ()
    """Counting targets, and the worst one, whose gain rests on cells that were not measured."""

    def json_value(self) -> dict[str, Any]:
        """Only sources with a weight."""
        return {
            "setting": self.setting,
            "gain": self.gain,
            "error": self.error,
            "worst": {"target": self.worst_target, "gain": self.worst},
            "estimated": self.estimated,
            "weights": {s: w for s, w in self.weights.items() if w > 0},
            "counts": {s: n for s, n in self.counts.items() if n > 0},
        }


def frontier(evidence: Measurements | Evidence, spec: SelectionSpec, kind: Kind) -> tuple[FrontierPoint, ...]:
    """Solve the request over a range of risk factors, or of hard limits on the worst gain from the free choice's to the best.

    Raises:
        InputError: the request itself is infeasible, or (risk) no errors are known.
    """
    specs = frontier_specs(evidence, spec, kind)
    points = []
    for setting, asked in specs:
        prepared = prepare(evidence, asked)
        solution = prepared.solve()
        if solution.weights is not None:
            points.append(_point(prepared, tidy(solution.weights, prepared.request), setting))
    if not points:
        raise InputError("no point of the frontier can be reached; run the request without --frontier to see what conflicts")
    return tuple(points)


def frontier_specs(evidence: Measurements | Evidence, spec: SelectionSpec, kind: Kind) -> list[tuple[float, SelectionSpec]]:
    """The settings of a frontier, each with the request that makes its mixture.

    Raises:
        InputError: the request is infeasible without any protection, or (harm) the evidence has no base model.
    """
    if kind == "harm":
        return _harm_specs(Evidence.of(evidence), spec)
    plain = spec.model_copy(update={"cvar": None})
    return [(risk, plain.model_copy(update={"risk": risk})) for risk in RISKS]


def _harm_specs(evidence: Evidence, spec: SelectionSpec) -> list[tuple[float, SelectionSpec]]:
    """Limits from the worst gain of the unprotected choice up to the best that any mixture reaches."""
    if evidence.matrix is None:
        raise InputError("the harm frontier needs a study with a base model; a table of mixture runs has none")
    free = spec.model_copy(update={"protect": {}, "hard": False})
    worst = spec.model_copy(
        update={
            "objective": "worst", "goals": {}, "targets": {}, "protect": {}, "hard": False, "risk": 0.0, "cvar": None,
            "exclude": _left_out(evidence, spec), "without_direct": False, "kl": 0.0,
        }
    )  # fmt: skip
    ends = []
    for asked in (free, worst):
        prepared = prepare(evidence, asked)
        solution = prepared.solve()
        if solution.weights is None:
            raise InputError("the request is infeasible without any protection; run it without --frontier to see why")
        ends.append(float(prepared.response.gains(tidy(solution.weights, prepared.request)).min()))
    low, high = ends
    limits = np.linspace(low, max(high - 1e-6, low), POINTS)
    return [(float(x), free.model_copy(update={"protect": {ALL: float(x)}, "hard": True})) for x in limits]


def _left_out(evidence: Evidence, spec: SelectionSpec) -> tuple[str, ...]:
    """Sources that the request itself may not use."""
    allowed = prepare(evidence, spec).request.sources
    return tuple(s for s in evidence.sources if s not in allowed)


def gain_error(prepared: Prepared, weights: Floats) -> float:
    """Standard error of the counting targets' mean gain at ``weights`` (S,), as the risk term has it."""
    return prepared.response.mean_error(weights, prepared.request.weights)


def _point(prepared: Prepared, weights: Floats, setting: float) -> FrontierPoint:
    request, response = prepared.request, prepared.response
    gains = response.gains(weights)
    counts = round_to_counts(weights, prepared.spec.budget, caps=np.minimum(request.caps, 1.0), floors=request.floors)
    lowest = int(np.argmin(gains))
    shares = dict(zip(request.sources, map(float, weights), strict=True))
    unmeasured = resting_on(prepared.estimated, shares)
    return FrontierPoint(
        setting=setting,
        gain=float(gains @ request.weights),
        error=gain_error(prepared, weights),
        worst=float(gains[lowest]),
        worst_target=request.targets[lowest],
        weights=shares,
        counts=dict(zip(request.sources, map(int, counts), strict=True)),
        estimated=tuple(t for j, t in enumerate(request.targets) if t in unmeasured and (request.counting[j] or j == lowest)),
    )
