"""Transferability of sources and malleability of targets: what a row or a column of the matrix amounts to.

Source of the formula: Sachdeva, Uppal, Java, Balasubramanian, CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.frozen import Frozen
from tvt.core.matrix import TransferMatrix
from tvt.stats.noise import jackknife_error
from tvt.stats.ranks import ZERO
from tvt.types import Bools, Floats


@dataclass(frozen=True)
class Aggregate(Frozen):
    """Positive and negative aggregate of each task of one side, shape (tasks,); NaN where nothing was measured."""

    names: tuple[str, ...]
    positive: Floats
    negative: Floats
    """At most 0."""
    positive_error: Floats
    """Standard error from the runs (jackknife); NaN with one run."""
    negative_error: Floats
    positive_item_error: Floats
    """Standard error from the finite number of questions (propagated); NaN where counts are unknown or no cell has
    the sign."""
    negative_item_error: Floats


def aggregate(values: Floats, sign: int) -> Floats:
    """``((1 - exp(-p/N)) / p) * sum of the cells of that sign`` over the last axis; 0 when p = 0, NaN when N = 0.

    p is the number of cells with the sign, N the number of cells that are not NaN. p/N damps a task that owes its sum to a
    few cells.

    Args:
        values: PGF, (..., cells), NaN where masked or left out.
        sign: 1 for the positive aggregate, -1 for the negative one (a value <= 0).
    """
    chosen = sign * values > ZERO
    total: Floats = _factor(values, chosen) * np.sum(np.where(chosen, values, 0.0), axis=-1)
    return total


def transferability(matrix: TransferMatrix, *, with_self: bool = False) -> Aggregate:
    """What each source does to the targets, from the mean over the runs. Self-transfer is left out unless asked for."""
    return _side(matrix.sources, _without_self(matrix, with_self), _item_errors(matrix, with_self))


def malleability(matrix: TransferMatrix, *, with_self: bool = False) -> Aggregate:
    """What the sources do to each target, from the mean over the runs. Self-transfer is left out unless asked for.

    The item errors take a target's cells as independent; they share its base row, so the true ones are larger.
    """
    values, items = _without_self(matrix, with_self), _item_errors(matrix, with_self)
    return _side(matrix.targets, np.swapaxes(values, 1, 2), items.T)


def per_run(matrix: TransferMatrix, side: str, sign: int, *, with_self: bool = False) -> Floats:
    """An aggregate in every run by itself.

    Args:
        matrix: the study.
        side: ``source`` (transferability) or ``target`` (malleability).
        sign: 1 or -1.
        with_self: whether self-transfer counts.

    Returns:
        (runs, tasks of the side), NaN where a run has no cell of the task.
    """
    values = _without_self(matrix, with_self)
    return aggregate(values if side == "source" else np.swapaxes(values, 1, 2), sign)


def run_mean(values: Floats) -> Floats:
    """Mean over the first axis without NaN, and NaN where nothing is left."""
    count = np.isfinite(values).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def leave_one_out(values: Floats) -> Floats:
    """Mean matrices with one run left out each, (runs, rows, columns); empty with fewer than two runs."""
    runs = len(values)
    if runs < 2:
        return values[:0]
    return np.stack([run_mean(np.delete(values, k, axis=0)) for k in range(runs)])


def _side(names: tuple[str, ...], values: Floats, items: Floats) -> Aggregate:
    """Aggregates over the last axis of (runs, tasks, cells)."""
    mean, others = run_mean(values), leave_one_out(values)
    positive, negative = (aggregate(mean, sign) for sign in (1, -1))
    return Aggregate(
        names,
        positive,
        negative,
        *(jackknife_error(aggregate(others, sign)) for sign in (1, -1)),
        *(_propagated(mean, items, sign) for sign in (1, -1)),
    )


def _propagated(mean: Floats, items: Floats, sign: int) -> Floats:
    """Root of the summed squares of the chosen cells' errors, times the factor (p held fixed); NaN where none is chosen."""
    chosen = sign * mean > ZERO
    total = np.sqrt(np.sum(np.where(chosen, items, 0.0) ** 2, axis=-1))
    known = np.isfinite(np.where(chosen, items, 0.0)).all(axis=-1) & chosen.any(axis=-1)
    return np.where(known, _factor(mean, chosen) * total, np.nan)


def _factor(values: Floats, chosen: Bools) -> Floats:
    """(1 - exp(-p/N)) / p, 0 where p = 0, NaN where N = 0."""
    p, n = chosen.sum(axis=-1), np.isfinite(values).sum(axis=-1)
    factor = (1 - np.exp(-p / np.maximum(n, 1))) / np.maximum(p, 1)
    return np.where(n > 0, np.where(p > 0, factor, 0.0), np.nan)


def _without_self(matrix: TransferMatrix, with_self: bool) -> Floats:
    return matrix.values if with_self else np.where(matrix.self_cells, np.nan, matrix.values)


def _item_errors(matrix: TransferMatrix, with_self: bool) -> Floats:
    return matrix.item_error if with_self else np.where(matrix.self_cells, np.nan, matrix.item_error)
