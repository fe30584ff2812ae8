"""The Perfection Gap Factor (PGF) and its error from the finite number of questions.

Source of the definition: Sachdeva, Uppal, Java, Balasubramanian, *Understanding Task Transfer in Vision-Language Models*,
CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tvt.types import Bools, Floats

_ROUNDING = 1e-12
"""A gap smaller than this share of the ceiling is a rounding error of equal accuracies, and would make an enormous PGF."""


def has_gap(base: ArrayLike, ceiling: ArrayLike) -> Bools:
    """True where ``base`` is below ``ceiling`` by more than rounding; False where either is NaN. The arguments broadcast."""
    base, ceiling = np.asarray(base, dtype=float), np.asarray(ceiling, dtype=float)
    return np.asarray(ceiling - base > _ROUNDING * np.abs(ceiling))


def perfection_gap_factor(after: ArrayLike, base: ArrayLike, ceiling: ArrayLike = 1.0) -> Floats:
    """Return ``(after - base) / (ceiling - base)``, NaN where the gap is not positive.

    All arguments are accuracies as fractions in [0, 1] and broadcast against each other. For m questions, each right or wrong,
    and a ceiling of 1 the value lies in [-(m - 1), 1].

    >>> round(float(perfection_gap_factor(0.93, 0.90, 0.95)), 2)
    0.6
    """
    after, base, ceiling = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (after, base, ceiling)))
    gap = ceiling - base
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(has_gap(base, ceiling), (after - base) / gap, np.nan)


def item_standard_error(
    after: ArrayLike,
    base: ArrayLike,
    ceiling: ArrayLike,
    total: ArrayLike,
    both_correct: ArrayLike | None = None,
) -> Floats:
    """Return the standard error of a PGF from having asked only ``total`` questions (delta method).

    With ``a`` after, ``b`` base and gap ``g = ceiling - b``, PGF has the derivatives ``1/g`` in ``a`` and
    ``-(1 - PGF)/g`` in ``b``, so its variance is ``(va + (1 - PGF)^2 vb - 2 (1 - PGF) cov) / g^2``
    with binomial ``va``, ``vb``.

    Where answers earn credits between 0 and 1, the error is an upper bound: a credit c has ``c^2 <= c``, so its variance is at
    most ``a (1 - a)``, that of a right or wrong answer with the same mean; the covariance is exact. (Both as variances of the
    questions asked, with the divisor ``total``.)

    Args:
        after, base, ceiling: accuracies as fractions; they broadcast.
        total: number of questions.
        both_correct: number of questions right both before and after, or the sum of the products of both credits; NaN where
            unknown. It gives the covariance of the two accuracies, which are measured on the same questions. Unknown counts as
            independent, which overstates the error as long as right answers before and after go together.
    """
    after, base, ceiling, total = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (after, base, ceiling, total)))
    joint = np.full(after.shape, np.nan) if both_correct is None else np.asarray(both_correct, dtype=float) / total
    pgf = perfection_gap_factor(after, base, ceiling)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Laplace's rule keeps a perfect or hopeless score from claiming a zero error.
        smooth_a, smooth_b = ((x * total + 1) / (total + 2) for x in (after, base))
        var_a, var_b = smooth_a * (1 - smooth_a) / total, smooth_b * (1 - smooth_b) / total
        cov = np.where(np.isnan(joint), 0.0, (joint - after * base) / total)
        variance = var_a + (1 - pgf) ** 2 * var_b - 2 * (1 - pgf) * cov
        return np.where(has_gap(base, ceiling), np.sqrt(np.maximum(variance, 0.0)) / (ceiling - base), np.nan)
