"""The noise between runs, the intervals that it gives, and p-values corrected for how many of them are looked at.

The noise is how much a cell differs from run to run, by all cells that have several.

With ``n`` runs of a cell, ``v`` their sample variance and sums over the cells that have several, a target's pooled variance is
``s_t = sum (n - 1) v / sum (n - 1)`` over its column, and ``s`` the same over the whole matrix. Few runs tell a target's own
variance badly, so it is drawn toward that of all: ``(4 s + f s_t) / (4 + f)`` with ``f = sum (n - 1)`` of the column, the
posterior mean of a variance whose prior counts as four runs (Smyth 2004, "moderated" variances, with fixed prior degrees).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from tvt.types import Floats

PRIOR_RUNS = 4.0
"""As many degrees of freedom does the variance of all cells count beside a target's own."""


def pooled_variance(values: Floats) -> Floats:
    """Variance between the runs of a cell, by target.

    Args:
        values: (runs, sources, targets), NaN where missing.

    Returns:
        (targets,); NaN everywhere where no cell has two runs.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=(0, 1))
    freedom = np.maximum(count - 1, 0).sum(axis=0)
    if not freedom.any():
        return np.full(values.shape[2], np.nan)
    of_all = squares.sum() / freedom.sum()
    pooled: Floats = (PRIOR_RUNS * of_all + squares) / (PRIOR_RUNS + freedom)
    return pooled


def pooled_degrees(values: Floats) -> Floats:
    """Degrees of freedom with which :func:`pooled_variance` is known, (targets,): a target's own and those of the prior, and no
    more than there are in all, for the prior is known no better than the cells it is taken from.
    """
    freedom = np.maximum(np.isfinite(values).sum(axis=0) - 1, 0).sum(axis=0)
    degrees: Floats = np.maximum(np.minimum(PRIOR_RUNS + freedom, freedom.sum()), 1.0)
    return degrees


@dataclass(frozen=True, kw_only=True)
class SeedVariance:
    """Variance between seeds of what one seed's run tells, residual included, and the degrees of freedom it is known with."""

    variance: float
    degrees: float


def satterthwaite(variance: float, parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a variance summed from ``parts`` (variance, degrees), not below the fewest of a part."""
    known = [(v, df) for v, df in parts if df > 0 and v > 0]
    if not known:
        return float(max(1, sum(df for _, df in parts)))
    return float(max(variance**2 / sum(v**2 / df for v, df in known), min(df for _, df in known)))


def mean_correlation(values: Floats) -> float:
    """Mean correlation between the columns of (N, M), over pairs of different columns."""
    together = np.atleast_2d(np.corrcoef(values.T))
    return float(together[~np.eye(len(together), dtype=np.bool_)].mean())


def jackknife_error(left_out: Floats) -> Floats:
    """Standard error from the estimates with one run left out each, (runs, ...); NaN with fewer than two runs."""
    runs = len(left_out)
    if runs < 2:
        return np.full(left_out.shape[1:], np.nan)
    spread: Floats = np.sqrt((runs - 1) / runs * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
    return spread


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
