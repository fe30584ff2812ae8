"""What a row, a column or a group of tasks amounts to: transferability, malleability, and transfer between groups.

Groups are perceptual levels and granularities, where the tasks' manifests give them.

Source of the formula: Sachdeva, Uppal, Java, Balasubramanian, CVPR 2026, arXiv 2511.18787.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.values import Frozen, by_fields
from tvt.stats.noise import Interval, jackknife_error, run_interval
from tvt.stats.ranks import ZERO
from tvt.types import Bools, Floats


@dataclass(frozen=True)
class Aggregate(Frozen):
    """Positive and negative aggregate of each task of one side, shape (tasks,); NaN where nothing was measured."""

    names: tuple[str, ...] = field(metadata={"json": None})
    positive: Floats
    negative: Floats
    """At most 0."""
    positive_error: Floats = field(metadata={"json": "positive_se"})
    """Standard error from the runs (jackknife); NaN with one run."""
    negative_error: Floats = field(metadata={"json": "negative_se"})
    positive_item_error: Floats = field(metadata={"json": "positive_se_items"})
    """Standard error from the finite number of questions (propagated); NaN where counts are unknown or no cell has
    the sign."""
    negative_item_error: Floats = field(metadata={"json": "negative_se_items"})

    def json_value(self) -> dict[str, Any]:
        """The figures by task."""
        columns = by_fields(self)
        return {name: {key: values[at] for key, values in columns.items()} for at, name in enumerate(self.names)}


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


ORDER = ("low", "mid", "high", "image", "crop", "patch", "pixel")
"""Usual order of the groups' names; others follow by name."""
MEASURES: Mapping[str, tuple[str, int]] = {
    "helps": ("source", 1),
    "harms": ("source", -1),
    "is_helped": ("target", 1),
    "is_harmed": ("target", -1),
}
"""Transferability of a group's sources to all targets, malleability of its targets by all sources; side and sign."""


@dataclass(frozen=True)
class GroupCell:
    """Mean PGF from the sources of one group to the targets of another, self-transfer left out."""

    mean: float
    cells: int
    """Number of (source, target) cells behind the mean."""
    interval: Interval
    """Of the mean, from the spread between runs."""
    item_error: float
    """Standard error from the finite number of questions, at most: a target's cells share its questions and base row, so their
    errors are added up; those of different targets are independent. NaN where counts are unknown."""

    def json_value(self) -> dict[str, Any]:
        """The interval's keys with the cell's own."""
        return {**by_fields(self.interval), "mean": self.mean, "cells": self.cells, "se_items": self.item_error}


@dataclass(frozen=True)
class Grouping(Frozen):
    """One way to group the tasks."""

    by: str
    """``level`` or ``granularity``."""
    groups: tuple[str, ...]
    cells: dict[tuple[str, str], GroupCell]
    """(group of the source, group of the target) -> mean; pairs without a measured cell are left out."""
    members: dict[str, tuple[str, ...]]
    """Tasks of each group."""
    means: dict[str, dict[str, Interval]]
    """Group -> a measure (``helps``, ``harms``, ``is_helped``, ``is_harmed``) -> mean over its tasks that have it."""
    ungrouped: tuple[str, ...]
    """Tasks without a group, which are left out of the groups; they count among all sources and targets."""

    def json_value(self) -> dict[str, Any]:
        """The keys of the grouping in ``tvt analyze --json``."""
        cells: dict[str, dict[str, GroupCell]] = {}
        for (source, target), cell in self.cells.items():
            cells.setdefault(source, {})[target] = cell
        return {"mean": cells, "members": self.members, "tasks": self.means, "ungrouped": self.ungrouped}


def groupings(matrix: TransferMatrix, *, with_self: bool = False) -> tuple[Grouping, ...]:
    """The groupings that at least one task of the study takes part in."""
    found = (_grouping(matrix, by, with_self) for by in ("level", "granularity"))
    return tuple(grouping for grouping in found if grouping.groups)


def _grouping(matrix: TransferMatrix, by: str, with_self: bool) -> Grouping:
    names = tuple(dict.fromkeys((*matrix.sources, *matrix.targets)))
    group = {task.name: value for task in matrix.tasks if task.name in names and (value := getattr(task, by)) is not None}
    order = tuple(sorted(set(group.values()), key=lambda g: (ORDER.index(g) if g in ORDER else len(ORDER), g)))
    values = matrix.values if with_self else np.where(matrix.self_cells, np.nan, matrix.values)
    cells: dict[tuple[str, str], GroupCell] = {}
    for one in order:
        for other in order:
            chosen = np.outer(_in(matrix.sources, group, one), _in(matrix.targets, group, other))
            cell = _cell(values, matrix.item_error, chosen)
            if cell is not None:
                cells[one, other] = cell
    return Grouping(
        by=by,
        groups=order,
        cells=cells,
        members={g: tuple(name for name in names if group.get(name) == g) for g in order},
        means={g: _means(values, _in(matrix.sources, group, g), _in(matrix.targets, group, g)) for g in order},
        ungrouped=tuple(name for name in names if name not in group),
    )


def _in(names: tuple[str, ...], group: Mapping[str, str], wanted: str) -> Bools:
    return np.array([group.get(name) == wanted for name in names], dtype=bool)


def _cell(values: Floats, items: Floats, chosen: Bools) -> GroupCell | None:
    """The mean over the chosen cells, from (runs, sources, targets); ``None`` where none was measured."""
    kept = chosen & np.isfinite(run_mean(values))
    count = int(kept.sum())
    if not count:
        return None
    value = _mean(run_mean(values)[kept])
    interval = run_interval(value, np.array([_mean(left[kept]) for left in leave_one_out(values)]))
    summed = np.where(kept, items, 0.0).sum(axis=0)
    return GroupCell(value, count, interval, float(np.sqrt((summed**2).sum())) / count)


def _means(values: Floats, sources: Bools, targets: Bools) -> dict[str, Interval]:
    """Every measure's mean over the tasks of a group."""
    found = {}
    for what, (side, sign) in MEASURES.items():
        chosen, cube = (sources, values) if side == "source" else (targets, np.swapaxes(values, 1, 2))
        whole = _mean(aggregate(run_mean(cube), sign)[chosen])
        left = np.array([_mean(aggregate(of, sign)[chosen]) for of in leave_one_out(cube)])
        found[what] = run_interval(whole, left)
    return found


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
