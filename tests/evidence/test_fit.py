"""The response fitted on tables of mixture runs."""

from __future__ import annotations

import numpy as np
import pytest

from tvt.core.mixture import Mixture
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.evidence.fit import fit_runs
from tvt.selection.engine import prepare, select
from tvt.selection.stability import stability
from tvt.stats.ranks import rank_correlation

SOURCES, TARGETS, RUNS = 17, 13, 512
TARGETS_OF_FEW = ("t0", "t1", "t2", "t3")


def mixture_runs(runs: int = RUNS, seed: int = 0, noise: float = 0.01) -> tuple[MixtureRuns, np.ndarray]:
    """Losses with diminishing returns, multiplicative across sources, which no member of the fitted family is."""
    rng = np.random.default_rng(seed)
    weights = np.stack([rng.dirichlet(np.full(SOURCES, np.exp(rng.uniform(-2.5, 0.5)))) for _ in range(runs)]).round(3)
    weights /= weights.sum(axis=1, keepdims=True)
    reach = np.random.default_rng(99).gamma(1, 1, (SOURCES, TARGETS)) * (
        np.random.default_rng(98).random((SOURCES, TARGETS)) < 0.3
    )
    truth = 3 + 3 * np.exp(-(np.log(weights + 0.01) - np.log(0.01)) @ reach / 16)
    scores = truth + rng.normal(0, noise, truth.shape)
    table = MixtureRuns(
        ids=tuple(map(str, range(runs))),
        sources=tuple(f"s{i}" for i in range(SOURCES)),
        targets=tuple(f"t{j}" for j in range(TARGETS)),
        weights=weights,
        scores=scores,
        lower_is_better=True,
    )
    return table, truth


def test_fit_beats_the_linear_fit_on_unseen_mixtures_and_says_so() -> None:
    table, _ = mixture_runs()
    unseen, truth = mixture_runs(256, seed=1)
    posterior, response, report = fit_runs(table)
    predicted = response.scores(posterior.at(unseen.weights).mean)
    rank = np.mean([rank_correlation(p, t) for p, t in zip(predicted.T, truth.T, strict=True)])
    assert rank > 0.97
    assert np.nanmean(report.rank) > np.nanmean(report.linear_rank) + 0.05
    assert abs(np.nanmean(report.rank) - rank) < 0.03  # out-of-fold is an honest guess
    assert (response.concave >= 0).all()
    low, high = posterior.interval(unseen.weights, 0.9)
    gains = response.sign * (unseen.scores - response.reference)
    assert 0.85 < ((low <= gains) & (gains <= high)).mean() < 0.95


def test_fitted_selection_is_near_the_best_mixture_seen() -> None:
    table, truth = mixture_runs()
    prepared = prepare(table, SelectionSpec())
    solution = prepared.solve()
    assert solution.weights is not None
    reach = np.random.default_rng(99).gamma(1, 1, (SOURCES, TARGETS)) * (
        np.random.default_rng(98).random((SOURCES, TARGETS)) < 0.3
    )
    real = (3 + 3 * np.exp(-(np.log(solution.weights + 0.01) - np.log(0.01)) @ reach / 16)).mean()
    assert real < truth.mean(axis=1).min() + 0.01


def test_losses_and_scores_turned_over_choose_the_same() -> None:
    from dataclasses import replace

    table, _ = mixture_runs(128)
    turned = replace(table, scores=-table.scores, lower_is_better=False)
    first, second = (select(t, SelectionSpec(targets={"t0": 1.0, "t3": 2.0})) for t in (table, turned))
    assert isinstance(first, Mixture)
    assert isinstance(second, Mixture)
    assert first.weights == pytest.approx(second.weights, abs=1e-5)
    assert first.predicted["t0"].value == pytest.approx(-second.predicted["t0"].value, abs=1e-5)
    assert first.verdict == "train"


def test_goals_on_losses_are_losses() -> None:
    table, truth = mixture_runs(128)
    goal = float(np.quantile(truth[:, 0], 0.2))
    mixture = select(table, SelectionSpec(goals={"t0": goal}))
    assert isinstance(mixture, Mixture)
    assert mixture.predicted["t0"].value is not None
    assert mixture.predicted["t0"].value <= goal + 1e-6
    assert mixture.objective > 0


def test_missing_scores_and_cvar_and_stability() -> None:
    from dataclasses import replace

    table, _ = mixture_runs(60)
    table = table.reindex(targets=TARGETS_OF_FEW)
    scores = table.scores.copy()
    scores[::7, 2] = np.nan
    holed = replace(table, scores=scores)
    mixture = select(holed, SelectionSpec(cvar=0.2))
    assert isinstance(mixture, Mixture)
    assert mixture.audit.passed
    told = stability(holed, SelectionSpec())
    assert told is not None
    assert len(told.folds) == 5
    assert np.isfinite(told.held_out[:, 0]).all()


def test_too_few_runs_are_refused() -> None:
    table, _ = mixture_runs(6)
    with pytest.raises(InputError, match="too few"):
        fit_runs(table)


def test_few_sources_under_a_fitted_response_match_trying_every_set() -> None:
    import itertools
    from dataclasses import replace

    table, _ = mixture_runs(60)
    keep = [0, 1, 2, 3, 4]
    weights = table.weights[:, keep] + 1e-6
    small = replace(table, sources=tuple(table.sources[i] for i in keep), weights=weights / weights.sum(axis=1, keepdims=True))
    limited = select(small, SelectionSpec(max_sources=2))
    assert isinstance(limited, Mixture)
    best = max(
        answer.objective
        for pair in itertools.combinations(small.sources, 2)
        if isinstance(answer := select(small, SelectionSpec(exclude=tuple(s for s in small.sources if s not in pair))), Mixture)
    )
    assert len(limited.sources) <= 2
    assert limited.objective == pytest.approx(best, abs=1e-4)
