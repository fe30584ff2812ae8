"""Predicted against realised gain: did the ranking hold, are the intervals honest, and how much of the promise was luck?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from tvt.compare.comparison import Calibration, Contrast, Difference, Point
from tvt.core.arms import Arm
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Prediction
from tvt.core.selection import SelectionSpec
from tvt.evidence.predict import predict
from tvt.stats.intervals import known, normal_factor
from tvt.stats.ranks import rank_correlation

FEWEST = 5
"""Points below which a correlation, a line or a share says nothing."""
FEWEST_ENTRIES = 4
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
    by_target = {
        t: _rank([p for p in points if p.target == t], FEWEST_ENTRIES) for t in dict.fromkeys(p.target for p in points)
    }
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
    predictable = [arm for arm in arms if arm.counts and set(arm.counts) <= known]
    if not predictable:
        return []
    sources = sorted(known)
    shares = np.array([[arm.counts.get(s, 0) / sum(arm.counts.values()) for s in sources] for arm in predictable])
    predicted, _, _ = predict(matrix, shares, sources, spec)
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
