"""What an answer is worth: 0 or 1 for a letter, something between for a number that comes near."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

Tally = int | float
"""A sum of credits: the count of right answers where answers are right or wrong, else a decimal number."""

_TOLERANCES = 1 - np.linspace(0.5, 0.95, 10)
"""Largest relative errors that still count, 0.5, 0.45, ..., 0.05, in the very floating point numbers of the authors' code."""


def mean_relative_accuracy(told: float | None, right: float) -> float:
    """The share of ten tolerances that an answer keeps to: ``mean over theta of [|told - right| / |right| <= 1 - theta]`` with
    theta = 0.50, 0.55, ..., 0.95.

    Source: Yang et al., *Thinking in Space* (VSI-Bench), arXiv 2412.14171; the comparison ``<=`` and its rounding are those of
    the authors' code (thinking-in-space, ``lmms_eval/tasks/vsibench/utils.py``; lmms-eval has the same), where 0.3 for 0.4
    misses the tolerance of 0.25 by a rounding error. That code fails at a right answer of 0; here only 0 itself earns the
    credit then. An answer that is no number is worth 0 in both.

    Args:
        told: the number that was answered, ``None`` where none could be read: no credit.
        right: the right number.

    Returns:
        0, 0.1, ..., 1.

    >>> mean_relative_accuracy(3.0, 4.0)
    0.6
    """
    if told is None or not math.isfinite(told):
        return 0.0
    if right == 0:
        return float(told == 0)
    return int(np.count_nonzero(abs(told - right) / abs(right) <= _TOLERANCES)) / len(_TOLERANCES)


def tally(credits_: Iterable[float]) -> Tally:
    """The sum of credits, exactly rounded whatever their order; whole sums are integers."""
    total = math.fsum(credits_)
    return int(total) if total.is_integer() else total
