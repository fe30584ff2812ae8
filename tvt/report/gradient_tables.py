"""Transfer as gradients of the base model estimate it, beside what was measured: for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tvt.core.gradients import EstimatedCells
from tvt.core.matrix import TransferMatrix
from tvt.evidence.gradient_estimates import gradient_estimates, rank_within_targets
from tvt.report.style import (
    ESTIMATE,
    MISSING,
    MOST_ROWS,
    dense_table,
    grid_tables,
    number,
    plain,
    short_labels,
    shortened,
    titled,
)
from tvt.types import Floats


def gradients_json(matrix: TransferMatrix) -> dict[str, Any]:
    """What ``tvt analyze --json`` has of a study's gradients: the estimates and their calibration; nothing without any."""
    found = gradient_estimates(matrix)
    if found is None:
        return {}
    ranks = rank_within_targets(found.mean, _measured(found, matrix), _own(found))
    return {
        "gradients": found,
        "gradients_calibration": {
            "calibrated": found.calibration.calibrated,
            "runs": found.calibration.runs,
            "slope": found.calibration.slope,
            "slope_error": found.calibration.slope_error,
            "scatter": found.calibration.scatter,
            "rank_within": dict(zip(found.targets, ranks.tolist(), strict=True)),
            "rank_within_mean": _mean(ranks),
            "masked": found.masked,
        },
    }


def gradient_tables(matrix: TransferMatrix, width: int) -> Iterator[RenderableType]:
    """The estimates as a matrix, then each target's: whom they name best, what was measured of it, and their rank
    correlation.
    """
    found = gradient_estimates(matrix)
    if found is None:
        return
    labels = short_labels(matrix)
    title = "PGF x 100 as gradients of the base model estimate it, from row to column"
    yield from grid_tables(found.sources, found.targets, found.mean, labels=labels, width=width, title=title)
    measured, own = _measured(found, matrix), _own(found)
    ranks = rank_within_targets(found.mean, measured, own)
    table = dense_table("target", "rho", "estimated best", "estimate", "measured", "measured best")
    for j, target in enumerate(found.targets[:MOST_ROWS]):
        others = np.where(own[:, j], np.nan, found.mean[:, j])
        best, truly = _largest(others), _largest(np.where(own[:, j], np.nan, measured[:, j]))
        row = [MISSING] * 3
        if best is not None:
            error = f"{ESTIMATE}{found.mean[best, j]:+.3f} ±{found.se[best, j]:.3f}"
            row = [labels[found.sources[best]], error, number(float(measured[best, j]))]
        known = MISSING if truly is None else f"{labels[found.sources[truly]]} {measured[truly, j]:+.3f}"
        table.add_row(shortened(plain(target), 22), number(float(ranks[j])), *row, known)
    yield titled("Estimates from gradients beside what was measured (own data left out)", table)
    yield Text("\n".join(gradient_sentences(found, ranks)), style="dim")


def gradient_sentences(found: EstimatedCells, ranks: Floats) -> Iterator[str]:
    """How far the estimates are to be trusted, and which targets have none."""
    text = found.calibration.text
    yield f"{text[0].upper()}{text[1:]}."
    if np.isfinite(ranks).any():
        yield f"Within targets they rank sources as the measurements do at a mean correlation (rho) of {_mean(ranks):.2f}."
    for target, reason in found.masked.items():
        yield f"{plain(target)} has no estimate: {reason}."


def _measured(found: EstimatedCells, matrix: TransferMatrix) -> Floats:
    return matrix.reindex(sources=found.sources, targets=found.targets, missing=True).mean


def _own(found: EstimatedCells) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([[s == t for t in found.targets] for s in found.sources], dtype=bool)


def _largest(values: Floats) -> int | None:
    return int(np.nanargmax(values)) if np.isfinite(values).any() else None


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
