"""A race of a candidate mixture against simple ones, seed after seed. It may stop at every look, and still says "better"
wrongly in at most ``ALPHA`` of all races.

After every seed from the second on there is a look: the candidate against each arm, by the paired test of :mod:`tvt.compare`
on the seeds so far. The level of look l of L is ``ALPHA * 2 l / (L (L + 1))``, so that the levels sum to ``ALPHA`` and most
of it is kept for the looks that know most (alpha spending; Lan and DeMets, Biometrika 1983, with a Bonferroni bound over
looks). Within a look Holm's correction is over the arms.

The looks only decide when to stop. What is said in the end is tested once more, on questions that no choice has seen, at the
level of the look at which the race stopped. Whatever stopped it, a false "better" needs a test on those questions that passes
the level of its look, and over all looks these levels sum to ``ALPHA``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from tvt.compare.comparison import Contrast, Difference
from tvt.core.values import Frozen
from tvt.stats.noise import holm
from tvt.transfer.power import ALPHA, TargetNoise
from tvt.types import Floats

FIRST_LOOK = 2
"""Seeds of the first look: one shows no noise between seeds."""
LEAST_CHANCE = 0.2
"""Where the seeds that are left would show an optimistic difference with less probability than this, they are not worth it."""
OPTIMISM = 1.0
"""Standard errors above the measured difference that count as optimistic."""
SIMULATED = 4000
QUESTION_DEGREES = 1000.0
"""Degrees of freedom of the questions' part in simulated races."""

End = Literal["decided", "no difference worth the runs left", "runs spent"]


@dataclass(frozen=True, kw_only=True)
class Look(Frozen):
    """What a look says."""

    seeds: int
    level: float
    better: tuple[str, ...]
    """Arms that the candidate is shown to be better than, at this look's level."""
    open: tuple[str, ...]
    """Arms of which that is not shown."""
    chance: float
    """That the seeds left show an optimistic difference from the open arm that is nearest; all must be beaten."""
    end: End | None
    """Why the race ends here; ``None`` where it goes on."""


def level(seeds: int, most: int) -> float:
    """Of the look after so many ``seeds``, in a race of at most ``most`` (at least 2)."""
    looks = most - FIRST_LOOK + 1
    look = seeds - FIRST_LOOK + 1
    if not 1 <= look <= looks:
        raise ValueError(f"no look after {seeds} of {most} seeds")
    return ALPHA * 2 * look / (looks * (looks + 1))


def shown(contrasts: Sequence[Contrast], at: float) -> tuple[str, ...]:
    """Arms that the candidate is better than, Holm's correction over all that could be tested. The same mixture counts as
    nothing to be better than.
    """
    tested = [c for c in contrasts if c.estimate is not None]
    passed = holm([c.estimate.p for c in tested if c.estimate is not None])
    return tuple(
        str(c.against)
        for c, p in zip(tested, passed, strict=True)
        if p <= at and c.estimate is not None and c.estimate.value > 0
    )


def look(contrasts: Sequence[Contrast], seeds: int, most: int, affordable: int) -> Look:
    """Look at a race.

    Args:
        contrasts: the candidate against every arm that is asked about, on the seeds so far.
        seeds: so far, at least 2.
        most: seeds that were planned for the race; the levels of its looks depend on it.
        affordable: seeds that the runs left allow in all, at most ``most``.
    """
    at = level(seeds, most)
    better = shown(contrasts, at)
    open_ = tuple(str(c.against) for c in contrasts if str(c.against) not in better and c.outcome != "same mixture")
    rest = [c.estimate for c in contrasts if str(c.against) in open_ and c.estimate is not None]
    chance = min((_later(estimate, seeds, affordable, level(affordable, most)) for estimate in rest), default=0.0)
    end: End | None = None
    if not open_:
        end = "decided"
    elif seeds >= affordable:
        end = "runs spent"
    elif chance < LEAST_CHANCE:
        end = "no difference worth the runs left"
    return Look(seeds=seeds, level=at, better=better, open=open_, chance=chance, end=end)


