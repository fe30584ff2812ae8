"""Ranks, and the exact one-sided Wilcoxon signed-rank test, without the price of importing scipy.stats."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tvt.types import Floats

ZERO = 1e-12
"""Values this near to 0, or to each other, are equal: PGF are ratios of whole counts, and what is left is rounding."""


def midranks(values: Floats) -> Floats:
    """Ranks from 1 of a vector, the mean rank where values are equal (to ``ZERO``)."""
    rounded = np.round(values / ZERO) if len(values) else values
    _, inverse, count = np.unique(rounded, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse]


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's correlation of the pairs without NaN; NaN with fewer than three pairs or a constant side."""
    both = np.isfinite(a) & np.isfinite(b)
    return correlation(midranks(a[both]), midranks(b[both]))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's correlation of the pairs without NaN; NaN with fewer than three pairs or a constant side."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 3 or np.ptp(a) <= ZERO or np.ptp(b) <= ZERO:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def signed_rank_p(values: Floats) -> float:
    """Exact p that the values lie about 0 against lying above it (Wilcoxon's signed-rank test, one-sided).

    Zeros are dropped, as Wilcoxon did; equal magnitudes share their mean rank, and p is exact then too, because the sum of
    the positive ranks is counted over all 2^n ways to give the signs. With n values p cannot go below 2^-n.

    Args:
        values: any number of finite values; NaN are dropped.

    Returns:
        p in (0, 1]; 1 where no value is left.
    """
    kept = values[np.isfinite(values) & (np.abs(values) > ZERO)]
    if not len(kept):
        return 1.0
    ranks = np.round(2 * midranks(np.abs(kept))).astype(int)
    tail = _tail(tuple(sorted(int(rank) for rank in ranks)))
    return float(tail[int(ranks[kept > 0].sum())])


@lru_cache(maxsize=256)
def _tail(ranks: tuple[int, ...]) -> Floats:
    """P(sum of the positive ranks >= s) for s = 0, 1, ...; ranks are doubled, so that mean ranks are whole numbers and the
    distribution of their sum is a convolution. Most tests of a study share one set of ranks, hence the cache.
    """
    chance = np.zeros(sum(ranks) + 1)
    chance[0] = 1.0
    for rank in ranks:
        with_rank = np.zeros_like(chance)
        with_rank[rank:] = chance[:-rank]
        chance = (chance + with_rank) / 2
    tail: Floats = np.minimum(1.0, np.cumsum(chance[::-1])[::-1])
    return tail


def least_p(values: int) -> float:
    """The smallest p that a one-sided signed-rank test over so many values can give: 2^-values."""
    return float(2.0**-values)
