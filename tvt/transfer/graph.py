"""The task-transfer graph."""

from __future__ import annotations

import networkx as nx
import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.transfer.noise import sign_unstable


def transfer_graph(matrix: TransferMatrix, *, threshold: float = 0.0, with_self: bool = False) -> nx.DiGraph:
    """The study as a directed graph, one edge per measured cell.

    Nodes are task names with ``short``, ``source`` and ``target`` (bool). Edges carry ``weight`` (mean PGF), ``error``
    (standard error from runs and questions together, ``None`` where unknown) and ``sign_stable`` (bool).

    Args:
        matrix: the study.
        threshold: edges with a smaller magnitude are left out.
        with_self: whether self-transfer makes loops.
    """
    graph = nx.DiGraph(name=matrix.name)
    for task in dict.fromkeys((*matrix.sources, *matrix.targets)):
        graph.add_node(task, short=matrix.short(task), source=task in matrix.sources, target=task in matrix.targets)
    mean, error, unstable = matrix.mean, matrix.error, sign_unstable(matrix.values)
    for i, source in enumerate(matrix.sources):
        for j, target in enumerate(matrix.targets):
            if not np.isfinite(mean[i, j]) or abs(mean[i, j]) < threshold or (source == target and not with_self):
                continue
            graph.add_edge(
                source,
                target,
                weight=float(mean[i, j]),
                error=float(error[i, j]) if np.isfinite(error[i, j]) else None,
                sign_stable=not unstable[i, j],
            )
    return graph
