"""A comparison put together: gains over the base model, the selected mixture against each baseline, and the promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tvt.compare.answers import Answered
from tvt.compare.contrasts import contrast, corrected, for_twin
from tvt.compare.pooling import SeedNoise, seed_noise
from tvt.compare.promise import promise
from tvt.compare.verdict import sentences
from tvt.core.comparison import Comparison, Contrast, Entry, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.selection.prepare import prepare
from tvt.selection.simple import limited


def compare(
    measured: Measured,
    entries: Sequence[Entry],
    matrix: TransferMatrix,
    spec: SelectionSpec,
    *,
    questions_shared: bool = False,
) -> Comparison:
    """Compare the selected mixture with its baselines on the answers that their runs gave.

    Four families are corrected, each by itself: the selected mixture against every baseline on the weighted mean over the
    counting targets, by which the verdict goes; the same on every single counting target; every entry against the base model
    on that mean; and the same on every single target. Equal mixtures count once. The noise between seeds is pooled over the
    entries, which takes it to be of one size for all of them, see :mod:`tvt.compare.pooling`.

    Args:
        measured: answers of the base model and of the runs that are done.
        entries: what was compared, exactly one of them selected.
        matrix, spec: what the mixture was chosen on and for, see :func:`tvt.compare.baselines.spec_of`.
        questions_shared: whether that study asked the same questions.

    Raises:
        InputError: answers that do not belong together, or no counting target among those measured.
    """
    answered = Answered(measured, entries)
    counting, unmeasured = _counting(matrix, spec, measured)
    gains, gains_family = _gains(answered, counting)
    differences, differences_family = _differences(answered, counting)
    return Comparison(
        entries=tuple(entries),
        targets=measured.targets,
        counting=counting,
        seeds=answered.seeds,
        base={t: float(answered.base[t].mean()) for t in measured.targets},
        ceilings=dict(measured.ceilings),
        questions={t: int(answered.base[t].size) for t in measured.targets},
        gains=gains,
        differences=differences,
        gains_family=gains_family,
        differences_family=differences_family,
        same=dict(answered.same),
        promise=promise([e for e in entries if e.label not in answered.same], gains, matrix, spec, counting=counting),
        missing=answered.missing(),
        verdict=sentences(entries, gains, differences, counting, families=differences_family),
        questions_shared=questions_shared,
        notes=tuple(_notes(answered, spec, counting, unmeasured, questions_shared)),
    )


def _counting(matrix: TransferMatrix, spec: SelectionSpec, measured: Measured) -> tuple[dict[str, float], list[str]]:
    """Weights of the counting targets that were measured, summing to 1, and those that were not."""
    weights = counting_targets(matrix, spec)
    counting = {t: w for t, w in weights.items() if t in measured.targets}
    if not counting:
        raise InputError(f"none of the targets that the selection served was measured: {', '.join(weights)}")
    total = sum(counting.values())
    return {t: w / total for t, w in counting.items()}, sorted(set(weights) - set(counting))


def counting_targets(matrix: TransferMatrix, spec: SelectionSpec) -> dict[str, float]:
    """Weights of the targets that a selection serves, by full name, summing to 1.

    Raises:
        InputError: names that the study does not know.
    """
    request = prepare(matrix, spec.model_copy(update={"cvar": None})).request
    return {t: float(w) for t, w in zip(request.targets, request.weights, strict=True) if w > 0}


def _gains(answered: Answered, counting: Mapping[str, float]) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """Every entry against the base model."""
    own = [label for label in answered.entries if label not in answered.same]
    mean, of_mean = corrected([contrast(answered, label, None, counting) for label in own])
    single, of_single = corrected(
        [contrast(answered, label, None, {t: 1.0}) for label in own for t in answered.measured.targets]
    )
    found = (*(replace(c, target=None) for c in mean), *single)
    twins = [for_twin(c, entry=twin) for twin, first in answered.same.items() for c in found if c.entry == first]
    return (*found, *twins), (of_mean, of_single)


def _differences(answered: Answered, counting: Mapping[str, float]) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """The selected mixture against every baseline."""
    selected = next(e.label for e in answered.entries.values() if e.kind == "selected")
    others = [label for label in answered.entries if label != selected]
    # A baseline with the runs of an earlier baseline is no comparison of its own.
    twins = {a: b for a, b in answered.same.items() if selected not in (a, b)}
    own = [label for label in others if label not in twins]
    mean, of_mean = corrected([contrast(answered, selected, label, counting) for label in own])
    # With one counting target, its contrasts are those of the mean, and are tested once.
    alone = len(counting) == 1
    single, of_single = (
        (mean, of_mean)
        if alone
        else corrected([contrast(answered, selected, label, {t: 1.0}) for label in own for t in counting])
    )
    found = (*single, *(replace(c, target=None) for c in mean))
    copies = [for_twin(c, against=twin) for twin, first in twins.items() for c in found if c.against == first]
    order = {label: i for i, label in enumerate(others)}
    return tuple(sorted((*found, *copies), key=lambda c: order[str(c.against)])), (of_mean, of_single)


def _notes(
    answered: Answered, spec: SelectionSpec, counting: Mapping[str, float], unmeasured: Sequence[str], shared: bool
) -> list[str]:
    notes = []
    if shared:
        notes.append(
            "the mixture was chosen on the very questions that it is measured on here, so the selected mixture's figures are "
            "optimistic (those of best single and proportional too)"
        )
    notes += _seed_notes(len(answered.seeds), seed_noise(answered, counting))
    if unmeasured:
        notes.append(f"not measured, though the selection served them: {', '.join(unmeasured)}")
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
        f"the noise between seeds is pooled over {noise.entries} mixtures and {noise.seeds} seeds (randomised complete blocks; "
        "Cochran and Cox, Experimental Designs, 1957), which takes it to be of one size for all mixtures: tests of a mixture "
        "with more noise than the others are too bold"
    )
    return [f"{seeds} seeds show only large differences; four or more show far more", pooled] if seeds < 4 else [pooled]
