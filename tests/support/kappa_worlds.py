"""Studies with mixture and dose runs, drawn from a world whose kappa is known."""

from __future__ import annotations

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import MixtureScore, Score

DOSES = (0.1, 0.25, 0.5)


def world(
    seed: int,
    kappa: float,
    *,
    sources: int = 4,
    targets: int = 5,
    runs: int = 3,
    questions: int = 300,
    centre: float = 0.1,
    spread: float = 0.12,
    seed_noise: float = 0.015,
    shared_noise: float = 0.0,
    doses: int = 8,
    mixtures: int = 10,
) -> tuple[list[Score], list[MixtureScore]]:
    """Counts on questions that all runs share: four in five answers depend on the question's difficulty, the others on the run.

    ``shared_noise`` moves all targets of a run alike. ``kappa`` 0 is a linear world; ``spread`` and ``centre`` 0 one
    without any effect.
    """
    rng = np.random.default_rng(seed)
    gains = np.minimum(rng.normal(centre, spread, (sources, targets)), 0.9)
    base = rng.uniform(0.35, 0.6, targets)
    difficulty = (np.argsort(rng.random((questions, targets)), axis=0) + 0.5) / questions
    names, columns = [f"s{i}" for i in range(sources)], [f"t{j}" for j in range(targets)]

    def count(weights: np.ndarray) -> np.ndarray:
        bent = np.log1p(kappa * weights) / np.log1p(kappa) if kappa else weights
        gain = bent @ np.maximum(gains, 0) - weights @ np.maximum(-gains, 0)
        accuracy = base + gain * (1 - base) + rng.normal(0, seed_noise, targets) + shared_noise * rng.normal()
        own = np.where(rng.random((questions, targets)) < 0.8, difficulty, rng.random((questions, targets)))
        return (own < accuracy).sum(axis=0)

    scores = [row(None, "r0", t, int(c), questions) for t, c in zip(columns, np.rint(base * questions), strict=True)]
    for k in range(runs):
        for i, source in enumerate(names):
            counts = count(np.eye(sources)[i])
            scores += [row(source, f"r{k}", t, int(c), questions) for t, c in zip(columns, counts, strict=True)]
    plan = [np.eye(sources)[d % sources] * DOSES[d // sources % len(DOSES)] for d in range(doses)]
    plan += list(rng.dirichlet(np.ones(sources), mixtures))
    told = []
    for m, weights in enumerate(plan):
        shares = {s: float(w) for s, w in zip(names, weights, strict=True) if w > 0}
        told += [
            MixtureScore(mixture=f"m{m}", run=f"r{m % runs}", weights=shares, target=t, correct=int(c), total=questions)
            for t, c in zip(columns, count(weights), strict=True)
        ]
    return scores, told


def study(seed: int, kappa: float, **options: float) -> TransferMatrix:
    """The matrix of such a world, with its evidence."""
    scores, mixtures = world(seed, kappa, **options)  # type: ignore[arg-type]
    return TransferMatrix.from_scores(scores, mixtures=mixtures)


def row(source: str | None, run: str, target: str, correct: int, total: int) -> Score:
    return Score(run=run, source=source, target=target, accuracy=correct / total, correct=correct, total=total)
