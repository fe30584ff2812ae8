"""What a comparison comes to: predicted gains held against measured ones, and sentences that say what the figures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tvt.compare.comparison import Calibration, Contrast, Difference, Point, Tested, measure_of
from tvt.compare.statistics import Served
from tvt.core.arms import Arm
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Prediction
from tvt.core.selection import SelectionSpec
from tvt.evidence.predict import predict
from tvt.stats.noise import known, normal_factor
from tvt.stats.ranks import rank_correlation

FEWEST = 5
"""Points below which a correlation, a line or a share says nothing."""
FEWEST_ARMS = 4
"""The same for the arms of one target."""


def calibration(
    arms: Sequence[Arm],
    gains: Sequence[Contrast],
    matrix: TransferMatrix,
    spec: SelectionSpec,
    *,
    counting: Mapping[str, float],
) -> Calibration:
    """Compare what the study's response predicts for every arm with the PGF that came.

    Args:
        arms: the arms without those that repeat another, predicted by their counts' shares of the budget.
        gains: their contrasts with the base model by target.
        matrix: the evidence that the selected mixture was chosen on.
        spec: its request; response, curvature and confidence count.
        counting: weights of the targets that the selection served.
    """
    points = _points(arms, gains, matrix, spec, counting)
    in_unit = matrix.metric == "pgf"
    rank = _rank(points) if len({p.label for p in points}) > 1 else None
    by_target = {t: _rank([p for p in points if p.target == t], FEWEST_ARMS) for t in dict.fromkeys(p.target for p in points)}
    enough = rank is not None and in_unit
    line = stats.linregress([p.predicted for p in points], [p.realised for p in points]) if enough else None
    return Calibration(
        points=tuple(points),
        confidence=spec.confidence,
        rank=rank,
        rank_by_target=by_target,
        slope=float(line.slope) if line else None,
        intercept=float(line.intercept) if line else None,
        covered=float(np.mean([p.inside for p in points])) if enough else None,
        optimism_selected=_optimism(points, selected=True) if in_unit else None,
        optimism_others=_optimism(points, selected=False) if in_unit else None,
        notes=tuple(_notes(points, rank, by_target, in_unit)),
    )


def _notes(points: Sequence[Point], rank: float | None, by_target: Mapping[str, float | None], in_unit: bool) -> list[str]:
    """What could not be judged."""
    notes = [] if in_unit else ["the study's values are no PGF, so only ranks can be compared with it"]
    if not points:
        return [*notes, "no prediction can be compared with a result"]
    unranked = sum(rho is None for rho in by_target.values())
    if rank is None:
        notes.append(f"too few predictions to judge them ({len(points)}, of {len({p.label for p in points})} mixtures)")
    elif unranked:
        notes.append(f"too few mixtures that differ for a rank within {unranked} of {len(by_target)} targets")
    return notes


def _points(
    arms: Sequence[Arm],
    gains: Sequence[Contrast],
    matrix: TransferMatrix,
    spec: SelectionSpec,
    counting: Mapping[str, float],
) -> list[Point]:
    known = {s for s, row in zip(matrix.sources, np.isfinite(matrix.mean), strict=True) if row.any()}
    predictable = [arm for arm in arms if arm.counts and arm.placebo is None and set(arm.counts) <= known]
    if not predictable:
        return []
    sources = sorted(known)
    shares = np.array([[arm.counts.get(s, 0) / sum(arm.counts.values()) for s in sources] for arm in predictable])
    predicted = predict(matrix, shares, sources, spec).gains
    z = normal_factor(spec.confidence)
    return [
        replace(_point(arm, c.target, by_target[c.target], c.pgf, z), counting=c.target in counting)
        for arm, by_target in zip(predictable, predicted, strict=True)
        for c in gains
        if c.arm == arm.label and c.target in by_target and c.pgf is not None
    ]


def _point(arm: Arm, target: str, p: Prediction, came: Difference, z: float) -> Point:
    reach = float(np.hypot((p.high - p.low) / 2, z * came.error))
    return Point(
        label=arm.label,
        kind=arm.kind,
        target=target,
        counting=False,
        predicted=p.gain,
        low=p.low,
        high=p.high,
        realised=came.value,
        error=came.error,
        inside=abs(came.value - p.gain) <= reach,
        estimated=p.estimated,
    )


def _rank(points: Sequence[Point], fewest: int = FEWEST) -> float | None:
    """Spearman's rho, ``None`` with too few points or where one side does not vary."""
    if len(points) < fewest:
        return None
    return known(rank_correlation(np.array([p.predicted for p in points]), np.array([p.realised for p in points])))


def _optimism(points: Sequence[Point], *, selected: bool) -> float | None:
    """Mean of predicted minus realised over counting targets."""
    over = [p.predicted - p.realised for p in points if p.counting and (p.kind == "selected") == selected]
    return float(np.mean(over)) if over else None


def sentences(
    arms: Sequence[Arm],
    gains: Sequence[Contrast],
    differences: Sequence[Contrast],
    served: Served,
    *,
    families: tuple[int, int],
) -> tuple[str, ...]:
    """The outcome on the mean over the counting targets: against each baseline, the highest, and against the base model.

    ``families`` is how many comparisons the p of ``differences`` are corrected for, on the mean and on single targets.
    """
    selected = next(e for e in arms if e.kind == "selected")
    lines = ["The selection advises to train on nothing: its figures are the base model's."] if not selected.counts else []
    mean = [c for c in differences if c.target is None]
    lines.append(_against(mean, served, [e.label for e in arms if e.kind == "random"], families[0]))
    lines += filter(None, (_highest(selected, gains), _base([c for c in gains if c.target is None])))
    lines += filter(None, (_targets([c for c in differences if c.target is not None], len(served.weights), families[1]),))
    return tuple(lines)


