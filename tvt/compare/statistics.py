"""The error of a difference that was measured on the same questions with the same seeds.

One cell ``D[k, q]`` is the difference of two runs of seed k on question q. Seeds and questions are both samples, crossed:
``D[k, q] = delta + seed_k + question_q + residual_kq``, all three with mean 0 and their own variance. What is reported must
hold for other seeds *and* other questions, so both count as random effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tvt.core.comparison import Estimate
from tvt.stats.noise import SeedVariance, satterthwaite
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


def estimate(blocks: Sequence[Block], noise: SeedVariance | None = None) -> Estimate:
    """Weighted sum of the blocks' means with its error from seeds and questions.

    Method of moments for two crossed random effects without replication. For one block with K seeds, Q questions and mean
    squares MS(s), MS(q), MS(r) of seeds, questions and residual, ``var = [MS(s) + MS(q) - MS(r)] / (K Q)``: what Dorfman,
    Berbaum and Metz (Invest Radiol 1992) use for two modalities read by K readers on Q cases. No component may be negative:
    MS(s) and MS(q) are taken as at least MS(r). Several blocks share their seeds and not their questions: the seed component is
    that of the seeds' weighted means, the other components add up. Degrees of freedom by Satterthwaite (Biometrics Bulletin
    1946) over all mean squares in the sum, the raised ones too, which with few seeds errs on the side of caution.

    MS(s) has K - 1 degrees of freedom, so two seeds alone show almost nothing. ``noise`` takes its place where it is given: the
    same variance, seed component and residual, pooled over all entries of a comparison (:mod:`tvt.compare.pooling`).

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
    error = float(np.sqrt(variance))
    half = error * float(stats.t.ppf(0.5 + LEVEL / 2, df))
    return Estimate(
        value=value,
        error=error,
        df=df,
        low=value - half,
        high=value + half,
        p=float(2 * stats.t.sf(abs(value) / error, df)),
        seeds=seeds,
        questions=sum(block.cells.shape[1] for block in blocks),
        seed_noise=seeds > 1,
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
