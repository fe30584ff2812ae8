"""A comparison put together: every contrast of two mixtures, corrected for how many are looked at, and the predictions'
calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tvt.compare.answers import Answered, SeedNoise, seed_noise
from tvt.compare.comparison import Comparison, Contrast, Difference, TestOutcome
from tvt.compare.conclusions import calibration, sentences
from tvt.compare.statistics import LEVEL, Served, accuracy_block, bent_estimate, estimate, pgf_block
from tvt.core.arms import Arm, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.selection.audit import limited
from tvt.selection.engine import prepare
from tvt.stats.noise import SeedVariance, StudentT, holm


def compare(
    measured: Measured,
    arms: Sequence[Arm],
    matrix: TransferMatrix,
    spec: SelectionSpec,
    *,
    questions_shared: bool = False,
) -> Comparison:
    """Compare the selected mixture with its baselines on the answers that their runs gave.

    Four families are corrected, each by itself: the selected mixture against every baseline on what the selection asked of the
    counting targets (their weighted mean as a rule), by which the outcome goes; the same on every single counting target; every
    arm against the base model on the former; and the same on every single target. Equal mixtures count once. The noise
    between seeds is pooled over the arms, which takes it to be of one size for all of them, see
    :mod:`tvt.compare.answers`.

    Args:
        measured: answers of the base model and of the runs that are done.
        arms: what was compared, exactly one of them selected.
        matrix, spec: what the mixture was chosen on and for, see :func:`tvt.compare.baselines.spec_of`.
        questions_shared: whether that study asked the same questions.

    Raises:
        InputError: answers that do not belong together, or no counting target among those measured.
    """
    answered = Answered(measured, arms)
    served, unmeasured = _served(matrix, spec, measured)
    counting = served.weights
    gains, gains_family = _gains(answered, served)
    differences, differences_family = _differences(answered, served)
    return Comparison(
        arms=tuple(arms),
        targets=measured.targets,
        counting=counting,
        objective=served.aim.name,
        seeds=answered.seeds,
        base={t: float(answered.base[t].mean()) for t in measured.targets},
        ceilings=dict(measured.ceilings),
        questions={t: int(answered.base[t].size) for t in measured.targets},
        gains=gains,
        differences=differences,
        gains_family=gains_family,
        differences_family=differences_family,
        same=dict(answered.same),
        calibration=calibration([e for e in arms if e.label not in answered.same], gains, matrix, spec, counting=counting),
        missing=answered.missing(),
        sentences=sentences(arms, gains, differences, served, families=differences_family),
        questions_shared=questions_shared,
        notes=tuple(_notes(answered, spec, served, unmeasured, questions_shared)),
    )


def _served(matrix: TransferMatrix, spec: SelectionSpec, measured: Measured) -> tuple[Served, list[str]]:
    """What the selection asked of the targets that were measured, and those that were not."""
    asked = served_by(matrix, spec)
    counting = {t: w for t, w in asked.weights.items() if t in measured.targets}
    if not counting:
        raise InputError(f"none of the targets that the selection served was measured: {', '.join(asked.weights)}")
    total = sum(counting.values())
    weights = {t: w / total for t, w in counting.items()}
    return replace(asked, weights=weights), sorted(set(asked.weights) - set(counting))


def served_by(matrix: TransferMatrix, spec: SelectionSpec) -> Served:
    """What a selection serves, by full names of targets. Goals in another unit than PGF cannot be held against runs: their
    targets' mean counts.

    Raises:
        InputError: names that the study does not know.
    """
    request = prepare(matrix, spec.model_copy(update={"cvar": None})).request
    names = [request.targets[j] for j in request.served]
    weights = dict(zip(names, request.requested.weights.tolist(), strict=True))
    if spec.aim.needs_goals and matrix.metric != "pgf":
        return Served.mean(weights)
    return Served(weights=weights, aim=spec.aim, goals=dict(zip(names, request.requested.goals.tolist(), strict=True)))


def _gains(answered: Answered, served: Served) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """Every arm against the base model."""
    own = [label for label in answered.arms if label not in answered.same]
    mean, of_mean = corrected([contrast(answered, label, None, served) for label in own])
    single, of_single = corrected(
        [contrast(answered, label, None, Served.mean({t: 1.0})) for label in own for t in answered.measured.targets]
    )
    result = (*(replace(c, target=None) for c in mean), *single)
    twins = [for_twin(c, arm=twin) for twin, first in answered.same.items() for c in result if c.arm == first]
    return (*result, *twins), (of_mean, of_single)


def _differences(answered: Answered, served: Served) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """The selected mixture against every baseline."""
    selected = next(e.label for e in answered.arms.values() if e.kind == "selected")
    others = [label for label in answered.arms if label != selected]
    # A baseline with the runs of an earlier baseline is no comparison of its own.
    twins = {a: b for a, b in answered.same.items() if selected not in (a, b)}
    own = [label for label in others if label not in twins]
    mean, of_mean = corrected([contrast(answered, selected, label, served) for label in own])
    # With one counting target, its contrasts are those of the mean, and are tested once.
    alone = len(served.weights) == 1
    single, of_single = (
        (mean, of_mean)
        if alone
        else corrected([contrast(answered, selected, label, Served.mean({t: 1.0})) for label in own for t in served.weights])
    )
    result = (*single, *(replace(c, target=None) for c in mean))
    copies = [for_twin(c, against=twin) for twin, first in twins.items() for c in result if c.against == first]
    order = {label: i for i, label in enumerate(others)}
    return tuple(sorted((*result, *copies), key=lambda c: order[str(c.against)])), (of_mean, of_single)


def _notes(answered: Answered, spec: SelectionSpec, served: Served, unmeasured: Sequence[str], shared: bool) -> list[str]:
    notes = []
    if shared:
        notes.append(
            "the mixture was chosen on the very questions that it is measured on here, so the selected mixture's figures are "
            "optimistic (those of best single and proportional too)"
        )
    notes += _seed_notes(len(answered.seeds), seed_noise(answered, served.weights))
    if unmeasured:
        notes.append(f"not measured, though the selection served them: {', '.join(unmeasured)}")
    if served.bends:
        notes.append(
            f"mixtures are compared by the {served.aim.measure} the counting targets, as the selection asked; its error is the "
            "mean over the targets that may decide it, and accuracies are weighted means"
        )
    no_gap = [t for t in answered.measured.targets if answered.gap(t) is None]
    if no_gap:
        notes.append(f"no PGF for {', '.join(no_gap)}: base accuracy not below the ceiling; accuracy is tested instead")
    if limited(spec):
        notes.append("only the selected mixture keeps to the limits and the caution asked for")
    return notes


def _seed_notes(seeds: int, noise: SeedNoise | None) -> list[str]:
    """What the noise between seeds is known from."""
    if seeds == 1:
        return ["one seed: the noise between seeds is unknown and not in the intervals, which are too narrow for that"]
    few = f"{seeds} seeds tell little of the noise between seeds, so intervals are wide; four or more show far more"
    if noise is None:
        return [few] if seeds < 4 else []
    pooled = (
        f"the noise between seeds is pooled over {noise.arms} mixtures and {noise.seeds} seeds (randomised complete blocks; "
        "Cochran and Cox, Experimental Designs, 1957), which takes it to be of one size for all mixtures: tests of a mixture "
        "with more noise than the others are too bold"
    )
    return [f"{seeds} seeds show only large differences; four or more show far more", pooled] if seeds < 4 else [pooled]


def contrast(answered: Answered, arm: str, against: str | None, served: Served) -> Contrast:
    """``arm`` minus ``against`` (``None``: the base model) on one target, or on what was asked of several.

    Seeds count where both answered all of the targets. PGF leaves targets without a gap out; accuracy is always the weighted
    mean. The outcome is that of :func:`corrected`, still to come.

    Args:
        answered: the answers.
        arm, against: labels.
        served: targets and objective; a single target makes the contrast of that target.
    """
    weights = served.weights
    target = next(iter(weights)) if len(weights) == 1 else None

    def without(outcome: TestOutcome, reason: str) -> Contrast:
        return Contrast(arm=arm, against=against, target=target, reason=reason, accuracy=None, pgf=None, outcome=outcome)

    if answered.is_base(arm) and answered.is_base(against):
        return without("same mixture", "it is the base model")
    if against is not None and answered.same.get(arm, arm) == answered.same.get(against, against):
        return without("same mixture", "the same examples")
    seeds = sorted(answered.seeds_of(arm, list(weights)) & answered.seeds_of(against, list(weights)))
    if not seeds:
        return without("not measured", _why_not(answered, arm, against, list(weights)))
    open_ = {t: w for t, w in weights.items() if answered.gap(t) is not None}
    inside = replace(served, weights=open_)
    pgf = bent_estimate(answered, arm, against, inside, seeds) if inside.bends else None
    if open_ and not inside.bends:
        pgf = _pgf(answered, arm, against, open_, seeds)
    # Without the noise between seeds a single one would pass where several do not: no outcome on less than the others have.
    alone = len(seeds) == 1 < len(answered.seeds)
    return Contrast(
        arm=arm,
        against=against,
        target=target,
        accuracy=_accuracy(answered, arm, against, weights, seeds),
        pgf=pgf,
        outcome="not measured" if alone else "no difference shown",
        tested=None if alone else "accuracy" if pgf is None else "pgf",
        reason=_remarks(len(seeds), len(answered.seeds), [t for t in weights if t not in open_]),
    )


def _accuracy(
    answered: Answered, arm: str, against: str | None, weights: Mapping[str, float], seeds: Sequence[int]
) -> Difference:
    shares = _shares(weights)
    blocks = [accuracy_block(answered.cells(arm, t, seeds), answered.cells(against, t, seeds), w) for t, w in shares.items()]
    return estimate(blocks, _noise(answered, arm, against, shares))


def _pgf(answered: Answered, arm: str, against: str | None, weights: Mapping[str, float], seeds: Sequence[int]) -> Difference:
    shares = _shares(weights)
    gaps = {t: answered.gap(t) or 1.0 for t in shares}
    blocks = [
        pgf_block(answered.cells(arm, t, seeds), answered.cells(against, t, seeds), answered.base[t], gaps[t], w)
        for t, w in shares.items()
    ]
    return estimate(blocks, _noise(answered, arm, against, {t: w / gaps[t] for t, w in shares.items()}))


def _noise(answered: Answered, arm: str, against: str | None, factors: Mapping[str, float]) -> SeedVariance | None:
    """What the comparison as a whole tells of the noise between seeds; the base model has none."""
    noise = seed_noise(answered, factors)
    if noise is None:
        return None
    return noise.alone if answered.is_base(arm) or answered.is_base(against) else noise.difference


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


def _why_not(answered: Answered, arm: str, against: str | None, targets: Sequence[str]) -> str:
    for label in (arm, against):
        if label is not None and not answered.seeds_of(label, targets):
            lacking = [t for t in targets if not answered.seeds_of(label, [t])]
            return f"no run of {label}" + (f" answered {', '.join(lacking)}" if lacking else " answered every target")
    return f"{arm} and {against} have no seed in common"


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
                outcome=("better" if c.estimate.value > 0 else "worse") if shown else "no difference shown",
            )
        )
    return tuple(done), len(tested)


def _p(of: Contrast) -> float:
    return 1.0 if of.estimate is None else of.estimate.p


def _together(of: Difference | None, count: int) -> Difference | None:
    if of is None:
        return None
    low, high = StudentT(of.value, of.error, of.df).interval(1 - (1 - LEVEL) / count)
    return replace(of, low_all=low, high_all=high)


def for_twin(of: Contrast, *, arm: str | None = None, against: str | None = None) -> Contrast:
    """The contrast of an arm with the same runs, under its own label."""
    return replace(of, arm=arm or of.arm, against=against or of.against)
