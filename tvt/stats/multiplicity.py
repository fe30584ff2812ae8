"""Correcting p-values for how many of them are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvt.types import Floats


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down corrected p-values (Scand J Stat 1979), in the order given."""
    values: Floats = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    out = np.empty(values.size)
    out[order] = np.minimum(steps, 1.0)
    return [float(v) for v in out]
