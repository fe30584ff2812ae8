"""A comparison as the versioned JSON object that scripts depend on."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from tvt.compare.comparison import Calibration, Comparison, Contrast


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The object of ``tvt compare --json``. What is not known is null, never NaN."""
    mean = {c.against: c.verdict for c in comparison.differences if c.target is None}
    answer = {
        "schema": 1,
        "verdict": mean,
        "sentences": list(comparison.verdict),
        "entries": [e.model_dump() for e in comparison.entries],
        "same": dict(comparison.same),
        "targets": list(comparison.targets),
        "counting": dict(comparison.counting),
        "objective": comparison.objective,
        "seeds": list(comparison.seeds),
        "base": dict(comparison.base),
        "ceilings": dict(comparison.ceilings),
        "questions": dict(comparison.questions),
        "gains": [_contrast(c) for c in comparison.gains],
        "gains_family": comparison.gains_family,
        "differences": [_contrast(c) for c in comparison.differences],
        "differences_family": comparison.differences_family,
        "promise": _promise(comparison.calibration),
        "missing": [asdict(m) for m in comparison.missing],
        "questions_shared": comparison.questions_shared,
        "notes": list(comparison.notes),
    }
    cleaned: dict[str, Any] = _clean(answer)
    return cleaned


def _contrast(c: Contrast) -> dict[str, Any]:
    """``against`` null is the base model, ``target`` null the mean over the counting targets."""
    return asdict(c)


def _promise(of: Calibration) -> dict[str, Any]:
    return {**asdict(of), "rank_by_target": dict(of.rank_by_target), "notes": list(of.notes)}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
