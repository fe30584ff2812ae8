"""Ranks and the tests that rest on them: Spearman's correlation, Wilcoxon's signed-rank test, the Mantel test.

The Wilcoxon test is exact, and comes without the price of importing scipy.stats. The Mantel test asks whether two tables of the
same tasks go together, pair by pair, more than relabelled tasks would. Pairs of tasks are not independent, since every task is
in many; so the test permutes the tasks of one table, rows and columns together (Mantel, Cancer Research 27, 1967), and its
statistic is Spearman's correlation over the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, permutations

import numpy as np
from scipy.stats import rankdata

from tvt.types import Floats, Positions

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
    chosen = values[np.isfinite(values) & (np.abs(values) > ZERO)]
    if not len(chosen):
        return 1.0
    ranks = np.round(2 * midranks(np.abs(chosen))).astype(int)
    tail = _tail(tuple(sorted(int(rank) for rank in ranks)))
    return float(tail[int(ranks[chosen > 0].sum())])


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


MOST_EXACT = 7
"""Up to so many tasks all relabellings are looked at (7! = 5,040)."""
SAMPLED = 9_999
"""Random relabellings of more tasks; the tables as they are count as one more."""
LEAST_PAIRS = 3
_AT_ONCE = 512


@dataclass(frozen=True)
class Mantel:
    """How two symmetric tables go together over pairs of tasks; NaN where there are too few, or one is constant."""

    rho: float = field(metadata={"json": "spearman"})
    """Spearman's correlation over the pairs."""
    p: float
    """Two-sided: the share of relabellings whose correlation is at least as far from 0, the true labels among them."""
    relabellings: int
    exact: bool
    """Whether these are all that there are."""
    tasks: int
    pairs: int


def mantel(first: Floats, second: Floats, *, seed: int = 0) -> Mantel:
    """Test two symmetric tables over the same tasks, (tasks, tasks); their diagonals are not looked at.

    Args:
        first: its tasks are relabelled. Tasks without a value for some other task are left out.
        second: pairs that are NaN here are left out.
        seed: of the random relabellings.
    """
    keep = _complete(first)
    first, second = first[np.ix_(keep, keep)], second[np.ix_(keep, keep)]
    tasks = len(keep)
    rows, columns = np.triu_indices(tasks, 1)
    there = np.isfinite(second[rows, columns])
    rows, columns = rows[there], columns[there]
    exact = tasks <= MOST_EXACT
    count = math.factorial(tasks) if exact else SAMPLED + 1
    other = _centred(midranks(second[rows, columns])[None])
    if len(rows) < LEAST_PAIRS or not np.any(other) or np.ptp(first[rows, columns]) <= ZERO:
        return Mantel(float("nan"), float("nan"), 0, exact, tasks, len(rows))
    result = np.concatenate([_correlations(first, at, rows, columns, other) for at in _relabellings(tasks, seed)])
    # The first relabelling is none: that is the correlation itself.
    beyond = int((np.abs(result) >= abs(result[0]) - 1e-9).sum())
    return Mantel(float(result[0]), beyond / count, count, exact, tasks, len(rows))


def _complete(table: Floats) -> Positions:
    """Tasks that have a value for all others of them, leaving out the one that lacks most in turn."""
    keep = np.arange(len(table))
    while True:
        lacks = np.isnan(table[np.ix_(keep, keep)])
        np.fill_diagonal(lacks, False)
        if not lacks.any():
            return keep
        keep = np.delete(keep, int(lacks.sum(axis=1).argmax()))


def _relabellings(tasks: int, seed: int) -> Iterator[Positions]:
    """All, or random ones behind the true labels, (some, tasks) at a time."""
    if tasks <= MOST_EXACT:
        every = permutations(range(tasks))
        while block := list(islice(every, _AT_ONCE)):
            yield np.array(block)
        return
    rng = np.random.default_rng(seed)
    yield np.arange(tasks)[None]
    for left in range(SAMPLED, 0, -_AT_ONCE):
        yield rng.permuted(np.tile(np.arange(tasks), (min(left, _AT_ONCE), 1)), axis=1)


def _correlations(first: Floats, labels: Positions, rows: Positions, columns: Positions, other: Floats) -> Floats:
    """Spearman's correlation under each relabelling, (relabellings,); 0 where the relabelled side is constant."""
    mine = _centred(rankdata(first[labels[:, rows], labels[:, columns]], axis=1))
    norm = np.sqrt((mine**2).sum(axis=1) * (other**2).sum())
    result: Floats = (mine @ other[0]) / np.where(norm > 0, norm, 1.0)
    return result


def _centred(ranks: Floats) -> Floats:
    centred: Floats = ranks - ranks.mean(axis=1, keepdims=True) if ranks.size else ranks
    return centred
