"""What any finetuning does to a target, and what a source does beyond it: ``PGF[i, j] = generic[j] + specific[i, j]``.

The generic part is measured by placebo runs, which teach nothing of any task; where a target has none, it is the mean over the
sources that are not the target's own. Generic effects are, say, learning the form of an answer, or losing a habit of the base.

Errors. Cells of a target share its questions and the base model's answers to them. Where the answers of the base and of all
runs go together alike, two cells' errors from the questions correlate by one half (``SHARED``), whatever that correlation is:
with a variance v of each accuracy and a correlation r of any two, a change has the variance ``2 v (1 - r)``, and two changes
from one base the covariance ``v (1 - r)``. Two finetuned models are rather more alike than one of them and the base, so that
differences of two cells are known better than that, and their errors here are on the safe side. Errors between runs are
independent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen
from tvt.stats.noise import pooled_degrees, pooled_variance
from tvt.stats.ranks import ZERO
from tvt.transfer.aggregates import run_mean
from tvt.transfer.noise import Significance, stand_out
from tvt.types import Bools, Floats

SHARED = 0.5
"""Correlation of the errors from the questions of two cells of a target."""
Origin = Literal["placebo", "sources", "none"]
_UNKNOWN = "no placebo and no other source was measured here, so what any finetuning does is not known"


class VarianceShares(NamedTuple):
    """Shares of the variance of the mean transfers between tasks; NaN where there is none."""

    target: float
    """Explained by the target alone: the R2 of the targets' means."""
    source: float
    """Explained by the source alone."""
    rest: float
    """Explained by neither of the two, at least 0. As own cells are left out, the two overlap by a little (by 0.01 or less in
    square studies of 13 tasks), which is counted with both."""


@dataclass(frozen=True)
class Split(Frozen):
    """The two parts of a study's mean matrix; NaN where a part is not known."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    generic: Floats
    """(targets,)."""
    generic_error: Floats
    """Standard error, (targets,): from runs and questions, and without placebos from the spread between the sources too."""
    origins: tuple[Origin, ...]
    """What tells the generic part of each target."""
    specific: Floats
    """(sources, targets)."""
    specific_error: Floats
    """Standard error, (sources, targets): of the cell and of the generic part, less what the two share."""
    p: Floats
    """Two-sided p that the specific part is 0, (sources, targets); NaN where runs or questions are too few to tell."""
    variance: VarianceShares
    significance: Significance | None = field(default=None)
    """Specific parts that differ from 0 (t tests, Holm); ``None`` where nothing can be tested."""

    @property
    def by_placebo(self) -> bool:
        """Whether placebo runs tell the generic part of some target."""
        return "placebo" in self.origins

    def json_value(self) -> dict[str, Any]:
        """The study's keys in ``tvt analyze --json``."""
        return {
            "generic": {
                target: {"mean": self.generic[j], "se": self.generic_error[j]} for j, target in enumerate(self.targets)
            },
            "generic_from": dict(zip(self.targets, self.origins, strict=True)),
            "specific": {
                source: {
                    target: {"mean": self.specific[i, j], "se": self.specific_error[i, j]}
                    for j, target in enumerate(self.targets)
                }
                for i, source in enumerate(self.sources)
            },
            "specific_stand_out": self.significance,
            "variance": self.variance._asdict(),
        }


class _Parts(NamedTuple):
    """The cells of one target, (sources,): means with the two kinds of noise."""

    mean: Floats
    between: Floats
    """Variance of the mean from the runs."""
    items: Floats
    """Standard error from the questions."""

    @property
    def alone(self) -> Floats:
        """Variance that a cell shares with no other."""
        alone: Floats = np.nan_to_num(self.between) + (1 - SHARED) * np.nan_to_num(self.items) ** 2
        return alone

    @property
    def unknown(self) -> Bools:
        """Whether neither noise is known."""
        return np.asarray(np.isnan(self.between) & np.isnan(self.items), dtype=bool)


class _Generic(NamedTuple):
    """The generic part of one target."""

    mean: float
    noise: float
    """Variance from the noise that is not shared with a cell through the questions."""
    spread: float
    """Variance from what its cells differ in beyond their noise: they stand for any finetuning."""
    items: float
    """Mean standard error from the questions of the cells that it is a mean of."""
    size: int
    """How many cells it is the mean of."""
    origin: Origin

    @property
    def alone(self) -> float:
        """Variance that is not shared with a cell through the questions."""
        return self.noise + self.spread

    @property
    def error(self) -> float:
        """Standard error."""
        return float(np.sqrt(self.alone + SHARED * self.items**2))


def split(matrix: TransferMatrix) -> Split:
    """Split every mean cell of a study into its generic and its specific part."""
    shape = len(matrix.sources), len(matrix.targets)
    specific, error, p = (np.full(shape, np.nan) for _ in range(3))
    found = []
    variances, degrees = _between(matrix)
    cells = _parts(matrix, variances)
    placebos = None if matrix.placebo is None else _parts(matrix.placebo, variances)
    own = matrix.self_cells
    for j in range(shape[1]):
        generic = _generic_part(cells[j], own[:, j], None if placebos is None else placebos[j])
        specific[:, j] = cells[j].mean - generic.mean
        error[:, j], p[:, j] = _specific_error(cells[j], own[:, j], generic, float(degrees[j]))
        found.append(generic)
    made = Split(
        sources=matrix.sources,
        targets=matrix.targets,
        generic=np.array([g.mean for g in found]),
        generic_error=np.array([g.error for g in found]),
        origins=tuple(g.origin for g in found),
        specific=specific,
        specific_error=error,
        p=p,
        variance=variance_shares(matrix),
    )
    return replace(made, significance=stand_out(matrix, p, specific))


