"""The runs of a study as rows of its joint response: weights, values of h and their noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.evidence.completion import Completed
from tvt.evidence.kappa import run_noise
from tvt.evidence.priors import Priors
from tvt.evidence.response import Repeats
from tvt.types import Floats, Positions

LEAST_GAP = 0.02
"""Gains nearer to the ceiling than this share of the gap are taken for this near: their logarithm is all noise."""


UNKNOWN_NOISE = 0.3
"""Share of the variance between sources that is taken for noise where a study has one run and no counts of questions: public
single-source scores say as much of mixtures as if it were (rank correlations of .2 to .5)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The runs of a study: ``weights`` (n, S) and, for each target, ``inner`` values of h (n, T), NaN where missing, and
    variances of their ``noise`` (n, T) beside what all rows of a target share, ``shared`` (T,).
    """

    weights: Floats
    inner: Floats
    noise: Floats
    shared: Floats
    repeats: Repeats | None = None

    def take(self, keep: Positions) -> Rows:
        """Some of the rows (positions)."""
        return replace(self, weights=self.weights[keep], inner=self.inner[keep], noise=self.noise[keep])


def rows_of(
    matrix: TransferMatrix,
    completed: Completed,
    runs: MixtureRuns | None,
    priors: Priors,
    repeats: Repeats | None = None,
) -> tuple[Rows, Floats]:
    """The rows of a study, single sources first (one row each, the mean of its runs), and the variance of a new run (T,)."""
    measured = matrix.reindex(sources=completed.sources, targets=completed.targets)
    between, items = run_noise(measured)
    between = np.where(np.isfinite(measured.error).any(axis=0), between, _assumed_noise(measured))
    count = np.maximum(measured.run_count, 1)
    known = measured.run_count > 0
    shared = priors.shared_questions * items
    noise = np.where(known, between / count + items - shared, np.nan_to_num(completed.errors) ** 2)
    doses = matrix.dose
    weights, gains = np.diag([doses.get(s, 1.0) for s in completed.sources]), completed.mean
    if runs is not None:
        beside = runs.reindex(sources=completed.sources, targets=completed.targets)
        errors = np.where(np.isfinite(beside.known_errors), beside.known_errors**2, items)
        weights, gains = np.concatenate([weights, beside.weights]), np.concatenate([gains, beside.scores])
        noise = np.concatenate([noise, between + np.maximum(errors - shared, 0.1 * errors)])
    inner, inner_noise, gap = _to_inner(gains, noise, bounded=matrix.metric == "pgf")
    typical = np.nanmean(gap[: len(completed.sources)] ** -2, axis=0)
    rows = Rows(weights=weights, inner=inner, noise=inner_noise, shared=shared * typical, repeats=repeats)
    return rows, (between + items) * typical


def _assumed_noise(matrix: TransferMatrix) -> Floats:
    """Variance of a run's noise by target, (T,), where nothing is known of it: ``UNKNOWN_NOISE`` of the variance between other
    sources' cells.
    """
    cells = np.where(matrix.self_cells, np.nan, matrix.mean)
    known = np.isfinite(cells)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, cells, 0.0).sum(axis=0) / count
    variance: Floats = np.where(known, (cells - mean) ** 2, 0.0).sum(axis=0) / count
    return UNKNOWN_NOISE * variance


def _to_inner(gains: Floats, noise: Floats, *, bounded: bool) -> tuple[Floats, Floats, Floats]:
    """Gains and the variances of their noise as values of h, and the share of the gap that is left (1 without a ceiling)."""
    if not bounded:
        return gains, noise, np.ones_like(gains)
    gap = np.maximum(1 - gains, np.maximum(LEAST_GAP, np.sqrt(noise)))
    relative = noise / gap**2
    # The logarithm of a noisy gap is too large on average, by half its relative variance.
    return -np.log(gap) - 0.5 * np.minimum(relative, 0.5), relative, gap


def usable_runs(runs: MixtureRuns | None, completed: Completed) -> MixtureRuns | None:
    """The runs beside a study on its own sources, with a score of its targets: doses and mixtures."""
    if runs is None:
        return None
    foreign = [s not in completed.sources for s in runs.sources]
    telling = ~(runs.weights[:, foreign] > 1e-9).any(axis=1) & (runs.doses | runs.mixtures)
    runs = runs.reindex(targets=completed.targets)
    telling &= np.isfinite(runs.scores).any(axis=1)
    return runs.take(np.flatnonzero(telling).tolist()) if telling.any() else None
