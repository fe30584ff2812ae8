"""What would a given mixture do? The response that a selection maximises, read forwards.

Predictions that rest on estimates, not on measurements, are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Prediction
from tvt.core.selection import SelectionSpec
from tvt.core.values import aligned
from tvt.errors import InputError, suggest
from tvt.evidence.completion import complete
from tvt.evidence.evidence import Evidence, Measurements
from tvt.evidence.fit import FitReport
from tvt.evidence.posterior import Posterior
from tvt.evidence.response import Response
from tvt.stats.noise import normal_factor
from tvt.types import Floats

Cells = Sequence[tuple[str, str]]
"""(source, target)."""


def predict(
    evidence: Measurements | Evidence, weights: Floats, sources: Sequence[str], spec: SelectionSpec | None = None
) -> tuple[tuple[dict[str, Prediction], ...], FitReport | None, tuple[str, ...]]:
    """Predict the gains (and scores) of mixtures, ``weights`` of shape (N, S) over ``sources``.

    Returns one mapping by target for each mixture, the fit's report for a table of mixture runs, and notes (among them a kappa
    that was fitted on a study's mixture and dose runs).

    Raises:
        InputError: a source with weight that the evidence does not know.
    """
    spec = spec or SelectionSpec()
    evidence = Evidence.of(evidence)
    of = evidence.full_response(spec)
    response, completed, report, notes, curvature = of[:5]
    if curvature is not None and curvature.origin == "fitted":
        notes = (*notes, curvature.text)
    unknown = [s for j, s in enumerate(sources) if s not in response.sources and np.any(weights[:, j] > 0)]
    if unknown:
        raise InputError(*(f"source '{s}' is not in the study{suggest(s, response.sources)}" for s in unknown))
    full = aligned(weights, None, (sources, response.sources), missing=0.0)
    estimated = () if completed is None else completed.estimated
    if of.posterior is None:
        predicted = tuple(predictions(response, row, spec.confidence, estimated) for row in full)
    else:
        predicted = posterior_predictions(of.posterior, response, full, spec.confidence)
    highest = (
        {t: max((mixture[t] for mixture in predicted), key=lambda found: found.gain) for t in response.targets}
        if predicted
        else {}
    )
    return predicted, report, (*notes, *beyond_reach(highest, evidence))


def predictions(response: Response, weights: Floats, confidence: float, estimated: Cells = ()) -> dict[str, Prediction]:
    """Predicted gain of every target at ``weights`` (S,), with its interval; ``estimated`` are the cells not measured."""
    gains = response.gains(weights)
    half = normal_factor(confidence) * response.gain_errors(weights)
    values = response.scores(gains)
    unmeasured = resting_on(estimated, dict(zip(response.sources, weights.tolist(), strict=True)))
    return {
        target: Prediction(
            gain=float(g),
            low=float(g - h),
            high=float(g + h),
            value=float(v) if np.isfinite(v) else None,
            estimated=unmeasured.get(target, ()),
        )
        for target, g, h, v in zip(response.targets, gains, half, values, strict=True)
    }


def posterior_predictions(
    posterior: Posterior, response: Response, weights: Floats, confidence: float
) -> tuple[dict[str, Prediction], ...]:
    """Predicted gains and scores of every target at ``weights`` (N, S), by a table's posterior; intervals are for a new run.

    ``response`` is its relative, which knows the table's unit.
    """
    if not len(weights):
        return ()
    estimate, (low, high) = posterior.at(weights), posterior.interval(weights, confidence)
    values = response.scores(estimate.mean)
    return tuple(
        {
            target: Prediction(
                gain=float(estimate.mean[k, j]),
                low=float(min(low[k, j], estimate.mean[k, j])),
                high=float(max(high[k, j], estimate.mean[k, j])),
                value=float(values[k, j]),
                se=float(estimate.se[k, j]),
                lower_is_better=response.sign < 0,
            )
            for j, target in enumerate(posterior.targets)
        }
        for k in range(len(weights))
    )


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
