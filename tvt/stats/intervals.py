"""Estimates with their intervals, and p-values corrected for how many of them are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from tvt.stats.noise import jackknife_error
from tvt.types import Floats


@dataclass(frozen=True)
class Interval:
    """A figure with what the spread between the runs says of it; NaN where that is not known (one run, say)."""

    value: float = field(metadata={"json": "mean"})
    error: float = field(metadata={"json": "se"})
    """Standard error: jackknife over the runs."""
    low: float
    """Of the 95% interval: Student's t with one degree of freedom less than there are runs."""
    high: float


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"), float("nan"))


def run_interval(value: float, left_out: Floats) -> Interval:
    """The interval of an estimate.

    Args:
        value: the estimate from all runs.
        left_out: the same with one run left out each, (runs,); empty with fewer than two runs.
    """
    error = float(jackknife_error(left_out))
    half = float(stdtrit(len(left_out) - 1, 0.975)) * error if np.isfinite(error) else float("nan")
    return Interval(value, error, value - half, value + half)


@dataclass(frozen=True)
class StudentT:
    """A value with its standard error and degrees of freedom: Student's t interval and two-sided p."""

    value: float
    error: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Low and high of the two-sided interval."""
        half = self.error * float(stdtrit(self.df, 0.5 + level / 2))
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Of the value against 0."""
        return float(2 * stdtr(self.df, -abs(self.value) / self.error))


def normal_factor(confidence: float) -> float:
    """Half-width of a two-sided normal interval at ``confidence``, in standard errors."""
    return float(ndtri(0.5 + confidence / 2))


def known(value: float) -> float | None:
    """The value; ``None`` where it is not finite."""
    return float(value) if np.isfinite(value) else None


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down corrected p-values (Scand J Stat 1979), in the order given."""
    values: Floats = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    out = np.empty(values.size)
    out[order] = np.minimum(steps, 1.0)
    return [float(v) for v in out]
