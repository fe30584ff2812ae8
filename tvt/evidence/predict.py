"""What would a given mixture do? The response that a selection maximises, read forwards.

Predictions that rest on estimates, not on measurements, are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Nearby, Prediction
from tvt.core.selection import SelectionSpec
from tvt.core.values import aligned
from tvt.errors import InputError, suggest
from tvt.evidence.completion import complete
from tvt.evidence.evidence import Evidence, FullResponse, Measurements
from tvt.evidence.fit import FitReport
from tvt.evidence.measured import Measured
from tvt.evidence.study_model import StudyFit
from tvt.stats.noise import normal_factor
from tvt.types import Floats

Cells = Sequence[tuple[str, str]]
"""(source, target)."""


class Predicted(NamedTuple):
    """What mixtures are predicted to do: one mapping by target for each."""

    gains: tuple[dict[str, Prediction], ...]
    report: FitReport | None
    """Of the fit of a table of mixture runs."""
    notes: tuple[str, ...]
    """On what the response stands."""
    nearby: tuple[Nearby | None, ...]
    """For each mixture, the measured one that is nearest."""
    joint: StudyFit | None
    """What was learned of a study's joint response."""


def predict(
    evidence: Measurements | Evidence, weights: Floats, sources: Sequence[str], spec: SelectionSpec | None = None
) -> Predicted:
    """Predict the gains (and scores) of mixtures, ``weights`` of shape (N, S) over ``sources``.

    Raises:
        InputError: a source with weight that the evidence does not know.
    """
    spec = spec or SelectionSpec()
    evidence = Evidence.of(evidence)
    of = evidence.full_response(spec)
    response, completed, report, notes, curvature = of.response, of.completed, of.report, of.notes, of.curvature
    if curvature is not None and curvature.origin == "fitted":
        notes = (*notes, curvature.text)
    unknown = [s for j, s in enumerate(sources) if s not in response.sources and np.any(weights[:, j] > 0)]
    if unknown:
        raise InputError(*(f"source '{s}' is not in the study{suggest(s, response.sources)}" for s in unknown))
    full = aligned(weights, None, (sources, response.sources), missing=0.0)
    estimated = () if completed is None else completed.estimated
    predicted = predictions(of, full, spec.confidence, estimated)
    highest = (
        {t: max((mixture[t] for mixture in predicted), key=lambda found: found.gain) for t in response.targets}
        if predicted
        else {}
    )
    measured = evidence.measured(of)
    nearby = tuple(nearest_measured(measured, row) for row in full)
    return Predicted(predicted, report, (*notes, *beyond_reach(highest, evidence)), nearby, of.joint)


def predictions(
    of: FullResponse, weights: Floats, confidence: float, estimated: Cells = ()
) -> tuple[dict[str, Prediction], ...]:
    """Predicted gains of mixtures ``weights`` (N, S) by target; ``estimated`` are the cells not measured.

    ``low`` and ``high`` are for a new run, ``se`` is the error of the mean.
    """
    if not len(weights):
        return ()
    response = of.response
    mean, se, _ = of.posterior.at(weights)
    low, high = of.posterior.interval(weights, confidence)
    values = response.scores(mean)
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    found = []
    for n, row in enumerate(weights):
        unmeasured = resting_on(estimated, dict(zip(response.sources, row.tolist(), strict=True)))
        found.append(
            {
                target: Prediction(
                    gain=float(mean[n, j]),
                    low=float(low[n, j]),
                    high=float(high[n, j]),
                    se=float(se[n, j]),
                    value=float(values[n, j]) if np.isfinite(values[n, j]) else None,
                    lower_is_better=response.sign < 0,
                    estimated=unmeasured.get(target, ()),
                )
                for j, target in enumerate(response.targets)
            }
        )
    return tuple(found)


def nearest_measured(measured: Measured, weights: Floats) -> Nearby | None:
    """The measured mixture nearest to ``weights`` (S,)."""
    if not len(measured.names):
        return None
    distance = 0.5 * np.abs(measured.weights - weights).sum(axis=1)
    nearest = int(distance.argmin())
    return Nearby(mixture=measured.names[nearest], distance=float(distance[nearest]))


def beyond_reach(predicted: Mapping[str, Prediction], evidence: Evidence) -> tuple[str, ...]:
    """A note where a predicted PGF is above 1, which none can be."""
    above = [target for target, found in predicted.items() if found.gain > 1]
    if not above or not evidence.is_pgf:
        return ()
    more = f" and {len(above) - 2} more" if len(above) > 2 else ""
    return (
        f"no PGF can be above 1, as predicted for {' and '.join(above[:2]) if not more else ', '.join(above[:2])}{more}: "
        "predictions add up what single sources do, and go too far where many of them help",
    )


def resting_on(estimated: Cells, weights: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """By target, the sources with a weight whose cell is an estimate; targets without any are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for source, target in estimated:
        if weights.get(source, 0.0) > 0:
            found[target] = (*found.get(target, ()), source)
    return found


def estimated_cells(matrix: TransferMatrix, confidence: float | None = None) -> dict[tuple[str, str], Prediction]:
    """What a selection takes missing cells for, by (source, target), with the interval that a measurement is foreseen in.

    A source or a target without any measured cell has none.

    Args:
        matrix: the study.
        confidence: level of the intervals; default: a selection's.
    """
    if np.isfinite(matrix.mean).all():
        return {}
    completed = complete(matrix)
    z = normal_factor(SelectionSpec().confidence if confidence is None else confidence)
    found = {}
    for source, target in completed.estimated:
        mean, error = completed.cell(source, target)
        reach = z * error
        found[source, target] = Prediction(gain=mean, low=mean - reach, high=mean + reach, estimated=(source,))
    return found


def weights_of(mixture: Mapping[str, float]) -> tuple[Floats, tuple[str, ...]]:
    """A mixture's weights as (1, S) with its sources."""
    return np.array([list(mixture.values())], dtype=float), tuple(mixture)
