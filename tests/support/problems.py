"""Small random selection problems, and an optimiser that knows nothing of cvxpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec


def random_matrix(seed: int, sources: int, targets: int, runs: int = 3, centre: float = 0.0) -> TransferMatrix:
    rng = np.random.default_rng(seed)
    cube = rng.normal(centre, 0.2, (1, sources, targets)) + rng.normal(0, 0.03, (runs, sources, targets))
    return TransferMatrix.from_values(
        np.minimum(cube, 0.95),
        sources=[f"source_{i}" for i in range(sources)],
        targets=[f"target_{j}" for j in range(targets)],
        runs=[f"run_{k}" for k in range(runs)],
    )


def log_gains(weights: np.ndarray, mean: np.ndarray, kappa: float | None = 10.0) -> np.ndarray:
    """Gains (N, T) of mixtures (N, S), written out here a second time on purpose."""
    if kappa is None:
        return weights @ mean
    help_ = np.where(mean > 0, mean, 0.0)
    harm = np.where(mean < 0, -mean, 0.0)
    return np.log(1 + kappa * weights) / np.log(1 + kappa) @ help_ - weights @ harm


def brute_force(
    objective: Callable[[np.ndarray], np.ndarray], sources: int, *, feasible: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[float, np.ndarray]:
    """Best value over the simplex by random search that narrows around the best points found. (N, S) in, (N,) out."""
    rng = np.random.default_rng(0)
    pool = np.concatenate([np.eye(sources), np.full((1, sources), 1 / sources), rng.dirichlet(np.full(sources, 0.7), 20_000)])
    keep = pool[:0]
    for scale in (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003):
        points = np.concatenate([keep, pool])
        values = objective(points)
        if feasible is not None:
            values = np.where(feasible(points), values, -np.inf)
        keep = points[np.argsort(-values)[:40]]
        moves = keep[rng.integers(0, len(keep), 6000)] + rng.normal(0, scale, (6000, sources)) * (
            rng.random((6000, sources)) < 0.7
        )
        pool = np.maximum(moves, 0.0)
        pool = pool[pool.sum(axis=1) > 0]
        pool /= pool.sum(axis=1, keepdims=True)
    points = np.concatenate([keep, pool])
    values = objective(points)
    if feasible is not None:
        values = np.where(feasible(points), values, -np.inf)
    best = int(np.argmax(values))
    return float(values[best]), points[best]


def log_spec(**fields: Any) -> SelectionSpec:
    """A request under the log response, whose optimum these tests work out by other means."""
    return SelectionSpec(**{"response": "log", **fields})
