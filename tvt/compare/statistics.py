"""Estimates of a difference that was measured on the same questions with the same seeds, for means and for other objectives.

One cell ``D[k, q]`` is the difference of two runs of seed k on question q. Seeds and questions are both samples, crossed:
``D[k, q] = delta + seed_k + question_q + residual_kq``, all three with mean 0 and their own variance. What is reported must
hold for other seeds *and* other questions, so both count as random effects.

An objective such as the smallest gain is linear in pieces, and which piece holds at the true gains is not known, since measured
gains have errors. So the gains are drawn anew with their errors, the slopes at each draw make one linear contrast, and the
variance of the difference is the mean of theirs. For gains that tie this is on the cautious side, since the smallest of several
equally noisy gains varies less than each. The value itself is taken at the measured gains: the smallest of several measured
ones lies too low for both sides, more for a mixture whose targets are level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvt.compare.answers import Answered, seed_noise
from tvt.compare.comparison import Difference
from tvt.core.objective import DEFAULT, MET, NUMERIC, OBJECTIVES, Objective, Term
from tvt.core.selection import Requested
from tvt.core.values import Frozen
from tvt.stats.noise import SeedVariance, StudentT, satterthwaite
from tvt.types import Floats

LEVEL = 0.95
"""Level of the intervals, and 1 minus the level of the tests."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Differences on one target: ``cells`` (seeds, questions), the target's ``weight`` in the mean, and ``unit``, what one more
    right answer changes a cell by (1 for accuracies, 1 / gap for PGF).
    """

    cells: Floats
    weight: float = 1.0
    unit: float = 1.0


def accuracy_block(a: Floats, b: Floats, weight: float = 1.0) -> Block:
    """Differences of accuracy from answers ``a`` and ``b`` (seeds, questions), 1 where right, credits in [0, 1] otherwise."""
    return Block(cells=a - b, weight=weight)


def pgf_block(a: Floats, b: Floats, base: Floats, gap: float, weight: float = 1.0) -> Block:
    """Differences of PGF, ``(a - b) / gap``, from answers (seeds, questions) and the base model's answers (questions,).

    The gap stands on the same questions, so it has an error too. By the delta method a base answer that is worth ``base`` where
    the mean is ``m`` moves the ratio R by ``R (base - m) / gap``; the cells carry that term, whose mean is 0.
    """
    difference = a - b
    ratio = float(difference.mean()) / gap
    return Block(cells=(difference + ratio * (base - base.mean())) / gap, weight=weight, unit=1 / gap)


def estimate(blocks: Sequence[Block], noise: SeedVariance | None = None) -> Difference:
    """Weighted sum of the blocks' means with its error from seeds and questions.

    Method of moments for two crossed random effects without replication. For one block with K seeds, Q questions and mean
    squares MS(s), MS(q), MS(r) of seeds, questions and residual, ``var = [MS(s) + MS(q) - MS(r)] / (K Q)``: what Dorfman,
    Berbaum and Metz (Invest Radiol 1992) use for two modalities read by K readers on Q cases. No component may be negative:
    MS(s) and MS(q) are taken as at least MS(r). Several blocks share their seeds and not their questions: the seed component is
    that of the seeds' weighted means, the other components add up. Degrees of freedom by Satterthwaite (Biometrics Bulletin
    1946) over all mean squares in the sum, the raised ones too, which with few seeds errs on the side of caution.

    MS(s) has K - 1 degrees of freedom, so two seeds alone show almost nothing. ``noise`` takes its place where it is given: the
    same variance, seed component and residual, pooled over all arms of a comparison (:mod:`tvt.compare.answers`).

    Every block also counts one question on which the runs differ, ``(unit / Q)^2`` in the variance, in the spirit of Laplace's
    rule: few questions without a difference claim no zero error. With one seed the questions' variance alone remains.

    Args:
        blocks: one or more, with the same number of seeds in the same order.
        noise: variance of the weighted sum of the blocks' means at one seed, known from more than the blocks. Not for one seed.

    Raises:
        ValueError: no block, no seed, or blocks with different numbers of seeds.
    """
    counts = {block.cells.shape[0] for block in blocks}
    if len(counts) != 1 or counts == {0}:
        raise ValueError("blocks need the same seeds, at least one")
    seeds = counts.pop()
    value = float(sum(block.weight * block.cells.mean() for block in blocks))
    variance, df = _one_seed(blocks) if seeds == 1 else _crossed(blocks, seeds, noise)
    questions = sum(block.cells.shape[1] for block in blocks)
    return _estimate(value, variance, df, seeds=seeds, questions=questions, seed_noise=seeds > 1)


def _estimate(value: float, variance: float, df: float, *, seeds: int, questions: int, seed_noise: bool) -> Difference:
    """A value with the interval and the p of its variance."""
    of = StudentT(value, float(np.sqrt(variance)), df)
    low, high = of.interval(LEVEL)
    return Difference(
        value=value, error=of.error, df=df, low=low, high=high, p=of.p, seeds=seeds, questions=questions, seed_noise=seed_noise
    )


def _one_seed(blocks: Sequence[Block]) -> tuple[float, float]:
    """Variance of the mean from the questions, and its degrees of freedom (Welch's for several blocks)."""
    parts = [(b.weight**2 * _spread(b.cells[0]) / b.cells.shape[1], b.cells.shape[1] - 1) for b in blocks]
    variance = sum(v for v, _ in parts) + _one_more(blocks)
    return variance, satterthwaite(variance, parts)


def _crossed(blocks: Sequence[Block], seeds: int, noise: SeedVariance | None) -> tuple[float, float]:
    """Variance of the mean from seeds and questions, and its degrees of freedom."""
    noise = noise or _own(blocks, seeds)
    question, residual = [], []
    for b in blocks:
        count = b.cells.shape[1]
        by_question = b.cells.mean(axis=0)
        rest = b.cells - by_question - b.cells.mean(axis=1, keepdims=True) + b.cells.mean()
        degrees = (seeds - 1) * (count - 1)
        mean_square = float((rest**2).sum()) / degrees if degrees else 0.0
        question.append((b.weight**2 * _spread(by_question) / count, count - 1))
        residual.append((b.weight**2 * mean_square / (seeds * count), degrees))
    least = sum(v for v, _ in residual)
    seed = max(noise.variance / seeds, least)
    items = max(sum(v for v, _ in question), least)
    variance = seed + items - least + _one_more(blocks)
    return variance, satterthwaite(variance, [(seed, noise.degrees), *question, *residual])


def _own(blocks: Sequence[Block], seeds: int) -> SeedVariance:
    """The variance between seeds that the blocks themselves show."""
    by_seed = np.sum([b.weight * b.cells.mean(axis=1) for b in blocks], axis=0)
    return SeedVariance(variance=float(by_seed.var(ddof=1)), degrees=seeds - 1)


def _spread(values: Floats) -> float:
    return float(values.var(ddof=1)) if values.size > 1 else 0.0


def _one_more(blocks: Sequence[Block]) -> float:
    """What one discordant question adds to the variance of the mean."""
    return float(sum((b.weight * b.unit / b.cells.shape[1]) ** 2 for b in blocks))


DRAWS = 200
_STEP = 1e-6


@dataclass(frozen=True, kw_only=True)
class Served(Frozen):
    """What counts: ``weights`` by target, summing to 1, the objective, and the goals by target where it has some."""

    weights: Mapping[str, float]
    aim: Objective = OBJECTIVES[DEFAULT]
    goals: Mapping[str, float]

    @classmethod
    def mean(cls, weights: Mapping[str, float]) -> Served:
        """The weighted mean of some targets; of one, the target itself."""
        return cls(weights=weights, goals={})

    @property
    def bends(self) -> bool:
        """Whether it is no weighted mean. On one target more gain is better under every objective."""
        return not self.aim.linear and len(self.weights) > 1

    def requested(self, targets: Sequence[str]) -> Requested:
        """What is asked of some of the targets."""
        shares = np.array([self.weights[t] for t in targets])
        return Requested(weights=shares / shares.sum(), goals=np.array([self.goals.get(t, np.nan) for t in targets]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """One arm's PGF by target: cells (seeds, questions) with the gap's error in them, gains and their errors (T,)."""

    is_base: bool
    blocks: tuple[Block, ...]
    gains: Floats
    errors: Floats


def bent_estimate(answered: Answered, arm: str, against: str | None, served: Served, seeds: Sequence[int]) -> Difference:
    """The difference of two arms in an objective that is no mean, with its error.

    Args:
        answered: the answers.
        arm, against: labels; ``None`` is the base model.
        served: the objective, over targets that all have a gap.
        seeds: those at which both answered all targets.
    """
    targets = sorted(served.weights)
    requested = served.requested(targets)
    sides = [_side(answered, label, targets, seeds) for label in (arm, against)]
    term = _term(served.aim, [side.gains for side in sides], requested)
    value = float(term(sides[0].gains, requested, NUMERIC) - term(sides[1].gains, requested, NUMERIC))
    rng = np.random.default_rng(0)
    slopes = np.hstack([_slopes(term, requested, side, rng) for side in sides])
    pieces, counts = np.unique(np.round(slopes, 6), axis=0, return_counts=True)
    result = [_piece(answered, targets, sides, piece, len(seeds)) for piece in pieces]
    return _together(value, result, counts / counts.sum())


def _side(answered: Answered, label: str | None, targets: Sequence[str], seeds: Sequence[int]) -> _Side:
    blocks = []
    for target in targets:
        cells, base = answered.cells(label, target, seeds), answered.cells(None, target, seeds)
        blocks.append(pgf_block(cells, base, answered.base[target], answered.gap(target) or 1.0))
    return _Side(
        is_base=answered.is_base(label),
        blocks=tuple(blocks),
        gains=np.array([block.cells.mean() for block in blocks]),
        errors=np.array([0.0 if answered.is_base(label) else estimate([block]).error for block in blocks]),
    )


def _term(aim: Objective, gains: Sequence[Floats], requested: Requested) -> Term:
    """The objective's first value, or its second where both sides have all that was asked for first."""
    met = all(float(aim.value(of, requested, NUMERIC)) >= -MET for of in gains)
    return aim.then if aim.then is not None and met else aim.value


def _slopes(term: Term, requested: Requested, side: _Side, rng: np.random.Generator) -> Floats:
    """How much the value moves with the gain of each target, at gains drawn with their errors: (draws, T)."""
    drawn = side.gains + side.errors * rng.standard_normal((DRAWS, len(side.gains)))
    steps = _STEP * np.eye(len(side.gains))
    up, down = (term(drawn[:, None, :] + sign * steps, requested, NUMERIC) for sign in (1, -1))
    slopes: Floats = (up - down) / (2 * _STEP)
    return slopes


def _piece(answered: Answered, targets: Sequence[str], sides: Sequence[_Side], slopes: Floats, seeds: int) -> Difference:
    """One linear contrast: the sum over targets of slope times gain of the first side, less that of the second."""
    own, other = np.split(slopes, 2)
    blocks = [
        Block(cells=a * x.cells - b * y.cells, unit=max(abs(a), abs(b)) * x.unit)
        for a, b, x, y in zip(own, other, sides[0].blocks, sides[1].blocks, strict=True)
        if a or b
    ]
    if not blocks:  # everything asked for is reached, so that nothing moves the value
        blocks = [Block(cells=0 * block.cells, unit=block.unit) for block in sides[0].blocks]
    moving = [dict(zip(targets, s, strict=True)) for side, s in zip(sides, (own, other), strict=True) if not side.is_base]
    return estimate(blocks, _noise(answered, moving) if seeds > 1 else None)


def _noise(answered: Answered, slopes: Sequence[Mapping[str, float]]) -> SeedVariance | None:
    """The noise between seeds that all arms tell of, by the slopes of the trained sides. What a seed does to the gains of
    different targets is taken to be independent.
    """
    factors = [result for of in slopes if (result := {t: s / (answered.gap(t) or 1.0) for t, s in of.items() if s})]
    if len(factors) == 2 and factors[0] == factors[1]:
        noise = seed_noise(answered, factors[0])
        return None if noise is None else noise.difference
    known = [seed_noise(answered, of) for of in factors]
    alone = [noise.alone for noise in known if noise is not None]
    if not alone or len(alone) < len(known):
        return None
    variance = sum(part.variance for part in alone)
    return SeedVariance(variance=variance, degrees=satterthwaite(variance, [(p.variance, p.degrees) for p in alone]))


def _together(value: float, differences: Sequence[Difference], shares: Floats) -> Difference:
    """The value with the mean of the pieces' variances."""
    variances = np.array([e.error**2 for e in differences])
    variance = float(shares @ variances)
    df = variance**2 / float(shares @ (variances**2 / np.array([e.df for e in differences])))
    first = differences[0]
    questions = max(e.questions for e in differences)
    return _estimate(value, variance, df, seeds=first.seeds, questions=questions, seed_noise=first.seed_noise)
