"""The noise between seeds, pooled over the mixtures of a comparison.

All mixtures are trained with the same seeds, which makes a randomised complete block design, mixtures x seeds with the seeds as
blocks: ``y[e, k] = mu + mixture_e + seed_k + interaction_ek``, where y is what the run of mixture e at seed k scored. The mean
square of the interaction tells the noise of every difference of two mixtures, with (E - 1)(K - 1) degrees of freedom instead of
the K - 1 of the difference alone: the error mean square of the analysis of variance (Cochran and Cox, Experimental Designs,
1957, ch. 4). With 8 mixtures and 2 seeds that is 7 instead of 1.

The price is an assumption: the interaction has *the same variance in every mixture*. Where it has not, tests between the
quieter mixtures are too cautious and those of a noisier one too bold (Box, Ann Math Stat 1954). Among 8 mixtures, of which one
has seed effects of thrice the others' standard deviation, simulated tests at 5% of that one against the others rejected a true
null in 16 to 18% of the cases, tests among the others in 1 to 2%. With their own variances it was at most 6%, but then two
seeds show next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tvt.compare.answers import Answered
from tvt.stats.noise import SeedVariance, satterthwaite
from tvt.types import Floats


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Variances between seeds that all mixtures of a comparison share."""

    difference: SeedVariance
    """Of the difference of two mixtures at one seed. What a seed does to all mixtures alike is not in it."""
    alone: SeedVariance
    """Of one mixture's value at one seed, for differences from the base model, which has no seed."""
    entries: int
    seeds: int


def pooled(values: Floats) -> SeedNoise | None:
    """Pooled variances from the mixtures' values (entries, seeds); ``None`` below two entries or two seeds.

    With MS(e) for the interaction and MS(b) for the seeds, a difference has the variance 2 MS(e), and one mixture alone
    ``[MS(b) + (E - 1) MS(e)] / E``: the variance within mixtures, averaged over them. MS(b) counts as at least MS(e). A seed
    that moves all mixtures together is one observation, however many mixtures repeat it, so the degrees of freedom of one
    mixture alone are Satterthwaite's over both mean squares: K - 1 where such a common effect is all there is, and never more
    than the (E - 1)(K - 1) of MS(e). Two seeds may by chance hide a common effect: where it is nearly all of the noise between
    seeds, simulated tests at 5% against the base model rejected a true null in 7 to 15% of the cases (7 to 13% unpooled).
    Differences of two mixtures are free of it.
    """
    entries, seeds = values.shape
    if entries < 2 or seeds < 2:
        return None
    by_seed = values.mean(axis=0)
    rest = values - values.mean(axis=1, keepdims=True) - by_seed + values.mean()
    degrees = (entries - 1) * (seeds - 1)
    interaction = float((rest**2).sum()) / degrees
    common = max(entries * float(by_seed.var(ddof=1)), interaction) / entries
    own = interaction * (entries - 1) / entries
    known = satterthwaite(common + own, [(common, seeds - 1), (own, degrees)])
    return SeedNoise(
        difference=SeedVariance(variance=2 * interaction, degrees=degrees),
        alone=SeedVariance(variance=common + own, degrees=min(known, degrees)),
        entries=entries,
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
        for label in sorted(answered.entries)
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
