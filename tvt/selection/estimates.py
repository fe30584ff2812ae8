"""Which figures rest on estimates instead of measurements, so that they can be marked as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Prediction
from tvt.core.selection import SelectionSpec
from tvt.selection.completion import complete
from tvt.stats.intervals import normal_factor

Cells = Sequence[tuple[str, str]]
"""(source, target)."""


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
        at = completed.sources.index(source), completed.targets.index(target)
        mean, reach = float(completed.mean[at]), z * float(np.nan_to_num(completed.errors[at]))
        found[source, target] = Prediction(gain=mean, low=mean - reach, high=mean + reach, estimated=(source,))
    return found
