"""Is there anything to gain? The base model is always a candidate; a source counts only where its gain is credible."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri, stdtrit

from tvt.core.matrix import TransferMatrix
from tvt.evidence.completion import Completed
from tvt.selection.request import Request
from tvt.stats.noise import pooled_degrees
from tvt.types import Floats


def credible_sources(matrix: TransferMatrix, completed: Completed, request: Request) -> dict[str, dict[str, float]]:
    """By counting target, the allowed sources whose lower confidence bound is above 0, with their mean gain.

    The bound is one-sided at ``spec.confidence``: ``mean - sqrt((t * seed error)^2 + (z * item error)^2)``. Seed noise is
    independent between sources, and the best of many is picked, so t carries Bonferroni's correction for the number of sources
    and the degrees of freedom of the target's variance between runs (:mod:`tvt.stats.noise`). Item noise is mostly shared by
    the sources (same questions, same base model), so z carries none. With neither error known a positive mean is all there is
    to go by.
    """
    spec, allowed = request.spec, list(request.sources)
    bound = lower_bounds(matrix, completed, spec.confidence, len(allowed))
    found: dict[str, dict[str, float]] = {}
    for j, target in enumerate(completed.targets):
        if not request.counting[j]:
            continue
        gains = {}
        for source in allowed:
            i = completed.sources.index(source)
            if (source, target) not in completed.estimated and bound[i, j] > 0:
                gains[source] = float(completed.mean[i, j])
        found[target] = dict(sorted(gains.items(), key=lambda item: -item[1]))
    return found


def lower_bounds(matrix: TransferMatrix, completed: Completed, confidence: float, candidates: int) -> Floats:
    """Lower confidence bounds of the gains, (S, T) in the order of ``completed``."""
    rows = [matrix.sources.index(s) for s in completed.sources]
    columns = [matrix.targets.index(t) for t in completed.targets]
    cut = np.ix_(rows, columns)
    seed = np.sqrt(np.nan_to_num(matrix.run_variance)[columns] / np.maximum(matrix.run_count[cut], 1))
    t = stdtrit(pooled_degrees(matrix.values)[columns], 1 - (1 - confidence) / max(candidates, 1))
    margin = np.hypot(t * seed, float(ndtri(confidence)) * np.nan_to_num(matrix.item_error[cut]))
    bounds: Floats = completed.mean - margin
    return bounds
