"""A comparison put together: gains over the base model, the selected mixture against each baseline, and the promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvt.compare.answers import Answered
from tvt.compare.contrasts import contrast, corrected, for_twin
from tvt.compare.pooling import SeedNoise, seed_noise
from tvt.compare.promise import promise
from tvt.compare.served import Served
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

    Four families are corrected, each by itself: the selected mixture against every baseline on what the selection asked of the
    counting targets (their weighted mean as a rule), by which the verdict goes; the same on every single counting target; every
    entry against the base model on the former; and the same on every single target. Equal mixtures count once. The noise
    between seeds is pooled over the entries, which takes it to be of one size for all of them, see
    :mod:`tvt.compare.pooling`.

    Args:
        measured: answers of the base model and of the runs that are done.
        entries: what was compared, exactly one of them selected.
        matrix, spec: what the mixture was chosen on and for, see :func:`tvt.compare.baselines.spec_of`.
        questions_shared: whether that study asked the same questions.

    Raises:
        InputError: answers that do not belong together, or no counting target among those measured.
    """
    answered = Answered(measured, entries)
    served, unmeasured = _served(matrix, spec, measured)
    counting = served.weights
    gains, gains_family = _gains(answered, served)
    differences, differences_family = _differences(answered, served)
    return Comparison(
        entries=tuple(entries),
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
        promise=promise([e for e in entries if e.label not in answered.same], gains, matrix, spec, counting=counting),
        missing=answered.missing(),
        verdict=sentences(entries, gains, differences, served, families=differences_family),
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
    weights = dict(zip(names, request.wanted.weights.tolist(), strict=True))
    if spec.aim.needs_goals and matrix.metric != "pgf":
        return Served.mean(weights)
    return Served(weights=weights, aim=spec.aim, goals=dict(zip(names, request.wanted.goals.tolist(), strict=True)))


def _gains(answered: Answered, served: Served) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """Every entry against the base model."""
    own = [label for label in answered.entries if label not in answered.same]
    mean, of_mean = corrected([contrast(answered, label, None, served) for label in own])
    single, of_single = corrected(
        [contrast(answered, label, None, Served.mean({t: 1.0})) for label in own for t in answered.measured.targets]
    )
    found = (*(replace(c, target=None) for c in mean), *single)
    twins = [for_twin(c, entry=twin) for twin, first in answered.same.items() for c in found if c.entry == first]
    return (*found, *twins), (of_mean, of_single)


def _differences(answered: Answered, served: Served) -> tuple[tuple[Contrast, ...], tuple[int, int]]:
    """The selected mixture against every baseline."""
    selected = next(e.label for e in answered.entries.values() if e.kind == "selected")
    others = [label for label in answered.entries if label != selected]
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
    found = (*single, *(replace(c, target=None) for c in mean))
    copies = [for_twin(c, against=twin) for twin, first in twins.items() for c in found if c.against == first]
    order = {label: i for i, label in enumerate(others)}
    return tuple(sorted((*found, *copies), key=lambda c: order[str(c.against)])), (of_mean, of_single)


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
        f"the noise between seeds is pooled over {noise.entries} mixtures and {noise.seeds} seeds (randomised complete blocks; "
        "Cochran and Cox, Experimental Designs, 1957), which takes it to be of one size for all mixtures: tests of a mixture "
        "with more noise than the others are too bold"
    )
    return [f"{seeds} seeds show only large differences; four or more show far more", pooled] if seeds < 4 else [pooled]
