"""In what order the heatmap lists the tasks, and where the graph puts them: computed here, the same for every reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from tvt.core.matrix import TransferMatrix
from tvt.transfer.analysis import StudyAnalysis
from tvt.types import Floats

LEVELS = ("low", "mid", "high")
STRONGEST = 3
"""Transfers per task that pull nodes together in the start layout; all of a dense graph's would make one clump."""
LEAST_DISTANCE = 1.15
"""Least distance of two nodes in the start layout, in units of their share of the area."""

Names = tuple[str, ...]


def tasks_of(matrix: TransferMatrix) -> Names:
    """Sources and targets, each once."""
    return tuple(dict.fromkeys((*matrix.sources, *matrix.targets)))


def orders(study: StudyAnalysis) -> dict[str, dict[str, list[int]]]:
    """Ways to list the heatmap: name -> ``rows`` (positions of sources) and ``columns`` (positions of targets).

    ``cluster``: tasks that transfer alike side by side. ``study``: as the study lists them. ``name``. ``transferability``: the
    sources that do most good first, and the targets that gain most. ``level``: low, mid, high, where the tasks have one.
    """
    matrix = study.matrix
    names = tasks_of(matrix)
    ranked = {name: at for at, name in enumerate(cluster_order(matrix))}
    levels = {task.name: task.level for task in matrix.tasks}
    result = {
        "cluster": _sides(matrix, lambda name: ranked[name]),
        "study": _sides(matrix, names.index),
        "name": _sides(matrix, lambda name: (name.casefold(), name)),
        "transferability": {
            "rows": _descending(study.transferability.positive, study.transferability.negative),
            "columns": _descending(study.malleability.positive, study.malleability.negative),
        },
    }
    if any(levels.get(name) for name in names):
        result["level"] = _sides(matrix, lambda name: (_level(levels.get(name)), ranked[name]))
    return result


def cluster_order(matrix: TransferMatrix) -> Names:
    """All tasks, those side by side that transfer alike: average linkage of what they give and get, leaves in optimal order.

    A missing cell counts as 0 here, and here alone.
    """
    names = tasks_of(matrix)
    if len(names) < 3:
        return names
    gives = np.nan_to_num(matrix.reindex(sources=names).mean)
    gets = np.nan_to_num(matrix.reindex(targets=names).mean).T
    tree = linkage(pdist(np.hstack([gives, gets])), method="average", optimal_ordering=True)
    return tuple(names[at] for at in leaves_list(tree))


def start_layout(matrix: TransferMatrix) -> list[list[float]]:
    """Where the graph's nodes start, in [0, 1] x [0, 1], one per task of :func:`tasks_of`.

    A spring layout from the circle in cluster order, pulled by the strongest transfers; then nodes that lie too near each
    other are moved apart. No randomness is left in it.
    """
    names, order = tasks_of(matrix), cluster_order(matrix)
    if len(names) == 1:
        return [[0.5, 0.5]]
    angles = {name: 2 * np.pi * at / len(order) for at, name in enumerate(order)}
    start = {name: (float(np.cos(a)), float(np.sin(a))) for name, a in angles.items()}
    graph = _pulls(matrix, names)
    distance = 2.2 / np.sqrt(len(names))
    placed = nx.spring_layout(graph, k=distance, pos=start, iterations=60, weight="weight", seed=0)
    places = _apart(np.array([placed[name] for name in names], dtype=float))
    return [[round(float(x), 4), round(float(y), 4)] for x, y in places]


def _pulls(matrix: TransferMatrix, names: Names) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(names)
    mean = np.nan_to_num(np.where(matrix.self_cells, 0.0, matrix.mean))
    limit = max(float(np.abs(mean).max()), 1e-9)
    for i, source in enumerate(matrix.sources):
        for j in np.argsort(-np.abs(mean[i]), kind="stable")[:STRONGEST]:
            if mean[i, j]:
                weight = abs(float(mean[i, j])) / limit
                chosen = graph.get_edge_data(source, matrix.targets[j], {"weight": 0.0})["weight"]
                graph.add_edge(source, matrix.targets[j], weight=max(weight, chosen))
    return graph


def _apart(places: Floats) -> Floats:
    """The places within the unit square, none nearer to another than its share of the area allows."""
    least = LEAST_DISTANCE / np.sqrt(len(places)) * 0.62
    places = _fitted(places)
    for _ in range(200):
        step = places[:, None] - places[None]
        distance = np.hypot(step[..., 0], step[..., 1]) + np.eye(len(places)) * 9
        short = np.clip(least - distance, 0, None)
        if not short.any():
            break
        push = (step / np.maximum(distance, 1e-6)[..., None] * short[..., None]).sum(axis=1)
        places = np.clip(places + 0.5 * push, 0, 1)
    return _fitted(places)


def _fitted(places: Floats) -> Floats:
    low, high = places.min(axis=0), places.max(axis=0)
    fitted: Floats = np.where(high > low, (places - low) / np.maximum(high - low, 1e-9), 0.5)
    return fitted


def _sides(matrix: TransferMatrix, key: Callable[[str], Any]) -> dict[str, list[int]]:
    return {
        "rows": sorted(range(len(matrix.sources)), key=lambda i: key(matrix.sources[i])),
        "columns": sorted(range(len(matrix.targets)), key=lambda j: key(matrix.targets[j])),
    }


def _descending(positive: Floats, negative: Floats) -> list[int]:
    """Positions by the sum of both aggregates, largest first; what was not measured comes last."""
    net = np.where(np.isfinite(positive + negative), positive + negative, -np.inf)
    return [int(at) for at in np.argsort(-net, kind="stable")]


def _level(level: str | None) -> tuple[int, str]:
    if level is None:
        return len(LEVELS) + 1, ""
    return (LEVELS.index(level), "") if level in LEVELS else (len(LEVELS), level)