def _against(mean: Sequence[Contrast], served: Served, randoms: Sequence[str], family: int) -> str:
    """The selected mixture against every baseline."""
    count = len(served.weights)
    where = next(iter(served.weights)) if count == 1 else f"the {served.aim.over} {count} targets"
    seeds = {e.seeds for c in mean if (e := c.estimate)}
    what = "PGF" if measure_of(mean) == "pgf" else "Accuracy"
    runs = f", {_span(seeds)} seed{', whose noise is unknown' if seeds == {1} else 's'}" if seeds else ""
    clauses = []
    for outcome, verb in (
        ("better", "beats"),
        ("worse", "loses to"),
        ("no difference shown", "is not shown to differ from"),
        ("same mixture", "is the same mixture as"),
        ("not measured", "could not be compared with"),
    ):
        which = [c for c in mean if c.outcome == outcome]
        if which:
            clauses.append(f"{verb} {'; '.join(_phrases(which, randoms))}")
    if not clauses:
        return f"{what} on {where}: there is no baseline to compare with."
    corrected = f" (p corrected for {family} comparisons, intervals plain)" if family > 1 else ""
    return f"{what} on {where}{runs}{corrected}: selected {'. It '.join(clauses)}."


def _phrases(which: Sequence[Contrast], randoms: Sequence[str]) -> list[str]:
    """Baselines of one outcome with their figures; those that are one mixture, and the random ones, are taken together."""
    groups: dict[object, list[Contrast]] = {}
    for c in which:
        drawn = c.against in randoms and c.outcome != "not measured"
        own = (c.pgf, c.accuracy, c.reason) if c.outcome != "same mixture" else c.against
        groups.setdefault("random" if drawn else own, []).append(c)
    phrases = []
    for key, group in groups.items():
        names = [str(c.against) for c in group]
        if group[0].outcome == "not measured":
            phrases.append(f"{_join(names)} ({group[0].reason})")
        elif group[0].estimate is None:
            phrases.append(_join(names))
        elif key == "random" and len({c.estimate for c in group}) > 1:
            phrases.append(_range(_join(names), group))
        else:
            phrases.append(_figures(_join(names), group[0]))
    return phrases


def _range(names: str, group: Sequence[Contrast]) -> str:
    """Several baselines by their least and greatest difference."""
    sign = -1 if group[0].outcome == "worse" else 1
    values = sorted(sign * e.value for c in group if (e := c.estimate))
    form = ".3f" if sign < 0 else "+.3f"
    span = f"{values[0]:{form}} to {values[-1]:{form}}"
    if group[0].outcome == "no difference shown":
        return f"{names} ({span}, p at least {_p(min(_corrected(c) for c in group))})"
    return f"{names} by {span} (p at most {_p(max(_corrected(c) for c in group))})"


def _figures(name: str, c: Contrast) -> str:
    e = c.estimate
    if e is None:
        return name
    p = _corrected(c)
    p_text = f"p {'< ' if p < 0.001 else ''}{_p(p)}"
    if c.outcome == "worse":
        return f"{name} by {-e.value:.3f} (95% {-e.high:+.3f} to {-e.low:+.3f}, {p_text})"
    interval = f"95% {e.low:+.3f} to {e.high:+.3f}, {p_text}"
    return f"{name} by {e.value:+.3f} ({interval})" if c.outcome == "better" else f"{name} ({e.value:+.3f}, {interval})"


def _corrected(c: Contrast) -> float:
    return 1.0 if c.p_corrected is None else c.p_corrected


def _p(value: float) -> str:
    return "0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _highest(selected: Arm, gains: Sequence[Contrast]) -> str | None:
    """Which arm came out highest, shown to differ or not."""
    mean = {c.arm: c for c in gains if c.target is None}
    measure = measure_of(list(mean.values()))
    values = {label: v for label, c in mean.items() if (v := _value(c, measure)) is not None}
    if selected.label not in values or len(values) < 2:
        return None
    top = max(values, key=lambda label: (values[label], label == selected.label))
    if top == selected.label:
        return f"Selected came out highest ({values[top]:+.3f})."
    rank = 1 + sum(v > values[selected.label] for v in values.values())
    own = f"selected is number {rank} of {len(values)} ({values[selected.label]:+.3f})"
    return f"{_capital(top)} came out highest ({values[top]:+.3f}); {own}."


def _value(c: Contrast, measure: Tested) -> float | None:
    if c.outcome == "same mixture":
        return 0.0  # the base model's gain over itself
    e: Difference | None = c.pgf if measure == "pgf" else c.accuracy
    return None if e is None else e.value


def _base(mean: Sequence[Contrast]) -> str | None:
    """Which arms beat the base model on the mean."""
    parts = []
    for outcome, words in (("better", "better than it"), ("worse", "worse"), ("no difference shown", "not shown to differ")):
        which = [c.arm for c in mean if c.outcome == outcome]
        if which:
            parts.append(f"{words}: {_join(which)}")
    return f"Against the base model: {'; '.join(parts)}." if parts else None


def _targets(single: Sequence[Contrast], targets: int, family: int) -> str | None:
    """How often single targets tell the selected mixture from a baseline."""
    tested = [c for c in single if c.estimate is not None]
    if targets < 2 or not tested:
        return None
    better, worse = (sum(c.outcome == v for c in tested) for v in ("better", "worse"))
    corrected = f" (p corrected for {family}, apart from those on the mean)" if family > 1 else ""
    text = f"By single target, selected is better in {better}, worse in {worse} of {len(tested)} comparisons with baselines"
    return f"{text}{corrected}."


def _span(of: set[int]) -> str:
    return f"{min(of)}" if len(of) == 1 else f"{min(of)} to {max(of)}"


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
