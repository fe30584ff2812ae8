"""Selections against brute force, optimality conditions and symmetry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from problems import brute_force, log_gains, log_spec, random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.scores import Score
from tvt.core.task import Task
from tvt.selection.engine import select

CLOSE = 1e-4


def choose(matrix: TransferMatrix, **options: object) -> Mixture:
    answer = select(matrix, log_spec(anyway=True, **options))
    assert isinstance(answer, Mixture), answer
    return answer


def weights_of(mixture: Mixture, names: tuple[str, ...]) -> np.ndarray:
    return np.array([mixture.weights[n] for n in names])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sources", [2, 3, 5])
def test_gain_is_the_best_there_is(seed: int, sources: int) -> None:
    matrix = random_matrix(seed, sources, 4)
    best, _ = brute_force(lambda w: log_gains(w, matrix.mean).mean(axis=1), sources)
    mixture = choose(matrix)
    own = log_gains(weights_of(mixture, matrix.sources)[None], matrix.mean).mean()
    assert own == pytest.approx(mixture.objective, abs=1e-7)
    assert abs(own - best) < CLOSE


@pytest.mark.parametrize("seed", range(6))
def test_worst_gain_is_the_best_there_is(seed: int) -> None:
    matrix = random_matrix(seed, 4, 5, centre=0.1)
    best, _ = brute_force(lambda w: log_gains(w, matrix.mean).min(axis=1), 4)
    assert abs(choose(matrix, objective="worst").objective - best) < CLOSE


@pytest.mark.parametrize("seed", range(6))
def test_goals_take_the_least_shortfall_then_the_most_margin(seed: int) -> None:
    matrix = random_matrix(seed, 4, 3, centre=0.05)
    goals = np.array([0.15, 0.05])
    mixture = choose(matrix, goals={"target_0": 0.15, "target_1": 0.05})

    def shortfall(w: np.ndarray) -> np.ndarray:
        return np.maximum(goals - log_gains(w, matrix.mean)[:, :2], 0).sum(axis=1)

    least = -brute_force(lambda w: -shortfall(w), 4)[0]
    own = weights_of(mixture, matrix.sources)[None]
    assert shortfall(own)[0] == pytest.approx(least, abs=CLOSE)
    if least < 1e-6:
        margin, _ = brute_force(
            lambda w: (log_gains(w, matrix.mean)[:, :2] - goals).mean(axis=1), 4, feasible=lambda w: shortfall(w) <= 1e-6
        )
        assert mixture.objective == pytest.approx(margin, abs=CLOSE)
    else:
        assert mixture.objective == pytest.approx(-least, abs=CLOSE)


@pytest.mark.parametrize("seed", range(4))
def test_risk_caps_floors_text_and_divergence_together(seed: int) -> None:
    matrix = random_matrix(seed, 4, 3)
    error = matrix.error / 3  # equal weights of the three targets
    bent = matrix.mean > 0  # help grows by the log curve, and its error with it
    straight, curved = (np.sqrt((np.where(cells, error, 0.0) ** 2).sum(axis=1)) for cells in (~bent, bent))

    def spread(w: np.ndarray) -> np.ndarray:
        along = np.log1p(10 * w) / np.log1p(10)
        return np.hypot(np.linalg.norm(w * straight, axis=1), np.linalg.norm(along * curved, axis=1))

    def value(w: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            divergence = np.where(w > 0, w * np.log(w * 4), 0.0).sum(axis=1)
        return log_gains(w, matrix.mean).mean(axis=1) - 2 * spread(w) - 0.05 * divergence

    def allowed(w: np.ndarray) -> np.ndarray:
        return (w[:, 0] <= 0.3) & (w[:, 1] >= 0.1) & (w[:, 2] + w[:, 3] >= 0.45)

    best, _ = brute_force(value, 4, feasible=allowed)
    mixture = choose(
        matrix, risk=2, kl=0.05, caps={"source_0": 0.3}, floors={"source_1": 0.1}, constraints=("source_2 + source_3 >= 0.45",)
    )
    own = weights_of(mixture, matrix.sources)[None]
    assert value(own)[0] == pytest.approx(mixture.objective, abs=1e-6)
    assert best - CLOSE < value(own)[0] < best + CLOSE


@pytest.mark.parametrize("seed", range(4))
def test_hard_protection(seed: int) -> None:
    matrix = random_matrix(seed, 4, 3, centre=0.05)
    best, _ = brute_force(
        lambda w: log_gains(w, matrix.mean).mean(axis=1), 4, feasible=lambda w: log_gains(w, matrix.mean).min(axis=1) >= -0.02
    )
    answer = select(matrix, log_spec(protect={"all": -0.02}, hard=True, anyway=True))
    if best == -np.inf:
        assert not isinstance(answer, Mixture)
    else:
        assert isinstance(answer, Mixture)
        assert abs(answer.objective - best) < CLOSE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("risk", [0.0, 3.0])
def test_few_sources_match_trying_every_set(seed: int, risk: float) -> None:
    matrix = random_matrix(seed, 5, 3)
    best = max(
        choose(matrix, risk=risk, exclude=tuple(s for s in matrix.sources if s not in pair)).objective
        for pair in itertools.combinations(matrix.sources, 2)
    )
    mixture = choose(matrix, risk=risk, max_sources=2)
    assert len(mixture.sources) <= 2
    assert mixture.objective == pytest.approx(best, abs=CLOSE)


def test_least_weight_of_a_used_source() -> None:
    matrix = random_matrix(1, 5, 3)
    mixture = choose(matrix, max_sources=3, min_weight=0.3)
    assert all(mixture.weights[s] >= 0.3 - 1e-6 for s in mixture.sources)


def test_cvar_matches_its_definition() -> None:
    """The mean over the worst fifth of the samples, maximised: brute force over the samples that the selection drew."""
    from tvt.selection.engine import prepare

    matrix = random_matrix(2, 3, 2)
    spec = log_spec(cvar=0.2, anyway=True)
    samples = prepare(matrix, spec).samples
    assert len(samples) == 200

    def value(w: np.ndarray) -> np.ndarray:
        sampled = np.sort(np.stack([s.gains(w).mean(axis=1) for s in samples]), axis=0)
        return sampled[:40].mean(axis=0)

    best, _ = brute_force(value, 3)
    mixture = choose(matrix, cvar=0.2)
    assert mixture.objective == pytest.approx(best, abs=CLOSE)


@pytest.mark.parametrize("sources", [50, 300])
def test_optimality_conditions_on_larger_problems(sources: int) -> None:
    """At the optimum the marginal gain is equal for sources inside their bounds, lower at 0 and higher at the cap."""
    matrix = random_matrix(7, sources, 20)
    cap = 0.05
    w = weights_of(choose(matrix, caps={"all": cap}), matrix.sources)
    mean = matrix.mean
    help_, harm = np.maximum(mean, 0).mean(axis=1), np.maximum(-mean, 0).mean(axis=1)
    slope = help_ * 10 / (1 + 10 * w) / np.log(11) - harm
    inside = (w > 1e-6) & (w < cap - 1e-6)
    assert inside.sum() >= 2
    level = slope[inside].mean()
    assert np.abs(slope[inside] - level).max() < 1e-4
    assert slope[w <= 1e-6].max() <= level + 1e-4
    assert (slope[w >= cap - 1e-6] >= level - 1e-4).all()


def test_prices_are_what_a_looser_limit_brings() -> None:
    matrix = random_matrix(3, 5, 4)
    tight, loose = (choose(matrix, caps={"source_0": c, "all": 0.3}) for c in (0.05, 0.051))
    price = tight.prices.get("cap of source_0", 0.0)
    assert (loose.objective - tight.objective) / 0.001 == pytest.approx(price, rel=0.05, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"goals": {"target_1": 0.2}}, {"objective": "worst"}, {"protect": {"all": 0.0}}, {"max_sources": 2}]
)
def test_order_and_names_do_not_matter(options: dict[str, object]) -> None:
    matrix = random_matrix(11, 5, 4, centre=0.05)
    rows, columns = [3, 0, 4, 1, 2], [2, 0, 3, 1]
    shuffled = TransferMatrix.from_values(
        matrix.values[:, rows][:, :, columns],
        sources=[matrix.sources[i] for i in rows],
        targets=[matrix.targets[j] for j in columns],
        runs=matrix.runs,
    )
    first, second = choose(matrix, **options), choose(shuffled, **options)
    for source in matrix.sources:
        assert first.weights[source] == pytest.approx(second.weights[source], abs=1e-4)
    renamed = TransferMatrix.from_values(
        matrix.values, sources=[f"zz{s}" for s in matrix.sources], targets=matrix.targets, runs=matrix.runs
    )
    third = choose(renamed, **options)
    for source in matrix.sources:
        assert first.weights[source] == pytest.approx(third.weights[f"zz{source}"], abs=1e-4)


def test_joint_rescaling_of_accuracy_base_and_ceiling_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    base, after = rng.uniform(0.3, 0.6, 3), rng.uniform(0.3, 0.9, (4, 3))

    def study(scale: float) -> TransferMatrix:
        scores = [Score(run="r", source=None, target=f"t{j}", accuracy=scale * base[j]) for j in range(3)]
        scores += [
            Score(run="r", source=f"s{i}", target=f"t{j}", accuracy=scale * after[i, j]) for i in range(4) for j in range(3)
        ]
        return TransferMatrix.from_scores(scores, tasks=[Task(name=f"t{j}", ceiling=scale) for j in range(3)])

    whole, half = study(1.0), study(0.5)
    assert np.allclose(whole.values, half.values)
    first, second = choose(whole), choose(half)
    assert first.weights == pytest.approx(second.weights, abs=1e-6)


@pytest.mark.parametrize("hard", [False, True])
def test_margins_taken_in_as_needed_change_nothing(hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvt.selection import solve

    matrix = random_matrix(3, 40, 30, centre=0.1)
    options = {"protect": {"all": 0.02}, "protect_z": 2.0, "hard": hard, "caps": {"all": 0.1}}
    lazy = choose(matrix, **options)
    monkeypatch.setattr(solve, "LAZY_MARGINS", 1000)
    whole = choose(matrix, **options)
    assert lazy.objective == pytest.approx(whole.objective, abs=1e-6)
    assert lazy.weights == pytest.approx(whole.weights, abs=1e-4)
