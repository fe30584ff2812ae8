"""Mixtures that were measured, and what other seeds and questions might have shown of single sources: means, bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.evidence.completion import Completed
from tvt.stats.noise import pooled_degrees
from tvt.types import Floats

SAMPLES = 200


class Measured(NamedTuple):
    """Mixtures that were measured, over a response's sources and targets: their ``names``, ``weights`` (N, S), mean ``gains``
    (N, T; NaN where missing) with standard ``errors`` (NaN where unknown), and how many ``runs`` they had (N,).
    """

    names: tuple[str, ...]
    weights: Floats
    gains: Floats
    errors: Floats
    runs: Floats


def group_runs(runs: MixtureRuns, gains: Floats, variance: Floats) -> Measured:
    """Runs by their mixture: gains (R, T) with the variance of a run's noise (R, T), NaN where unknown."""
    _, first, group = np.unique(np.round(runs.weights, 9), axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    count = np.bincount(group).astype(float)

    def mean(values: Floats) -> Floats:
        totals = np.zeros((len(count), values.shape[1]))
        np.add.at(totals, group, values)
        means: Floats = totals / count[:, None]
        return means

    names = [runs.ids[k] if n == 1 else runs.ids[k].rsplit("/", 1)[0] for k, n in zip(first, count, strict=True)]
    return Measured(tuple(names), runs.weights[first], mean(gains), np.sqrt(mean(variance) / count[:, None]), count)


def bootstrap_means(matrix: TransferMatrix, completed: Completed, seed: int, count: int = SAMPLES) -> Floats:
    """Mean matrices, (count, S, T) in the order of ``completed``.

    Runs are drawn with replacement (whole runs, as their cells share a seed), then each cell gets normal noise of its item
    error; a cell with one run gets noise of its whole error, and so does an estimated one.
    """
    rng = np.random.default_rng(seed)
    matrix = matrix.reindex(sources=completed.sources, targets=completed.targets)
    deviation = np.nan_to_num(matrix.values - matrix.mean)
    draws = rng.integers(0, len(matrix.runs), size=(count, len(matrix.runs)))
    shares = np.stack([np.bincount(d, minlength=len(matrix.runs)) for d in draws]) / len(matrix.runs)
    spread = np.einsum("bk,kst->bst", shares, deviation)
    # A resample of K runs, of which a cell has n, spreads by n (n - 1) / K^2 of the variance that it stands for.
    own = matrix.run_count
    spread *= len(matrix.runs) / np.sqrt(np.maximum(own * (own - 1), 1))
    once = own == 1
    item = np.nan_to_num(np.where(once, matrix.error, matrix.item_error))
    item = np.where(own > 0, item, np.nan_to_num(completed.errors))
    noise: Floats = rng.standard_normal(spread.shape) * item
    means: Floats = completed.mean + spread + noise
    return means


def lower_bounds(matrix: TransferMatrix, completed: Completed, confidence: float, candidates: int) -> Floats:
    """Lower confidence bounds of the gains, (S, T) in the order of ``completed``.

    A bound is one-sided at ``confidence``: ``mean - sqrt((t * seed error)^2 + (z * item error)^2)``. Seed noise is
    independent between sources, and the best of many is picked, so t carries Bonferroni's correction for the number of sources
    and the degrees of freedom of the target's variance between runs (:mod:`tvt.stats.noise`). Item noise is mostly shared by
    the sources (same questions, same base model), so z carries none.
    """
    matrix = matrix.reindex(sources=completed.sources, targets=completed.targets)
    seed = np.sqrt(np.nan_to_num(matrix.run_variance) / np.maximum(matrix.run_count, 1))
    t = stdtrit(pooled_degrees(matrix.values), 1 - (1 - confidence) / max(candidates, 1))
    margin = np.hypot(t * seed, float(ndtri(confidence)) * np.nan_to_num(matrix.item_error))
    bounds: Floats = completed.mean - margin
    return bounds
