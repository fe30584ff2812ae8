"""Time `tvt select` on large problems, beside random search over 100,000 Dirichlet mixtures on the same objective.

    OMP_NUM_THREADS=1 taskset -c 0 python scripts/bench_select.py

Both see the same response, risk, caps and penalties; the search keeps the best mixture within the caps. Times are wall-clock,
for one core; solving includes building the problem. Prints the table that
tvt/docs/selecting.md shows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.selection.audit import objective_value, tidy
from tvt.selection.engine import Prepared, prepare
from tvt.types import Floats

MIXTURES = 100_000
BATCH = 2_000
CASES = (
    (13, 13, 0.3, False, 0.0),
    (100, 100, 0.1, False, 0.0),
    (1000, 100, 0.05, False, 0.0),
    (1000, 100, 0.05, True, 0.0),
    (1000, 100, 0.05, True, 1.0),
)
"""(sources, targets, cap of every source, soft no-harm on every target, its safety margin in standard errors)."""


@dataclass(frozen=True)
class Row:
    case: str
    seconds: float
    objective: float
    search_seconds: float
    search_objective: float


def made_study(sources: int, targets: int, seed: int = 0) -> TransferMatrix:
    """A matrix with source effects, cell effects and seed noise of the published figures' order, four runs."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(0, 0.15, (1, sources, targets)) + rng.normal(0, 0.05, (1, sources, 1))
    cells = cells + rng.normal(-0.1, 0.15, (1, 1, targets))  # some targets nearly everything harms: no-harm binds
    return TransferMatrix.from_values(
        cells + rng.normal(0, 0.03, (4, sources, targets)),
        sources=[f"source_{i}" for i in range(sources)],
        targets=[f"target_{j}" for j in range(targets)],
        runs=["a", "b", "c", "d"],
    )


def random_search(prepared: Prepared, seed: int = 1) -> tuple[float, float]:
    """Seconds, and the best objective among 100,000 mixtures: half even (alpha 1), half sparse (alpha 0.1)."""
    rng = np.random.default_rng(seed)
    sources, best = len(prepared.request.sources), -np.inf
    began = time.perf_counter()
    for batch in range(MIXTURES // BATCH):
        weights = rng.dirichlet(np.full(sources, 1.0 if batch % 2 else 0.1), BATCH)
        weights = weights[(weights <= prepared.request.caps).all(axis=1)]
        if len(weights):
            best = max(best, float(values(weights, prepared).max()))
    return time.perf_counter() - began, best


def values(weights: Floats, prepared: Prepared) -> Floats:
    """The objective of many mixtures at once (N,): mean gain, less risk, less the penalty for harm."""
    request, response, spec = prepared.request, prepared.response, prepared.spec
    scales = np.sqrt((response.filled_errors**2) @ request.weights**2)
    gains = response.gains(weights)
    total = gains @ request.weights - spec.risk * np.sqrt((weights**2) @ scales**2)
    if spec.protect:
        margin = spec.protect_z * np.sqrt((weights**2) @ response.filled_errors**2) if spec.protect_z else 0.0
        total -= spec.harm_penalty * np.maximum(request.limits - gains + margin, 0.0).sum(axis=1)
    result: Floats = total
    return result


def measure(sources: int, targets: int, cap: float, protect: bool, z: float) -> Row:
    spec = SelectionSpec(risk=1.0, caps={"all": cap}, protect={"all": 0.0} if protect else {}, protect_z=z)
    prepared = prepare(made_study(sources, targets), spec)
    prepared.solve()  # imports and caches of the solver are no part of the solving
    began = time.perf_counter()
    solution = prepared.solve()
    seconds = time.perf_counter() - began
    if solution.weights is None:
        raise SystemExit(f"{sources} x {targets}: {solution.status}")
    objective = objective_value(tidy(solution.weights, prepared.request), prepared.request, prepared.response)[0]
    search_seconds, found = random_search(prepared)
    harm = f", soft no-harm on {targets}" + (f" (z = {z:g})" if z else "") if protect else ""
    return Row(f"{sources:,} sources x {targets} targets, risk, caps{harm}", seconds, objective, search_seconds, found)


def main() -> None:
    print("| problem | solve | objective | 100,000 random mixtures | their best | search / solve |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        row = measure(*case)
        ratio = row.search_seconds / row.seconds
        shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
        print(
            f"| {row.case} | {row.seconds:.2f} s | {row.objective:.4f} | {row.search_seconds:.1f} s "
            f"| {row.search_objective:.4f} | {shown}x |",
            flush=True,
        )


if __name__ == "__main__":
    main()
