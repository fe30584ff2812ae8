"""Synthetic worlds with known truth: a noisy study, the mixture chosen on it, and the answers of runs that follow a law."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tvt.compare.baselines import arms_of, spec_of
from tvt.core.arms import Arm, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.selection import SelectionSpec
from tvt.selection.engine import select

KAPPA = 10.0
Law = Callable[[np.ndarray], np.ndarray]
"""PGF of every target (T,) at the weights (S,)."""


class World(NamedTuple):
    matrix: TransferMatrix
    mixture: Mixture
    arms: tuple[Arm, ...]
    measured: Measured
    spec: SelectionSpec


def log_law(truth: np.ndarray) -> Law:
    help_, harm = np.maximum(truth, 0), np.minimum(truth, 0)
    return lambda w: np.log1p(KAPPA * w) / np.log1p(KAPPA) @ help_ + w @ harm


def study(truth: np.ndarray, noise: float, seed: int, *, runs: int = 3) -> TransferMatrix:
    rng = np.random.default_rng(seed)
    return TransferMatrix.from_values(
        np.minimum(truth + rng.normal(0, noise, (runs, *truth.shape)), 0.95),
        sources=[f"task {i}" for i in range(truth.shape[0])],
        targets=[f"task {j}" for j in range(truth.shape[1])],
        runs=[f"run {k}" for k in range(runs)],
    )


def world(
    truth: np.ndarray,
    spec: SelectionSpec,
    *,
    law: Law | None = None,
    noise: float = 0.02,
    seeds: int = 4,
    questions: int = 300,
    seed_sd: float = 0.01,
    base: float = 0.4,
    seed: int = 0,
) -> World:
    """Runs whose PGF is ``law`` of their shares (the response's own law of ``truth`` by default), plus noise of each seed."""
    rng = np.random.default_rng([seed, 1])
    matrix = study(truth, noise, seed)
    mixture = select(matrix, spec.model_copy(update={"kappa": KAPPA}))
    assert isinstance(mixture, Mixture)
    budget = 1000
    compared = arms_of(matrix, mixture, budget=budget, seed=seed)
    follow = law or log_law(truth)
    hard = rng.random((len(matrix.targets), questions))
    answers: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for entry in compared:
        if not entry.counts:
            continue
        gains = follow(np.array([entry.counts.get(s, 0) / budget for s in matrix.sources]))
        answers[entry.label] = {
            k: {
                t: answered(rng, hard[j], base + (1 - base) * gains[j] + rng.normal(0, seed_sd))
                for j, t in enumerate(matrix.targets)
            }
            for k in range(seeds)
        }
    measured = Measured(
        targets=matrix.targets,
        seeds=tuple(range(seeds)),
        ceilings=dict.fromkeys(matrix.targets, 1.0),
        base={t: hard[j] < base for j, t in enumerate(matrix.targets)},
        answers=answers,
        missing={},
    )
    return World(matrix, mixture, compared, measured, spec_of(mixture))


def answered(rng: np.random.Generator, hard: np.ndarray, accuracy: float) -> np.ndarray:
    """Answers of that accuracy that go with the questions' difficulty in six cases of ten."""
    accuracy = float(np.clip(accuracy, 0.01, 0.99))
    return np.where(rng.random(hard.size) < 0.6, hard < accuracy, rng.random(hard.size) < accuracy)


def logistic_answers(
    rng: np.random.Generator,
    seeds: int,
    questions: int,
    *,
    seed_sd: float = 0.0,
    item_sd: float = 0.0,
    shift: float = 0.0,
    shared: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of two mixtures, (seeds, questions) each, and of the base model, (questions,).

    The first is better by ``shift`` logits; seeds and questions have their own effect on each mixture. ``shared`` (2, seeds)
    are seed effects that the targets have in common.
    """
    difficulty = rng.normal(0.3, 1.2, questions)
    by_seed = rng.normal(0, seed_sd, (2, seeds)) if shared is None else shared
    logits = difficulty + by_seed[:, :, None] + rng.normal(0, item_sd, (2, 1, questions))
    logits = logits + rng.normal(0, 0.3, (2, seeds, questions))
    logits[0] += shift
    a, b = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    base = (rng.random(questions) < 1 / (1 + np.exp(0.8 - difficulty))).astype(float)
    return a, b, base


def logistic_arms(
    rng: np.random.Generator,
    seeds: int,
    questions: int,
    *,
    seed_sd: float | np.ndarray = 0.0,
    common_sd: float = 0.0,
    item_sd: float = 0.0,
    shift: float | np.ndarray = 0.0,
    entries: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of the mixtures of a comparison, (entries, seeds, questions), and of the base model, (questions,).

    ``seed_sd`` and ``shift`` may differ by entry; ``common_sd`` is what a seed does to all of them alike. Without a shift the
    base model answers like any of them.
    """
    difficulty = rng.normal(0.3, 1.2, questions)
    by_seed = rng.normal(0, 1, (entries, seeds)) * np.reshape(seed_sd, (-1, 1)) + rng.normal(0, common_sd, seeds)
    by_item = rng.normal(0, item_sd, (entries + 1, 1, questions))
    logits = difficulty + by_item[:-1] + by_seed[:, :, None] + np.reshape(shift, (-1, 1, 1))
    answers = rng.random((entries, seeds, questions)) < 1 / (1 + np.exp(-logits - rng.normal(0, 0.3, logits.shape)))
    base = rng.random(questions) < 1 / (1 + np.exp(-difficulty - by_item[-1, 0]))
    return answers.astype(float), base.astype(float)
