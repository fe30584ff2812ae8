"""How many seeds and questions show a difference of a given size, before they are spent.

The difference of two mixtures on a target, both with K seeds on the same Q questions, has the variance ``2 s / K + q / Q``:
``s`` is the variance of one run's gain from seed to seed, ``q`` that of what a question says of the difference. Seeds leave the
second part as it is, and questions the first. A two-sided t test finds a difference ``d`` with the probability that a
noncentral t with noncentrality ``d / se`` exceeds the test's limit. Degrees of freedom are those of :mod:`tvt.compare`: the
noise between seeds is pooled over all arms, (arms - 1)(K - 1), joined by Satterthwaite with that of the questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen
from tvt.errors import InputError
from tvt.stats.noise import pooled_variance, satterthwaite

POWER = 0.8
ALPHA = 0.05
MOST_SEEDS = 64
"""More seeds than this count as out of reach."""
ARMS = 8
"""Arms of a comparison whose noise between seeds is pooled: what ``tvt compare`` trains by default."""


@dataclass(frozen=True, kw_only=True)
class TargetNoise(Frozen):
    """The noise of a target, or of the mean over several, in PGF: ``seed``, the variance of a run's gain between seeds, and
    ``question``, the variance of the difference of two runs from question to question.
    """

    name: str
    seed: float
    question: float
    questions: int
    """That a run is scored on."""


@dataclass(frozen=True, kw_only=True)
class Detection(Frozen):
    """What a plan of so many seeds can show on a target."""

    name: str
    seeds: int
    questions: int
    difference: float
    """That is to be shown, PGF."""
    power: float
    """The probability that it is, with the plan's seeds and questions."""
    smallest: float
    """The smallest difference that is shown with probability ``POWER`` by the plan."""
    limit: float
    """The same with ``MOST_SEEDS`` seeds: below it, more questions are needed."""
    seeds_needed: int | None
    """With the plan's questions; ``None``: not with ``MOST_SEEDS``."""
    questions_needed: int | None
    """With the plan's seeds; ``None``: no number of questions is enough."""

    @property
    def advice(self) -> str:
        """For people: what to add."""
        if self.power >= POWER:
            return "enough"
        if self.seeds_needed is None:
            if self.questions_needed is None:
                return f"nothing below {self.limit:.2g} can be shown with these questions: add questions and seeds"
            return f"nothing below {self.limit:.2g} can be shown with these questions: add questions, not seeds"
        if self.questions_needed is None:
            return f"{self.seeds_needed} seeds"
        return f"{self.seeds_needed} seeds, or {self.questions_needed:,} questions"


@dataclass(frozen=True, kw_only=True)
class DetectionReport(Frozen):
    """What a plan can show, target by target and on their mean, and what the noise is from."""

    difference: float
    arms: int
    tests: int
    """Differences that are looked at together: the level of each test is ``ALPHA`` shared out among them."""
    origin: Literal["measured", "guess"]
    noise: str
    """For people: where the noise is from."""
    targets: tuple[Detection, ...]
    first: TargetNoise = field(metadata={"json": None})
    """The noise of the first of them."""

    def json_value(self) -> dict[str, Any]:
        """The key ``detect``."""
        return {
            "difference": self.difference,
            "power": POWER,
            "arms": self.arms,
            "tests": self.tests,
            "noise": {"origin": self.origin, "text": self.noise},
            "targets": {t.name: {k: v for k, v in vars(t).items() if k not in ("name", "difference")} for t in self.targets},
        }


def measured_noise(matrix: TransferMatrix, scored: Mapping[str, int], questions: Mapping[str, int]) -> list[TargetNoise]:
    """The noise of a study's targets and of their mean, from its seeds and its questions.

    Args:
        matrix: with several runs, and errors from questions.
        scored: how many questions each of its targets was scored on.
        questions: how many are planned, for the targets that are asked about.

    Raises:
        InputError: one run, or scores without counts.
    """
    matrix = matrix.reindex(targets=[t for t in matrix.targets if t in questions and t in scored])
    variance = pooled_variance(matrix.values)
    if not np.isfinite(variance).any():
        raise InputError(f"study {matrix.name}: one run shows no noise between seeds; give --seed-sd, or a study with several")
    known = np.isfinite(matrix.item_errors)
    if not known.any():
        raise InputError(f"study {matrix.name}: no errors from questions are known; its scores need counts")
    counted = known.sum(axis=(0, 1))
    items = np.where(known, matrix.item_errors**2, 0.0).sum(axis=(0, 1)) / np.maximum(counted, 1)
    items = np.where(counted > 0, items, items[counted > 0].mean())
    found = [
        TargetNoise(name=t, seed=float(v), question=float(i) * scored[t], questions=questions[t])
        for t, v, i in zip(matrix.targets, variance, items, strict=True)
        if np.isfinite(v)
    ]
    mean = float(pooled_variance(matrix.values.mean(axis=2, keepdims=True))[0])
    return [_mean(found, mean if np.isfinite(mean) else None), *found]


