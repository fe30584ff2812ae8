"""What would a given mixture do? The same response that selection uses, read forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvt.core.mixture import Prediction
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError, suggest
from tvt.selection.engine import beyond_reach, predictions
from tvt.selection.fit import FitReport
from tvt.selection.prepare import Evidence, whole_response
from tvt.types import Floats


def predict(
    evidence: Evidence, weights: Floats, sources: Sequence[str], spec: SelectionSpec | None = None
) -> tuple[tuple[dict[str, Prediction], ...], FitReport | None, tuple[str, ...]]:
    """Predict the gains (and scores) of mixtures, ``weights`` of shape (N, S) over ``sources``.

    Returns one mapping by target for each mixture, the fit's report for a table of mixture runs, and notes (among them a kappa
    that was fitted on a study's mixture and dose runs).

    Raises:
        InputError: a source with weight that the evidence does not know.
    """
    spec = spec or SelectionSpec()
    response, completed, report, notes, curvature = whole_response(evidence, spec)
    if curvature is not None and curvature.origin == "fitted":
        notes = (*notes, curvature.told)
    position = {s: i for i, s in enumerate(response.sources)}
    unknown = [s for j, s in enumerate(sources) if s not in position and np.any(weights[:, j] > 0)]
    if unknown:
        raise InputError(*(f"source '{s}' is not in the study{suggest(s, response.sources)}" for s in unknown))
    full = np.zeros((len(weights), len(response.sources)))
    for j, source in enumerate(sources):
        if source in position:
            full[:, position[source]] = weights[:, j]
    estimated = () if completed is None else completed.estimated
    told = tuple(predictions(response, row, spec.confidence, estimated) for row in full)
    highest = {t: max((mixture[t] for mixture in told), key=lambda found: found.gain) for t in response.targets} if told else {}
    return told, report, (*notes, *beyond_reach(highest, evidence))


def weights_of(mixture: Mapping[str, float]) -> tuple[Floats, tuple[str, ...]]:
    """A mixture's weights as (1, S) with its sources."""
    return np.array([list(mixture.values())], dtype=float), tuple(mixture)