def _between(matrix: TransferMatrix) -> tuple[Floats, Floats]:
    """Variance between the runs of a cell and its degrees of freedom, by target: placebos vary like sources."""
    values = [matrix.values, *([] if matrix.placebo is None else [matrix.placebo.values])]
    most = max(len(of) for of in values)
    padded = [np.concatenate([of, np.full((most - len(of), *of.shape[1:]), np.nan)]) for of in values]
    both = np.concatenate(padded, axis=1)
    return pooled_variance(both), pooled_degrees(both)


def _parts(matrix: TransferMatrix, variances: Floats) -> list[_Parts]:
    """The cells of each target."""
    between = variances / np.maximum(matrix.run_count, 1)
    columns = range(len(matrix.targets))
    return [_Parts(matrix.mean[:, j], between[:, j], matrix.item_error[:, j]) for j in columns]


def _generic_part(cells: _Parts, own: Bools, placebos: _Parts | None) -> _Generic:
    """The generic part of a target: from its placebos where there are any, else from its sources."""
    if placebos is not None and np.isfinite(placebos.mean).any():
        return _mean_of(placebos, np.isfinite(placebos.mean), "placebo")
    there = np.isfinite(cells.mean) & ~own
    if there.any():
        return _mean_of(cells, there, "sources")
    unknown = float("nan")
    return _Generic(unknown, unknown, unknown, unknown, 0, "none")


def _mean_of(cells: _Parts, there: Bools, origin: Origin) -> _Generic:
    """The mean of some cells as what any finetuning does."""
    count, mean = int(there.sum()), cells.mean[there]
    noise = float(cells.alone[there].mean())
    if count == 1:
        noise = float("nan") if cells.unknown[there].all() else noise
        spread = 0.0
    else:
        spread = max(0.0, float(mean.var(ddof=1)) - noise)
    items = float(np.nan_to_num(cells.items[there]).mean())
    return _Generic(float(mean.mean()), noise / count, spread / count, items, count, origin)


def _specific_error(cells: _Parts, own: Bools, generic: _Generic, degrees: float) -> tuple[Floats, Floats]:
    """Standard error and p of what is left of each cell of a target when the generic part is taken away."""
    # A source's own noise is in the mean over the sources too.
    inside = 2 / generic.size if generic.origin == "sources" else 0.0
    factor = np.where(own, 1.0, 1.0 - inside)
    shared = SHARED * (np.nan_to_num(cells.items) - generic.items) ** 2
    variance = np.maximum(factor * cells.alone + generic.alone + shared, 0.0)
    variance = np.where(cells.unknown | ~np.isfinite(cells.mean), np.nan, variance)
    runs = np.abs(factor) * np.nan_to_num(cells.between)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = (runs + generic.noise) ** 2 / degrees + generic.spread**2 / max(generic.size - 1, 1)
        freedom = variance**2 / known
        p = 2 * stats.t.sf(np.abs(cells.mean - generic.mean) / np.sqrt(variance), freedom)
    tellable = np.isfinite(cells.between) & np.isfinite(cells.items) & (variance > 0)
    return np.sqrt(variance), np.where(tellable, p, np.nan)


def variance_shares(matrix: TransferMatrix) -> VarianceShares:
    """How much of the variance of the mean transfers between tasks the target and the source explain, each alone."""
    mean = np.where(matrix.self_cells, np.nan, matrix.mean)
    known = np.isfinite(mean)
    total = float(((mean[known] - mean[known].mean()) ** 2).sum()) if known.any() else 0.0
    if total <= ZERO**2 * int(known.sum()):
        return VarianceShares(float("nan"), float("nan"), float("nan"))
    left = []
    for cells in (mean, mean.T):  # within each target, then within each source
        deviations = cells - run_mean(cells)
        left.append(float(np.nansum(deviations**2)) / total)
    target, source = 1 - left[0], 1 - left[1]
    return VarianceShares(target, source, max(0.0, 1 - target - source))


def specific_matrix(matrix: TransferMatrix, parts: Split | None = None) -> TransferMatrix:
    """The study with the generic part taken away, for whatever takes a matrix: its values are no PGF any more, but gains beyond
    any finetuning.

    The generic part of a target is the same in all runs. What its error adds to a cell's stands with that from the questions.

    Args:
        matrix: the study.
        parts: from :func:`split`, where that is done already.
    """
    parts = split(matrix) if parts is None else parts
    more = np.maximum(parts.specific_error**2 - np.nan_to_num(matrix.run_error) ** 2, 0.0)
    unknown = [t for t, origin in zip(matrix.targets, parts.origins, strict=True) if origin == "none"]
    reasons = {(run, source, target): _UNKNOWN for run in matrix.runs for source in matrix.sources for target in unknown}
    return replace(
        matrix,
        name=f"{matrix.name}-specific",
        values=matrix.values - parts.generic,
        item_errors=np.where(np.isfinite(matrix.values), np.sqrt(more), np.nan),
        reasons={**reasons, **matrix.reasons},
        metric="gain",
        evidence=None,
        placebo=None,
    )
