"""The answers of a comparison as arrays, their faults, and the noise between seeds that they show.

All mixtures are trained with the same seeds, which makes a randomised complete block design, mixtures x seeds with the seeds as
blocks: ``y[e, k] = mu + mixture_e + seed_k + interaction_ek``, where y is what the run of mixture e at seed k scored. The mean
square of the interaction tells the noise of every difference of two mixtures, with (E - 1)(K - 1) degrees of freedom instead of
the K - 1 of the difference alone: the error mean square of the analysis of variance (Cochran and Cox, Experimental Designs,
1957, ch. 4). With 8 mixtures and 2 seeds that is 7 instead of 1.

The price is an assumption: the interaction has *the same variance in every mixture*. Where it has not, tests between the
quieter mixtures are too cautious and those of a noisier one too bold (Box, Ann Math Stat 1954). Among 8 mixtures, of which one
has seed effects of three times the others' standard deviation, simulated tests at 5% of that one against the others rejected a
true null in 16 to 18% of the cases, tests among the others in 1 to 2%. With their own variances it was at most 6%, but then two
seeds show next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvt.compare.baselines import same_mixtures
from tvt.compare.comparison import Missing
from tvt.core.arms import Arm, Measured
from tvt.core.scores import has_gap
from tvt.errors import InputError
from tvt.stats.noise import SeedVariance, satterthwaite
from tvt.types import Floats


class Answered:
    """Answers by arm, target and seed. An arm without counts is the base model, at every seed.

    An arm with the same counts as another one may use the other's answers, since both are the same runs.

    Raises:
        InputError: labels that are not unique, no or several selected arms, or answers that do not fit the questions.
    """

    def __init__(self, measured: Measured, arms: Sequence[Arm]) -> None:
        self.measured = measured
        self.arms = {arm.label: arm for arm in arms}
        self.same = same_mixtures(list(arms))
        self._check(arms)
        self.base = {t: np.asarray(measured.base[t], dtype=float) for t in measured.targets}
        self.seeds = tuple(sorted({*measured.seeds, *(k for runs in measured.answers.values() for k in runs)}))

    def _check(self, arms: Sequence[Arm]) -> None:
        faults = []
        if len(self.arms) < len(arms):
            faults.append("arms of a comparison need labels of their own")
        if sum(e.kind == "selected" for e in arms) != 1:
            faults.append("a comparison needs exactly one selected mixture")
        for target in self.measured.targets:
            if target not in self.measured.base or not np.size(self.measured.base[target]):
                faults.append(f"target {target}: the base model was not asked; evaluate it first")
            if target not in self.measured.ceilings:
                faults.append(f"target {target}: no ceiling")
        for label, runs in self.measured.answers.items():
            for seed, answers in runs.items():
                for target in set(answers) & set(self.measured.base):
                    asked, given = np.size(self.measured.base[target]), np.shape(answers[target])
                    if given != (asked,):
                        faults.append(
                            f"{label}, seed {seed}, target {target}: {np.size(answers[target])} answers, "
                            f"but the base model gave {asked}; evaluate both on the same questions"
                        )
        if faults:
            raise InputError(*faults)

    def is_base(self, arm: str | None) -> bool:
        """Whether an arm is the base model."""
        return arm is None or not self.arms[arm].counts

    def gap(self, target: str) -> float | None:
        """Ceiling minus base accuracy, ``None`` where it is not positive."""
        base, ceiling = float(self.base[target].mean()), self.measured.ceilings[target]
        return ceiling - base if bool(has_gap(base, ceiling)) else None

    def seeds_of(self, arm: str | None, targets: Sequence[str]) -> set[int]:
        """Seeds at which an arm (``None``: the base model) answered all of ``targets``."""
        if self.is_base(arm):
            return set(self.seeds)
        return {k for k in self.seeds if all(self._find(str(arm), k, t) is not None for t in targets)}

    def cells(self, arm: str | None, target: str, seeds: Sequence[int]) -> Floats:
        """What answers are worth, (seeds, questions): 1 where right."""
        if self.is_base(arm):
            return np.broadcast_to(self.base[target], (len(seeds), self.base[target].size))
        return np.stack([np.asarray(self._find(str(arm), k, target), dtype=float) for k in seeds])

    def _find(self, arm: str, seed: int, target: str) -> Floats | None:
        twins = [arm, self.same.get(arm, arm), *(a for a, b in self.same.items() if b == self.same.get(arm, arm))]
        for label in twins:
            result = self.measured.answers.get(label, {}).get(seed, {}).get(target)
            if result is not None:
                return np.asarray(result, dtype=float)
        return None

    def missing(self) -> tuple[Missing, ...]:
        """Runs that are not there, with the reason that was given."""
        return tuple(
            Missing(arm=label, seed=seed, reason=self.measured.missing.get((label, seed), "not done yet"))
            for label in self.arms
            for seed in self.measured.seeds
            if not any(seed in self.seeds_of(label, [t]) for t in self.measured.targets)
        )


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Variances between seeds that all mixtures of a comparison share."""

    difference: SeedVariance
    """Of the difference of two mixtures at one seed. What a seed does to all mixtures alike is not in it."""
    alone: SeedVariance
    """Of one mixture's value at one seed, for differences from the base model, which has no seed."""
    arms: int
    seeds: int


