"""Weights to integer example counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvt.types import Floats


def round_to_counts(
    weights: Floats, budget: int, *, caps: Floats | None = None, floors: Floats | None = None
) -> NDArray[np.int64]:
    """Counts (S,) that sum to ``budget``, by largest remainder, within ``caps`` and ``floors`` (shares) where
    integers allow it.

    Sources with weight 0 get 0. Ties go to the larger weight, then to the earlier source.

    Raises:
        ValueError: weights that do not sum to 1.
    """
    if abs(float(weights.sum()) - 1) > 1e-6:
        raise ValueError(f"weights sum to {weights.sum():.6g}, not 1")
    exact = weights * budget
    counts = np.floor(exact + 1e-9).astype(np.int64)
    used = weights > 0
    high = np.full(weights.size, budget) if caps is None else np.floor(caps * budget + 1e-6).clip(max=budget).astype(np.int64)
    low = np.zeros(weights.size, np.int64) if floors is None else np.ceil(floors * budget - 1e-6).astype(np.int64)
    counts = np.clip(counts, np.minimum(low, high), high)
    while (rest := budget - int(counts.sum())) != 0:
        step = 1 if rest > 0 else -1
        open_ = used & ((counts < high) if step > 0 else (counts > np.maximum(low, 0)))
        if not open_.any():  # integer bounds too tight for the budget: exceed a cap by one example rather than lose it
            open_ = used & ((counts < exact + 1) if step > 0 else (counts > 0))
        order = sorted(np.flatnonzero(open_), key=lambda i: (-step * (exact[i] - counts[i]), -weights[i], i))
        for i in order[: abs(rest)]:
            counts[i] += step
    return counts
