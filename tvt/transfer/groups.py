"""Transfer between groups of tasks: perceptual levels and granularities, where the tasks' manifests give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix

ORDER = ("low", "mid", "high", "image", "crop", "patch", "pixel")
"""Usual order of the groups' names; others follow by name."""


@dataclass(frozen=True)
class GroupCell:
    """Mean PGF from the sources of one group to the targets of another, self-transfer left out."""

    mean: float
    cells: int
    """Number of (source, target) cells behind the mean."""


@dataclass(frozen=True)
class Grouping:
    """One way to group the tasks."""

    by: str
    """``level`` or ``granularity``."""
    groups: tuple[str, ...]
    cells: dict[tuple[str, str], GroupCell]
    """(group of the source, group of the target) -> mean; pairs without a measured cell are left out."""
    ungrouped: tuple[str, ...]
    """Tasks without a group, which are left out."""


def groupings(matrix: TransferMatrix, *, with_self: bool = False) -> tuple[Grouping, ...]:
    """The groupings that at least one task of the study takes part in."""
    found = (_grouping(matrix, by, with_self) for by in ("level", "granularity"))
    return tuple(grouping for grouping in found if grouping.groups)


def _grouping(matrix: TransferMatrix, by: str, with_self: bool) -> Grouping:
    group = {task.name: value for task in matrix.tasks if (value := getattr(task, by)) is not None}
    names = dict.fromkeys((*matrix.sources, *matrix.targets))
    mean = matrix.mean
    values: dict[tuple[str, str], list[float]] = {}
    for i, source in enumerate(matrix.sources):
        for j, target in enumerate(matrix.targets):
            if source in group and target in group and np.isfinite(mean[i, j]) and (with_self or source != target):
                values.setdefault((group[source], group[target]), []).append(float(mean[i, j]))
    used = {group[name] for name in names if name in group}
    order = sorted(used, key=lambda g: (ORDER.index(g) if g in ORDER else len(ORDER), g))
    cells = {pair: GroupCell(float(np.mean(of)), len(of)) for pair, of in values.items()}
    return Grouping(by, tuple(order), cells, tuple(name for name in names if name not in group))