def pooled(values: Floats) -> SeedNoise | None:
    """Pooled variances from the mixtures' values (arms, seeds); ``None`` below two arms or two seeds.

    With MS(e) for the interaction and MS(b) for the seeds, a difference has the variance 2 MS(e), and one mixture alone
    ``[MS(b) + (E - 1) MS(e)] / E``: the variance within mixtures, averaged over them. MS(b) counts as at least MS(e). A seed
    that moves all mixtures together is one observation, however many mixtures repeat it, so the degrees of freedom of one
    mixture alone are Satterthwaite's over both mean squares: K - 1 where such a common effect is all there is, and never more
    than the (E - 1)(K - 1) of MS(e). Two seeds may by chance hide a common effect: where it is nearly all of the noise between
    seeds, simulated tests at 5% against the base model rejected a true null in 7 to 15% of the cases (7 to 13% unpooled).
    Differences of two mixtures are free of it.
    """
    arms, seeds = values.shape
    if arms < 2 or seeds < 2:
        return None
    by_seed = values.mean(axis=0)
    rest = values - values.mean(axis=1, keepdims=True) - by_seed + values.mean()
    degrees = (arms - 1) * (seeds - 1)
    interaction = float((rest**2).sum()) / degrees
    common = max(arms * float(by_seed.var(ddof=1)), interaction) / arms
    own = interaction * (arms - 1) / arms
    known = satterthwaite(common + own, [(common, seeds - 1), (own, degrees)])
    return SeedNoise(
        difference=SeedVariance(variance=2 * interaction, degrees=degrees),
        alone=SeedVariance(variance=common + own, degrees=min(known, degrees)),
        arms=arms,
        seeds=seeds,
    )


def seed_noise(answered: Answered, factors: Mapping[str, float]) -> SeedNoise | None:
    """The noise between seeds of the sum over targets of factor times accuracy, from all distinct trained mixtures.

    Args:
        answered: the answers.
        factors: by target: its share of the mean, for PGF over its gap.
    """
    labels, seeds = layout(answered, list(factors))
    if len(labels) < 2 or len(seeds) < 2:
        return None
    return pooled(
        np.array([np.sum([f * answered.cells(e, t, seeds).mean(axis=1) for t, f in factors.items()], axis=0) for e in labels])
    )


def layout(answered: Answered, targets: list[str]) -> tuple[list[str], list[int]]:
    """The distinct trained mixtures and the seeds at which all of these answered ``targets``.

    Mixtures with fewer runs than others are left out where that leaves more degrees of freedom: one failed run need not cost
    everybody a seed, nor a mixture just begun all that is known of the rest.
    """
    have = {
        label: answered.seeds_of(label, targets)
        for label in sorted(answered.arms)
        if label not in answered.same and not answered.is_base(label)
    }
    best: tuple[list[str], list[int]] = ([], [])
    for fewest in sorted({len(seeds) for seeds in have.values()} - {0}):
        labels = [label for label, seeds in have.items() if len(seeds) >= fewest]
        common = sorted(set.intersection(*(have[label] for label in labels)))
        if _degrees(labels, common) > _degrees(*best):
            best = labels, common
    return best


def _degrees(labels: list[str], seeds: list[int]) -> int:
    return max(len(labels) - 1, 0) * max(len(seeds) - 1, 0)
