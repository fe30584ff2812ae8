"""Numbers and arrays as the page's JSON takes them: short, and ``None`` where a figure is not known."""

from __future__ import annotations

from typing import Any

import numpy as np

DIGITS = 5
"""Decimals that are kept: more than any figure is told with, fewer than would swell the file."""


def number(value: float, digits: int = DIGITS) -> float | None:
    """A figure, ``None`` where it is not finite; no -0."""
    return round(float(value), digits) + 0.0 if np.isfinite(value) else None


def nested(values: Any, digits: int = DIGITS) -> Any:
    """An array of any shape as nested lists."""
    array = np.asarray(values, dtype=float)
    if array.ndim == 0:
        return number(float(array), digits)
    return [nested(row, digits) for row in array]


def tidy(value: Any, digits: int = DIGITS) -> Any:
    """Plain JSON values with every float in them shortened; what is not finite becomes ``None``."""
    if isinstance(value, dict):
        return {key: tidy(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(item, digits) for item in value]
    return number(value, digits) if isinstance(value, float) else value
