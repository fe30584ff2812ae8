"""A preview as part of the versioned JSON object that scripts depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tvt.core.preview import Gain, Preview, Previewed


def preview_json(preview: Preview) -> dict[str, Any]:
    """The key ``preview`` of ``tvt select --json``; what is not known is null."""
    return {
        "about": preview.notes[0] if preview.notes else "",
        "objective": preview.objective,
        "targets": list(preview.targets),
        "counting": dict(preview.counting),
        "selected": preview.selected,
        "candidates": [_candidate_json(p) for p in preview.candidates],
        "agreement": [asdict(a) for a in preview.agreement],
        "trained_error": preview.trained_error,
        "questions_asked": preview.asked,
        "notes": list(preview.notes),
    }


def _candidate_json(p: Previewed) -> dict[str, Any]:
    def gains(of: Mapping[str, Gain]) -> dict[str, Any]:
        return {t: {"gain": g.value, "error": g.error} for t, g in of.items()}

    return {
        "mixture": p.candidate.label,
        "about": p.candidate.about,
        "weights": p.candidate.weights,
        "counts": dict(p.candidate.counts),
        "objective": {figure: p.objective.get(figure) for figure in ("merged", "predicted", "linear", "trained")},
        "merged": gains(p.merged),
        "predicted": {t: {**told, "estimated": list(p.predicted[t].estimated)} for t, told in gains(p.predicted).items()},
        "linear": dict(p.linear),
        "trained": gains(p.trained),
        "seeds": {"merged": list(p.merged_seeds), "trained": list(p.trained_seeds)},
        "missing": p.missing,
    }