def guessed_noise(questions: Mapping[str, int], *, seed_sd: float, differing: float, gap: float) -> list[TargetNoise]:
    """The noise of targets that nothing is known of, and of their mean, where targets move independently.

    Args:
        questions: how many each target has.
        seed_sd: standard deviation of a run's accuracy between seeds, a fraction.
        differing: share of the questions that two runs answer differently, one right and one wrong.
        gap: ceiling less the base model's accuracy, which turns accuracy into PGF.
    """
    found = [
        TargetNoise(name=t, seed=(seed_sd / gap) ** 2, question=differing / gap**2, questions=count)
        for t, count in questions.items()
    ]
    return [_mean(found, None), *found]


def _mean(targets: list[TargetNoise], seed: float | None) -> TargetNoise:
    """The mean over targets, whose questions are not shared; ``seed`` is its variance between seeds where it is known."""
    count = len(targets)
    questions = min(t.questions for t in targets)
    item = sum(t.question / t.questions for t in targets) / count**2
    seed = sum(t.seed for t in targets) / count**2 if seed is None else seed
    return TargetNoise(name="mean", seed=seed, question=item * questions, questions=questions)


def power(difference: float, of: TargetNoise, seeds: int, *, arms: int = ARMS, tests: int = 1) -> float:
    """Probability that a difference (PGF) is shown by a two-sided test.

    Args:
        difference: true difference of two mixtures.
        of: the noise, and the questions.
        seeds: of every arm; at least 2, since one seed shows no noise between seeds.
        arms: whose noise between seeds is pooled.
        tests: how many are looked at together (Bonferroni, the most that Holm's correction takes).
    """
    if seeds < 2:
        return 0.0
    between, items = 2 * of.seed / seeds, of.question / of.questions
    variance = between + items
    if variance <= 0:
        return 1.0
    parts = [(between, max(arms - 1, 1) * (seeds - 1)), (items, of.questions - 1)]
    degrees = satterthwaite(variance, parts)
    limit = float(stats.t.ppf(1 - ALPHA / tests / 2, degrees))
    shift = abs(difference) / np.sqrt(variance)
    return float(stats.nct.sf(limit, degrees, shift) + stats.nct.cdf(-limit, degrees, shift))


def smallest_shown(of: TargetNoise, seeds: int, *, arms: int = ARMS, tests: int = 1) -> float:
    """The smallest difference (PGF) that is shown with probability ``POWER``; infinite with one seed."""
    if seeds < 2:
        return float("inf")
    low, high = 0.0, 1e-3
    while power(high, of, seeds, arms=arms, tests=tests) < POWER:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, of, seeds, arms=arms, tests=tests) < POWER else (low, middle)
    return high


def detect(difference: float, of: TargetNoise, seeds: int, *, arms: int = ARMS, tests: int = 1) -> Detection:
    """What so many seeds can show of a difference on a target, and what it takes to show it with probability ``POWER``."""
    options: dict[str, int] = {"arms": arms, "tests": tests}
    counts = range(max(seeds, 2), MOST_SEEDS + 1)
    return Detection(
        name=of.name,
        seeds=seeds,
        questions=of.questions,
        difference=difference,
        power=power(difference, of, seeds, **options),
        smallest=smallest_shown(of, seeds, **options),
        limit=smallest_shown(of, MOST_SEEDS, **options),
        seeds_needed=next((k for k in counts if power(difference, of, k, **options) >= POWER), None),
        questions_needed=_questions_needed(difference, of, seeds, options),
    )


def _questions_needed(difference: float, of: TargetNoise, seeds: int, options: Mapping[str, int]) -> int | None:
    """The least number of questions, or ``None`` where the noise between seeds alone hides the difference."""

    def enough(questions: int) -> bool:
        return power(difference, replace(of, questions=questions), seeds, **options) >= POWER

    low, high = 2, of.questions
    while not enough(high):
        low, high = high, high * 2
        if high > 10**8:
            return None
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def report(
    difference: float,
    noise: list[TargetNoise],
    seeds: int,
    *,
    arms: int,
    tests: int,
    origin: Literal["measured", "guess"],
    text: str,
) -> DetectionReport:
    """What so many seeds can show on each target, the mean first; one target alone has no mean."""
    rows = noise[1:] if len(noise) == 2 else noise
    found = tuple(detect(difference, of, seeds, arms=arms, tests=tests) for of in rows)
    return DetectionReport(
        difference=difference, arms=arms, tests=tests, origin=origin, noise=text, targets=found, first=rows[0]
    )
