"""How much the choice depends on kappa, which is an assumption unless mixture runs fitted it."""

from __future__ import annotations

import math

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.selection.audit import tidy
from tvt.selection.prepare import Evidence, prepare

FACTOR = math.sqrt(10)


def kappa_sensitivity(evidence: Evidence, spec: SelectionSpec) -> dict[float, dict[str, float]]:
    """Weights of the used sources at a third and at three times kappa (half a power of ten each way).

    Empty where kappa plays no part: the linear response, or one fitted on mixture runs.
    """
    if not isinstance(evidence, TransferMatrix) or spec.response != "log":
        return {}
    found: dict[float, dict[str, float]] = {}
    for kappa in (spec.kappa / FACTOR, spec.kappa * FACTOR):
        prepared = prepare(evidence, spec.model_copy(update={"kappa": kappa}))
        solution = prepared.solve()
        if solution.weights is not None:
            weights = tidy(solution.weights, prepared.request)
            found[kappa] = {s: float(w) for s, w in zip(prepared.request.sources, weights, strict=True) if w > 0}
    return found
