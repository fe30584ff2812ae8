"""How much the choice depends on kappa, which is an assumption unless mixture and dose runs fitted it."""

from __future__ import annotations

import math

from tvt.core.selection import SelectionSpec
from tvt.evidence.kappa import Curvature
from tvt.evidence.whole import Evidence, curvature
from tvt.selection.audit import tidy
from tvt.selection.prepare import prepare

FACTOR = math.sqrt(10)


def kappa_sensitivity(evidence: Evidence, spec: SelectionSpec, found: Curvature | None = None) -> dict[float, dict[str, float]]:
    """Weights of the used sources at the ends of a fitted kappa's interval, else at a third and at three times kappa (half a
    power of ten each way).

    ``found`` is the kappa if it is known already. Empty where kappa plays no part: the linear response, or one fitted on a
    table of mixture runs.
    """
    found = found or curvature(evidence, spec)
    if found is None:
        return {}
    ends = (found.value / FACTOR, found.value * FACTOR)
    if found.low is not None and found.high is not None:
        ends = (found.low, found.high)
    told: dict[float, dict[str, float]] = {}
    for kappa in ends:
        prepared = prepare(evidence, spec.model_copy(update={"kappa": kappa}))
        solution = prepared.solve()
        if solution.weights is not None:
            weights = tidy(solution.weights, prepared.request)
            told[kappa] = {s: float(w) for s, w in zip(prepared.request.sources, weights, strict=True) if w > 0}
    return told
