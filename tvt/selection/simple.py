"""Mixtures that need no optimiser: what a selection is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tvt.core.selection import SelectionSpec
from tvt.types import Floats


def uniform(sources: int) -> Floats:
    """Equal shares, (S,)."""
    return np.full(sources, 1 / sources)


def best_single(values: Sequence[Any] | Floats) -> Floats:
    """All on the source with the highest of ``values`` (S,), numbers or tuples; the first of equals."""
    weights = np.zeros(len(values))
    weights[max(range(len(values)), key=lambda i: values[i])] = 1.0
    return weights


def proportional(values: Floats) -> Floats:
    """Shares in proportion to the positive ``values`` (S,); equal shares where none is positive."""
    positive = np.maximum(values, 0.0)
    return positive / positive.sum() if positive.sum() > 0 else uniform(len(values))


def limited(spec: SelectionSpec) -> bool:
    """Whether a selection has limits or cares for risk, which the simple mixtures do not."""
    limits = (spec.caps, spec.floors, spec.constraints, spec.sizes, spec.protect, spec.max_sources, spec.min_weight, spec.kl)
    return any(limits) or bool(spec.risk or spec.cvar)
