"""Answers stay where runs were measured, say when the runs tell nothing, and name the best measured mixture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems import random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.selection.engine import select
from tvt.selection.explain import explain
from tvt.selection.stability import STRATEGIES, stability

SOURCES = tuple(f"s{i}" for i in range(6))


def table(weights: np.ndarray, scores: np.ndarray, **more: object) -> MixtureRuns:
    return MixtureRuns(
        ids=tuple(f"run {k}" for k in range(len(weights))),
        sources=SOURCES,
        targets=tuple(f"t{j}" for j in range(scores.shape[1])),
        weights=weights,
        scores=scores,
        **more,
    )


def near_uniform(seed: int, runs: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(6, 30.0), runs)


def choose(runs: MixtureRuns, **options: object) -> Mixture:
    found = select(runs, SelectionSpec(**options))
    assert isinstance(found, Mixture)
    return found


def test_a_table_of_small_shares_does_not_send_the_whole_budget_to_one_source() -> None:
    weights = near_uniform(0)
    scores = 0.5 + weights @ np.array([[0.5], [0.1], [0.0], [-0.1], [-0.2], [-0.3]])
    runs = table(weights, scores + np.random.default_rng(1).normal(0, 0.002, scores.shape))
    inside, beyond = choose(runs), choose(runs, beyond=True)
    assert inside.verdict == "train"
    assert max(inside.weights.values()) < weights.max() + 0.15
    assert max(beyond.weights.values()) > max(inside.weights.values()) + 0.2
    assert any("--beyond" in name for name in inside.prices)
    assert not any("--beyond" in name for name in beyond.prices)


def test_runs_of_pure_noise_are_no_signal_and_the_best_of_them_is_named() -> None:
    weights = near_uniform(2, 24)
    scores = np.random.default_rng(3).normal(0.5, 0.05, (24, 1))
    found = choose(table(weights, scores))
    assert found.verdict == "no_signal"
    assert found.best_measured is not None
    assert found.best_measured.mixture == f"run {int(scores[:, 0].argmax())}"
    assert found.best_measured.se is not None
    assert found.best_measured.se == pytest.approx(0.05, rel=0.5)
    assert list(found.weights.values()) == pytest.approx(list(weights[int(scores[:, 0].argmax())]))
    assert "do not tell mixtures apart" in " ".join(explain(found))
    assert choose(table(weights, scores), anyway=True).verdict == "train"


def test_the_best_measured_mixture_keeps_to_the_limits_on_weights() -> None:
    weights = np.random.default_rng(4).dirichlet(np.full(6, 0.5), 40)
    scores = 0.5 + weights @ np.array([[0.4], [0.2], [0.1], [0.0], [-0.1], [-0.2]])
    runs = table(weights, scores)
    free, capped = choose(runs), choose(runs, caps={"s0": 0.3})
    assert free.best_measured is not None
    assert capped.best_measured is not None
    assert free.best_measured.weights["s0"] > 0.3
    assert capped.best_measured.weights.get("s0", 0.0) <= 0.3 + 1e-6


def test_every_choice_says_how_far_it_is_from_what_was_measured() -> None:
    weights = np.random.default_rng(5).dirichlet(np.ones(6), 40)
    found = choose(table(weights, weights @ np.arange(6.0)[:, None] / 10))
    chosen = np.array([found.weights[s] for s in SOURCES])
    distances = 0.5 * np.abs(weights - chosen).sum(axis=1)
    assert found.measured_nearby is not None
    assert found.measured_nearby.mixture == f"run {int(distances.argmin())}"
    assert found.measured_nearby.distance == pytest.approx(distances.min())


def test_a_study_measures_its_single_sources() -> None:
    matrix = random_matrix(6, sources=4, targets=2, centre=0.1)
    found = select(matrix, SelectionSpec(targets={"target_0": 1.0}, anyway=True))
    assert isinstance(found, Mixture)
    assert found.best_measured is not None
    assert found.best_measured.mixture == f"source_{int(matrix.mean[:, 0].argmax())}"
    assert found.best_measured.objective == pytest.approx(matrix.mean[:, 0].max())


def test_standardised_scores_count_by_their_spread() -> None:
    weights = np.random.default_rng(7).dirichlet(np.ones(6), 60)
    small, large = weights @ np.arange(6.0)[:, None], weights @ np.arange(6.0)[::-1][:, None] * 100
    runs = table(weights, np.concatenate([small, large], axis=1))
    plain, even = choose(runs, beyond=True), choose(runs, beyond=True, standardise=True, targets={"t0": 1.2, "t1": 1.0})
    assert plain.weights["s0"] > plain.weights["s5"]  # the score in hundreds decides
    assert even.weights["s5"] > even.weights["s0"]  # the smaller one, since it counts for more
    with pytest.raises(InputError, match="standardise"):
        select(random_matrix(8, sources=3, targets=2), SelectionSpec(standardise=True))


def test_a_run_held_out_judges_by_what_was_measured_in_it() -> None:
    matrix = load_study("qwen2.5-vl-7b")
    found = stability(matrix, SelectionSpec(targets={"Jigsaw": 1.0}, without_direct=True))
    assert found is not None
    alone = STRATEGIES.index("best single")
    i, j = matrix.sources.index("Visual_Similarity"), matrix.targets.index("Jigsaw")
    assert found.held_out[:, alone] == pytest.approx(matrix.values[:, i, j], abs=1e-4)
    assert found.optimism < 0  # noisy cells are drawn toward their target's mean


def test_sources_that_do_better_together_are_chosen_where_runs_show_it() -> None:
    """A concave response has no such thing: gain 2ab + 0.2(a + b) + 0.3c. What was measured at its top is chosen then."""
    names = ["a", "b", "c"]
    rng = np.random.default_rng(0)

    def truth(w: np.ndarray) -> np.ndarray:
        return 2 * w[..., 0] * w[..., 1] + 0.2 * (w[..., 0] + w[..., 1]) + 0.3 * w[..., 2]

    cube = truth(np.eye(3))[None, :, None] + rng.normal(0, 0.02, (4, 3, 2))
    matrix = TransferMatrix.from_values(cube, sources=names, targets=["t", "u"], runs=list("0123"))
    weights = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [2, 2, 1], [1, 1, 0], [2, 1, 0], [1, 2, 1], [3, 3, 1]], dtype=float)
    weights /= weights.sum(axis=1, keepdims=True)
    runs = MixtureRuns(
        ids=tuple(f"m{k}" for k in range(len(weights))),
        sources=tuple(names),
        targets=("t", "u"),
        weights=weights,
        scores=truth(weights)[:, None] + rng.normal(0, 0.02, (len(weights), 2)),
    )
    found = select(replace(matrix, evidence=runs), SelectionSpec())
    assert isinstance(found, Mixture)
    assert truth(np.array([found.weights[s] for s in names])) > 0.6
    capped = select(replace(matrix, evidence=runs), SelectionSpec(caps={"a": 0.4}))
    assert isinstance(capped, Mixture)
    assert capped.weights["a"] <= 0.4 + 1e-6
    assert capped.audit.passed
