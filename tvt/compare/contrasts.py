"""One entry against another: per target, on what the selection asked for, and corrected for how many are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy import stats

from tvt.compare.answers import Answered
from tvt.compare.pooling import seed_noise
from tvt.compare.served import Served, bent_estimate
from tvt.compare.statistics import LEVEL, accuracy_block, estimate, pgf_block
from tvt.core.comparison import Contrast, Estimate, Tested
from tvt.stats.multiplicity import holm
from tvt.stats.noise import SeedVariance


def contrast(answered: Answered, entry: str, against: str | None, served: Served) -> Contrast:
    """``entry`` minus ``against`` (``None``: the base model) on one target, or on what was asked of several.

    Seeds count where both answered all of the targets. PGF leaves targets without a gap out; accuracy is always the weighted
    mean. The verdict is that of :func:`corrected`, still to come.

    Args:
        answered: the answers.
        entry, against: labels.
        served: targets and objective; a single target makes the contrast of that target.
    """
    weights = served.weights
    target = next(iter(weights)) if len(weights) == 1 else None

    def without(verdict: str, reason: str) -> Contrast:
        given = {"entry": entry, "against": against, "target": target, "reason": reason}
        return Contrast(**given, accuracy=None, pgf=None, verdict=verdict)  # type: ignore[arg-type]

    if answered.is_base(entry) and answered.is_base(against):
        return without("same mixture", "it is the base model")
    if against is not None and answered.same.get(entry, entry) == answered.same.get(against, against):
        return without("same mixture", "the same examples")
    seeds = sorted(answered.seeds_of(entry, list(weights)) & answered.seeds_of(against, list(weights)))
    if not seeds:
        return without("not measured", _why_not(answered, entry, against, list(weights)))
    open_ = {t: w for t, w in weights.items() if answered.gap(t) is not None}
    inside = replace(served, weights=open_)
    pgf = bent_estimate(answered, entry, against, inside, seeds) if inside.bends else None
    if open_ and not inside.bends:
        pgf = _pgf(answered, entry, against, open_, seeds)
    # Without the noise between seeds a single one would pass where several do not: no verdict on less than the others have.
    alone = len(seeds) == 1 < len(answered.seeds)
    return Contrast(
        entry=entry,
        against=against,
        target=target,
        accuracy=_accuracy(answered, entry, against, weights, seeds),
        pgf=pgf,
        verdict="not measured" if alone else "no difference shown",
        tested=None if alone else "accuracy" if pgf is None else "pgf",
        reason=_remarks(len(seeds), len(answered.seeds), [t for t in weights if t not in open_]),
    )


def _accuracy(
    answered: Answered, entry: str, against: str | None, weights: Mapping[str, float], seeds: Sequence[int]
) -> Estimate:
    shares = _shares(weights)
    blocks = [accuracy_block(answered.cells(entry, t, seeds), answered.cells(against, t, seeds), w) for t, w in shares.items()]
    return estimate(blocks, _noise(answered, entry, against, shares))


def _pgf(answered: Answered, entry: str, against: str | None, weights: Mapping[str, float], seeds: Sequence[int]) -> Estimate:
    shares = _shares(weights)
    gaps = {t: answered.gap(t) or 1.0 for t in shares}
    blocks = [
        pgf_block(answered.cells(entry, t, seeds), answered.cells(against, t, seeds), answered.base[t], gaps[t], w)
        for t, w in shares.items()
    ]
    return estimate(blocks, _noise(answered, entry, against, {t: w / gaps[t] for t, w in shares.items()}))


def _noise(answered: Answered, entry: str, against: str | None, factors: Mapping[str, float]) -> SeedVariance | None:
    """What the comparison as a whole tells of the noise between seeds; the base model has none."""
    noise = seed_noise(answered, factors)
    if noise is None:
        return None
    return noise.alone if answered.is_base(entry) or answered.is_base(against) else noise.difference


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    # In the order of the names, so that not even the last digit depends on the order in which targets are listed.
    total = sum(weights.values())
    return {t: weights[t] / total for t in sorted(weights)}


def _remarks(seeds: int, planned: int, no_gap: Sequence[str]) -> str | None:
    """What the figures leave out."""
    notes = [f"{seeds} of {planned} seeds"] if seeds < planned else []
    notes += ["the noise between seeds is unknown"] if seeds == 1 < planned else []
    notes += [f"PGF without {', '.join(no_gap)}: base accuracy not below the ceiling"] if no_gap else []
    return "; ".join(notes) or None


def _why_not(answered: Answered, entry: str, against: str | None, targets: Sequence[str]) -> str:
    for label in (entry, against):
        if label is not None and not answered.seeds_of(label, targets):
            lacking = [t for t in targets if not answered.seeds_of(label, [t])]
            return f"no run of {label}" + (f" answered {', '.join(lacking)}" if lacking else " answered every target")
    return f"{entry} and {against} have no seed in common"


def corrected(contrasts: Sequence[Contrast]) -> tuple[tuple[Contrast, ...], int]:
    """Verdicts with Holm's p (Scand J Stat 1979) and intervals with Bonferroni's, over all contrasts that can be tested.

    Returns:
        The contrasts, and how many were tested together.
    """
    tested = [i for i, c in enumerate(contrasts) if c.estimate is not None]
    adjusted = dict(zip(tested, holm([_p(contrasts[i]) for i in tested]), strict=True))
    done = []
    for i, c in enumerate(contrasts):
        if i not in adjusted or c.estimate is None:
            done.append(c)
            continue
        shown = adjusted[i] < 1 - LEVEL
        done.append(
            replace(
                c,
                accuracy=_together(c.accuracy, len(tested)),
                pgf=_together(c.pgf, len(tested)),
                p_corrected=adjusted[i],
                verdict=("better" if c.estimate.value > 0 else "worse") if shown else "no difference shown",
            )
        )
    return tuple(done), len(tested)


def _p(of: Contrast) -> float:
    return 1.0 if of.estimate is None else of.estimate.p


def _together(of: Estimate | None, count: int) -> Estimate | None:
    if of is None:
        return None
    half = of.error * float(stats.t.ppf(1 - (1 - LEVEL) / 2 / count, of.df))
    return replace(of, low_all=of.value - half, high_all=of.value + half)


def for_twin(of: Contrast, *, entry: str | None = None, against: str | None = None) -> Contrast:
    """The contrast of an entry with the same runs, under its own label."""
    return replace(of, entry=entry or of.entry, against=against or of.against)


def measure_of(contrasts: Sequence[Contrast]) -> Tested:
    """The measure to speak of: PGF unless nothing has one."""
    return "pgf" if any(c.pgf is not None for c in contrasts) or not contrasts else "accuracy"
