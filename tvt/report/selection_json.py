"""A selection as the versioned JSON object that scripts depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvt.core.mixture import FailedSelection, Prediction
from tvt.evidence.fit import FitReport
from tvt.evidence.kappa import Curvature
from tvt.report.preview_json import preview_json
from tvt.report.selection_tables import SelectionTold
from tvt.stats.intervals import known


def selection_json(told: SelectionTold) -> dict[str, Any]:
    """The object of ``tvt select --json``; the keys of the contract first, more behind them."""
    mixture = told.mixture
    answer: dict[str, Any] = {
        "schema": 1,
        "status": "optimal",
        "objective": mixture.objective,
        "weights": mixture.weights,
        "counts": mixture.counts,
        "verdict": mixture.verdict,
        "predicted": {t: p.model_dump(exclude_none=True) for t, p in mixture.predicted.items()},
        "prices": mixture.prices,
        "audit": mixture.audit.model_dump() if mixture.audit else None,
        "solver": mixture.solver.model_dump(include={"name", "status", "seconds"}) if mixture.solver else None,
        "harmed": [h.model_dump() for h in mixture.harmed],
        "credible": mixture.credible,
        "least_bad": mixture.least_bad,
        "notes": list(mixture.notes),
        "provenance": mixture.provenance,
    }
    if told.curvature is not None:
        answer["response"] = {"form": "log", **told.curvature.to_json()}
    if told.stability is not None:
        answer["stability"] = told.stability.to_json()
    if told.sensitivity:
        answer["sensitivity"] = {"kappa": {f"{kappa:.6g}": weights for kappa, weights in told.sensitivity.items()}}
    if told.frontier:
        answer["frontier"] = [point.to_json() for point in told.frontier]
    if told.preview is not None:
        answer["preview"] = preview_json(told.preview)
    if told.fit is not None:
        answer["fit"] = fit_json(told.fit)
    return answer


def failure_json(failed: FailedSelection) -> dict[str, Any]:
    """The object of ``tvt select --json`` where no mixture is feasible."""
    return {
        "schema": 1,
        "status": failed.status,
        "conflicts": list(failed.conflicts),
        "relaxation": failed.relaxation,
        "reason": failed.reason,
        "attempts": list(failed.attempts),
    }


def prediction_json(
    ids: Sequence[str],
    predictions: Sequence[Mapping[str, Prediction]],
    report: FitReport | None = None,
    curvature: Curvature | None = None,
) -> dict[str, Any]:
    """The object of ``tvt predict --json``: scores in the table's unit where it has one, else gains."""
    told: dict[str, Any] = {
        "schema": 1,
        "predictions": [
            {"mixture": name, "scores": {target: _score(p) for target, p in by_target.items()}}
            for name, by_target in zip(ids, predictions, strict=True)
        ],
    }
    if curvature is not None:
        told["response"] = {"form": "log", **curvature.to_json()}
    if report is not None:
        told["fit"] = fit_json(report)
    return told


def _score(p: Prediction) -> dict[str, Any]:
    """Value with interval, and the sources whose gain is an estimate.

    A score's interval is the gain's, moved to the score and turned over for losses.
    """
    if p.value is None:
        return {"value": p.gain, "low": p.low, "high": p.high, "estimated": list(p.estimated)}
    half = (p.high - p.low) / 2
    return {"value": p.value, "low": p.value - half, "high": p.value + half, "estimated": list(p.estimated)}


def fit_json(report: FitReport) -> dict[str, Any]:
    """How well a fitted response predicts unseen runs."""
    by_target = zip(report.targets, report.rank, report.linear_rank, report.rmse, strict=True)
    return {
        "runs": report.runs,
        "eps": list(report.form.offsets),
        "limit": report.form.headroom is not None,
        "ridge": report.form.ridge,
        "out_of_fold": {
            t: {"rank_correlation": known(r), "linear_rank_correlation": known(linear), "rmse": known(e)}
            for t, r, linear, e in by_target
        },
    }
