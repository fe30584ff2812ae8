"""Which of many mixtures make a batch: what is best to try together.

Two opinions count in equal parts: the evidence's posterior, and one process that knows of nothing but distances
(:mod:`tvt.evidence.smooth`). The first half of a batch has the highest mean of both; the rest has the highest mean with a
standard error added, of the second opinion: what the posterior cannot tell is mostly far from all runs, where few mixtures are
good. One mixture after another joins, and those before it, as well as runs that are not done yet, count as if they scored as
predicted (a *believer*; Ginsbourger et al. 2010), so that a batch spreads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from tvt.core.proposal import Why
from tvt.core.values import Frozen
from tvt.selection.belief import Belief, expected_excess
from tvt.types import Bools, Floats, Positions

BONUS = 1.0
"""Standard errors that count for a mixture when a batch explores."""
SAME = 1e-6
"""Mixtures that differ in no more of the budget are one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows(Frozen):
    """Mixtures (N, S): measured ones, those waiting for their runs, and those of a pool, with their ``position`` there (N,; -1
    for others).
    """

    weights: Floats
    measured: Bools
    waiting: Bools
    position: Positions

    @classmethod
    def of(cls, measured: Floats, waiting: Floats, pool: Floats, position: Positions) -> Rows:
        """Put together; ``position`` is that of each row of ``pool``."""
        kind = np.repeat(np.arange(3), [len(measured), len(waiting), len(pool)])
        at = np.concatenate([np.full(len(measured) + len(waiting), -1), position])
        weights = np.concatenate([measured, waiting, pool])
        return cls(weights=weights, measured=kind == 0, waiting=kind == 1, position=at)

    def away(self, others: Bools, least: float) -> Bools:
        """Which rows differ from all ``others`` (N,; true) in more than ``least`` of the budget, (N,)."""
        if not others.any():
            return np.ones(len(self.weights), dtype=bool)
        apart: Bools = 0.5 * cdist(self.weights, self.weights[others], "cityblock").min(axis=1) > least
        return apart


def choose(
    belief: Belief, second: Belief | None, rows: Rows, batch: int, *, apart: float = SAME, replicates: bool = False
) -> list[tuple[int, Why]]:
    """Positions of up to ``batch`` different rows, with the reason for each.

    They are rows of the pool that differ in more than ``apart`` of the budget from each other and from all that a run is known
    of or waited for, as long as there are such; then the rest. With ``replicates`` a measured row comes in between where
    another run of it tells more.
    """
    known, pool = rows.measured | rows.waiting, rows.position >= 0
    chosen: dict[int, Why] = {}
    while len(chosen) < batch:
        taken = np.zeros_like(pool)
        taken[[*chosen]] = True
        fresh = pool & rows.away(known | taken, apart)
        fresh = fresh if fresh.any() else pool & rows.away(known | taken, SAME)
        found: tuple[int, Why] | None = None
        if fresh.any():
            found = _next(belief, second, fresh, explore=2 * len(chosen) >= batch)
        again = _doubtful(belief, rows.measured & ~taken, None if found is None else found[0]) if replicates else None
        left = np.flatnonzero(pool & ~taken)
        if again is not None:
            found = again, "replicate"
        elif found is None and left.size:
            found = int(left[belief.mean[left].argmax()]), "replicate"
        if found is None:
            break
        k, why = found
        chosen[k] = why
        belief = belief.learned(k)
        second = None if second is None else second.learned(k)
    return [*chosen.items()]


def _next(belief: Belief, second: Belief | None, eligible: Bools, *, explore: bool) -> tuple[int, Why]:
    """The row that joins the batch next: the best by the mean of both opinions or, to ``explore``, the best that it may be."""
    at = np.flatnonzero(eligible)
    mean = belief.mean if second is None else (belief.mean + second.mean) / 2
    best = int(at[mean[at].argmax()])
    if not explore:
        return best, "best predicted"
    highest = mean + BONUS * (belief if second is None else second).sd
    k = int(at[highest[at].argmax()])
    return k, "best predicted" if k == best else "explore"


def _doubtful(belief: Belief, measured: Bools, rival: int | None) -> int | None:
    """Which of the two best measured rows a second run of would tell more about which is best than a run of ``rival``; ``None``
    where none does.
    """
    at = np.flatnonzero(measured)
    if len(at) < 2:
        return None
    first, second = (int(k) for k in at[np.argsort(-belief.mean[at], kind="stable")[:2]])
    worth = {k: _knowledge(belief, k, other) for k, other in ((first, second), (second, first))}
    best = max(worth, key=lambda k: worth[k])
    least = 0.0 if rival is None else _knowledge(belief, rival, first)
    return best if worth[best] > least else None


def _knowledge(belief: Belief, k: int, other: int) -> float:
    """By how much a run of row ``k`` is expected to raise the better of it and ``other`` (knowledge gradient; Frazier 2008)."""
    variance = float(belief.covariance[k, k] + belief.noise[k])
    if variance <= 0:
        return 0.0
    moves = abs(float(belief.covariance[k, k] - belief.covariance[k, other])) / np.sqrt(variance)
    gap = abs(float(belief.mean[k] - belief.mean[other]))
    return float(expected_excess(np.array([-gap]), np.array([moves]), 0.0)[0])
