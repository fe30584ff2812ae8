"""Graphs of a study: the largest cliques, in which every ordered pair transfers with the same sign, and the graph of all
transfers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import networkx as nx
import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.stats.ranks import ZERO, least_p, signed_rank_p
from tvt.transfer.aggregates import run_mean
from tvt.transfer.noise import sign_unstable
from tvt.types import Bools, Floats

MOST_VISITED = 100_000
"""Maximal cliques looked at; a dense graph of hundreds of tasks can have more than anyone can wait for."""


@dataclass(frozen=True)
class Cliques:
    """The largest cliques of a sign graph: tasks sorted by name, cliques sorted; none where no pair is mutual."""

    members: tuple[tuple[str, ...], ...]
    complete: bool = True
    """Whether the search saw every clique; otherwise a larger one may exist."""

    @property
    def size(self) -> int:
        """Number of tasks in the largest cliques, 0 where there is none."""
        return len(self.members[0]) if self.members else 0


def mean_cliques(matrix: TransferMatrix, sign: int, threshold: float = 0.0) -> Cliques:
    """Largest cliques in the mean matrix: both directions have the sign, and a magnitude above ``threshold``.

    Args:
        matrix: only tasks that are both source and target take part; a missing cell makes no edge.
        sign: 1 for tasks that help each other, -1 for tasks that harm each other.
        threshold: least magnitude of the mean PGF (exclusive), 0 or more.
    """
    tasks, values = _square(matrix)
    mean = run_mean(values)
    return largest_cliques(tasks, sign * mean > max(threshold, ZERO))


def every_run_cliques(matrix: TransferMatrix, sign: int) -> Cliques:
    """Largest cliques whose cells have the sign in every run; a cell missing in a run makes no edge."""
    tasks, values = _square(matrix)
    if not len(values):  # what nobody measured has no sign
        return Cliques(())
    return largest_cliques(tasks, np.asarray(np.all(sign * values > ZERO, axis=0), dtype=bool))


def cliques_by_test(matrix: TransferMatrix, sign: int, *, alpha: float) -> Cliques:
    """Largest cliques whose cells have the sign by a one-sided Wilcoxon signed-rank test over the runs, p <= ``alpha``.

    With K runs p cannot go below 2^-K (0.0625 with 4), so at 0.01 fewer than 7 runs never give an edge: see ``least_p``.
    """
    tasks, values = _square(matrix)
    if least_p(len(matrix.runs)) > alpha:
        return Cliques(())
    passes = [[signed_rank_p(sign * values[:, i, j]) <= alpha for j in range(len(tasks))] for i in range(len(tasks))]
    return largest_cliques(tasks, np.array(passes, dtype=bool).reshape(len(tasks), len(tasks)))


def largest_cliques(tasks: tuple[str, ...], directed: Bools) -> Cliques:
    """Largest cliques of at least two tasks.

    Args:
        tasks: names.
        directed: whether i has the sign on j, (tasks, tasks); an edge needs both directions.
    """
    graph = nx.Graph()
    # Positions, not names: the order of a search that is cut short must not hang on the hashes of strings.
    graph.add_nodes_from(range(len(tasks)))
    graph.add_edges_from(np.argwhere(np.triu(directed & directed.T, k=1)).tolist())
    found = nx.find_cliques(graph)
    largest = _largest(islice(found, MOST_VISITED))
    named = sorted(tuple(sorted(tasks[i] for i in clique)) for clique in largest)
    return Cliques(tuple(named), complete=next(found, None) is None)


def _largest(cliques: Iterable[list[int]]) -> list[list[int]]:
    largest: list[list[int]] = []
    size = 2
    for clique in cliques:
        if len(clique) > size:
            size, largest = len(clique), []
        if len(clique) == size:
            largest.append(clique)
    return largest


def _square(matrix: TransferMatrix) -> tuple[tuple[str, ...], Floats]:
    """The tasks that are both source and target, and their values, (runs, tasks, tasks)."""
    tasks = tuple(s for s in matrix.sources if s in matrix.targets)
    return tasks, matrix.reindex(sources=tasks, targets=tasks).values


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
