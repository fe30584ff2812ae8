"""What gradients say of cells before any calibration: changes in units, and a rule of thumb of what they come to.

The slope of PGF on changes has a normal prior, learned on the two studies of the miniature: one tiny base model and drawn
tasks. It is all that there is where fewer than :data:`LEAST_RUNS` true runs are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tvt.core.gradients import Calibration, EstimatedCells, GradientCells
from tvt.core.matrix import TransferMatrix
from tvt.types import Floats

LEAST_RUNS = 5
"""True runs without which nothing is calibrated."""
PRIOR_SLOPE, PRIOR_SLOPE_SD = 0.06, 0.04
"""PGF a unit, and its standard deviation: on the two studies it was 0.04 to 0.07, and elsewhere it may be nothing."""
RULE_SCATTER = 0.2
"""Standard deviation of PGF around an estimate that is not calibrated: about that of all PGF between tasks (0.14 and 0.21 on
the two studies), so that no such estimate is credible.
"""
RULE_OWN_SCATTER = 0.4
"""The same for a task's own data, which helps it more than others by an amount that gradients do not tell."""


class Covariate(NamedTuple):
    """What is known of every cell beside the measurements, ``x`` (rows, columns), and the normal prior of its slope."""

    x: Floats
    slope: float
    sd: float


def in_units(cells: GradientCells) -> tuple[Floats, Floats]:
    """Changes and their errors as multiples of the root mean square of the changes between different tasks, for each quantity
    by itself: the probability of a letter and the likelihood of a text have no common unit.
    """
    change, error = np.array(cells.change), np.array(cells.error)
    kinds = np.array([cells.quantities.get(target, "") for target in cells.targets])
    for kind in dict.fromkeys(kinds.tolist()):
        at = kinds == kind
        between = change[:, at][~cells.own[:, at] & np.isfinite(change[:, at])]
        unit = float(np.sqrt((between**2).mean())) if between.size else 0.0
        change[:, at] /= unit or 1.0
        error[:, at] /= unit or 1.0
    return change, error


def true_runs(matrix: TransferMatrix) -> int:
    """How many runs on single sources have a cell."""
    return int(np.isfinite(matrix.values).any(axis=2).sum())


def is_calibrated(matrix: TransferMatrix) -> bool:
    """Whether a study has gradients, and true runs enough to calibrate them."""
    return matrix.gradients is not None and true_runs(matrix) >= LEAST_RUNS


def covariate_of(matrix: TransferMatrix) -> Covariate | None:
    """The changes that gradients expect of each cell of a matrix, in units, 0 where there is none; ``None`` where they cannot
    be calibrated.
    """
    if matrix.gradients is None or not is_calibrated(matrix):
        return None
    cells = matrix.gradients
    whole = in_units(cells)[0]
    x = cells.reindex(matrix.sources, matrix.targets, change=whole).change
    return Covariate(np.nan_to_num(x), PRIOR_SLOPE, PRIOR_SLOPE_SD)


def rule_of_thumb(cells: GradientCells, runs: int) -> EstimatedCells:
    """Estimates that rest on no measured cell, with wide errors: their order within a target is what they say."""
    x, error = in_units(cells)
    reach = np.hypot(PRIOR_SLOPE_SD * x, PRIOR_SLOPE * np.nan_to_num(error))
    return EstimatedCells(
        sources=cells.sources,
        targets=cells.targets,
        mean=PRIOR_SLOPE * x,
        se=np.hypot(np.where(cells.own, RULE_OWN_SCATTER, RULE_SCATTER), reach),
        calibration=Calibration(
            runs=runs, calibrated=False, slope=PRIOR_SLOPE, slope_error=PRIOR_SLOPE_SD, scatter=RULE_SCATTER
        ),
        masked=cells.masked,
    )