def _later(estimate: Difference, seeds: int, affordable: int, at: float) -> float:
    """Probability that the last look shows a difference that is an optimistic reading of this one. Errors are taken to shrink
    as if they were all between seeds, which is optimistic too.
    """
    error = estimate.error * np.sqrt(seeds / affordable)
    degrees = max(estimate.df * (affordable - 1) / max(seeds - 1, 1), 1.0)
    optimistic = max(estimate.value + OPTIMISM * estimate.error, 0.0)
    return float(stats.nct.sf(stats.t.ppf(1 - at / 2, degrees), degrees, optimistic / max(error, 1e-300)))


def race_power(
    difference: float, noise: TargetNoise, seeds: int, *, arms: int, against: int, fresh: bool = True, seed: int = 0
) -> float:
    """Probability that a race says "better than all", where the candidate is better by ``difference`` than each of them.

    By simulation of whole races, on the means of their runs: noise between seeds and of questions is normal and of one size for
    all arms, which are known alike.

    Args:
        difference: PGF.
        noise: of the objective.
        seeds: that the race has at most.
        arms: in the race, the candidate among them.
        against: how many of them must be beaten.
        fresh: whether the end is tested on questions of its own, as many as those of the looks.
        seed: of the simulation.
    """
    rng = np.random.default_rng(seed)
    runs = rng.normal(0, np.sqrt(noise.seed), (SIMULATED, arms, seeds))
    runs[:, 0] += difference
    # Each arm has questions that suit it: a difference of two has the variance of two such parts.
    spread = np.sqrt(noise.question / noise.questions / 2)
    luck = rng.normal(0, spread, (2, SIMULATED, arms, 1))
    looks, ends = runs + luck[0], runs + luck[1 if fresh else 0]
    item = 2 * spread**2
    said, going = np.zeros(SIMULATED, dtype=np.bool_), np.ones(SIMULATED, dtype=np.bool_)
    for k in range(FIRST_LOOK, seeds + 1):
        at = level(k, seeds)
        p, value, error, degrees = _tests(looks[:, :, :k], item, against)
        better = _all_better(p, value, at)
        optimistic = np.maximum(value + OPTIMISM * error, 0.0) / (error * np.sqrt(k / seeds))
        later = degrees * (seeds - 1) / (k - 1)
        chance = stats.nct.sf(stats.t.ppf(1 - level(seeds, seeds) / 2, later)[:, None], later[:, None], optimistic).min(axis=1)
        last = _all_better(*_tests(ends[:, :, :k], item, against)[:2], at)
        said |= going & better & last
        going &= ~better & ~(chance < LEAST_CHANCE)
    return float(said.mean())


def _tests(runs: Floats, item: float, against: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Two-sided p (N, against), values and errors of the candidate's differences, and degrees of freedom (N,), from means of
    runs (N, arms, seeds) with the interaction pooled over arms.
    """
    _, arms, seeds = runs.shape
    rest = runs - runs.mean(axis=2, keepdims=True) - runs.mean(axis=1, keepdims=True) + runs.mean(axis=(1, 2), keepdims=True)
    degrees = (arms - 1) * (seeds - 1)
    between = 2 * (rest**2).sum(axis=(1, 2)) / degrees / seeds
    variance = between + item
    joint = np.maximum(variance**2 / (between**2 / degrees + item**2 / QUESTION_DEGREES), degrees)
    means = runs.mean(axis=2)
    value = means[:, :1] - means[:, 1 : 1 + against]
    error = np.broadcast_to(np.sqrt(variance)[:, None], value.shape)
    p = 2 * stats.t.sf(np.abs(value) / error, joint[:, None])
    return p, value, error, joint


def _all_better(p: Floats, value: Floats, at: float) -> np.ndarray:
    """Whether all differences are shown, (N,), with Holm's correction."""
    count = p.shape[1]
    ordered = np.sort(p, axis=1)
    passed = (ordered * np.arange(count, 0, -1) <= at).all(axis=1)
    return np.asarray(passed & (value > 0).all(axis=1))
