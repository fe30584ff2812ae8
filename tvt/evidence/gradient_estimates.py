"""From gradients to PGF by a calibration on true runs.

The two-way model of :mod:`tvt.evidence.completion` has one more term. A cell's true PGF is

    level + row effect + column effect + slope * x + rest,

with x the change that gradients expect, in units of the root mean square of all changes between different tasks. So rows and
columns that were measured say what they said before, x says what is left within them, and the spread of the rest is learned
from the measured cells. Where x tells nothing, the slope falls to 0 and the estimates are the completion's.
"""

from __future__ import annotations

import numpy as np

from tvt.core.gradients import Calibration, EstimatedCells
from tvt.core.matrix import TransferMatrix
from tvt.evidence.completion import cell_model, run_variance
from tvt.evidence.gradients import RULE_OWN_SCATTER, covariate_of, in_units, rule_of_thumb, true_runs
from tvt.stats.ranks import rank_correlation
from tvt.types import Bools, Floats


def gradient_estimates(matrix: TransferMatrix) -> EstimatedCells | None:
    """What gradients say of every source and target of a study, own data included; ``None`` where it has none.

    The level of each target is that of the runs that are there, and no effect of a source is used: so an estimate and the
    measurement of the same source can be held against each other.
    """
    cells = matrix.gradients
    if cells is None:
        return None
    runs = true_runs(matrix)
    shown = matrix.reindex(sources=cells.sources, targets=cells.targets, missing=True)
    covariate = covariate_of(shown)
    if covariate is None:
        return rule_of_thumb(cells, runs)
    known = np.isfinite(shown.mean)
    model = cell_model(shown.mean, run_variance(shown), known, cells.own, covariate)
    mean, variance = model.without_rows()
    scatter = float(np.sqrt(np.median(variance[~cells.own])))
    if not known[cells.own].any():  # nothing was measured of how much more own data helps
        variance = variance + np.where(cells.own, RULE_OWN_SCATTER**2, 0.0)
    there = np.isfinite(cells.change)
    variance = variance + _extra_noise(in_units(cells)[1], model.fit.slope)
    return EstimatedCells(
        sources=cells.sources,
        targets=cells.targets,
        mean=np.where(there, mean, np.nan),
        se=np.where(there, np.sqrt(variance), np.nan),
        calibration=Calibration(
            runs=runs, calibrated=True, slope=model.fit.slope, slope_error=model.fit.slope_error, scatter=scatter
        ),
        masked=cells.masked,
    )


def _extra_noise(error: Floats, slope: float) -> Floats:
    """Variance of a cell beyond what the scatter holds: that has the noise of the rows and questions of a usual cell."""
    variance = np.nan_to_num(error) ** 2
    extra: Floats = slope**2 * np.maximum(variance - variance.mean(), 0.0)
    return extra


def rank_within_targets(estimate: Floats, measured: Floats, own: Bools) -> Floats:
    """Spearman's rank correlation of estimates with measurements over the sources of each target, own data left out,
    (targets,); NaN where fewer than three sources have both.

    Args:
        estimate, measured: (sources, targets), NaN where missing.
        own: which cells are a task's transfer to itself.
    """
    both = np.isfinite(estimate) & np.isfinite(measured) & ~own
    columns = zip(estimate.T, measured.T, both.T, strict=True)
    return np.array([rank_correlation(a[k], b[k]) if k.sum() > 2 else np.nan for a, b, k in columns])
