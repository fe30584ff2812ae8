"""The joint response of a study: gaps multiply, own data saturates, errors are shared, and single sources are exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems import random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.selection import SelectionSpec
from tvt.evidence.completion import complete
from tvt.evidence.priors import PRIORS
from tvt.evidence.response import ErrorRows, Repeats
from tvt.evidence.response_posterior import ResponsePosterior
from tvt.evidence.study_model import StudyFit, TargetModel, fit_study, singles_coefficients, target_prior
from tvt.evidence.study_rows import Rows
from tvt.selection.engine import select


def fit(matrix: TransferMatrix) -> StudyFit:
    return fit_study(matrix, complete(matrix), matrix.evidence)


def exact(values: list[list[float]], sources: list[str], targets: list[str], metric: str = "pgf") -> TransferMatrix:
    matrix = TransferMatrix.from_values(np.array(values), sources=sources, targets=targets)
    return replace(matrix, metric=metric, item_errors=np.zeros(matrix.values.shape))


def with_mixtures(matrix: TransferMatrix, weights: np.ndarray, scores: np.ndarray) -> TransferMatrix:
    runs = MixtureRuns(
        ids=tuple(f"mixture {k}" for k in range(len(weights))),
        sources=matrix.sources,
        targets=matrix.targets,
        weights=weights,
        scores=scores,
    )
    return replace(matrix, evidence=runs)


def test_gaps_multiply_so_that_no_prediction_exceeds_the_ceiling() -> None:
    matrix = exact([[0.9, 0.5], [0.8, 0.0], [0.99, -3.0]], ["a", "b", "c"], ["t", "u"])
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    mean = fit(matrix).posterior.at(weights).mean
    assert (mean < 1).all()
    halves = fit(matrix).posterior.at(np.array([[0.5, 0.5, 0.0]])).mean[0, 0]
    assert halves == pytest.approx(1 - np.sqrt(0.1 * 0.2), abs=1e-3)  # half of one gap's logarithm and half of the other's


def test_single_sources_are_what_was_measured_where_nothing_is_noisy() -> None:
    values = [[0.3, -0.4], [0.1, 0.2], [-0.2, 0.05]]
    found = fit(exact(values, ["a", "b", "c"], ["t", "u"])).posterior.at(np.eye(3))
    assert found.mean == pytest.approx(np.array(values), abs=1e-4)
    assert (found.se < 1e-3).all()


def test_a_gain_without_a_ceiling_adds_up() -> None:
    values = [[2.0], [4.0], [-6.0]]
    mean = fit(exact(values, ["a", "b", "c"], ["t"], metric="gain")).posterior.at(np.full((1, 3), 1 / 3)).mean
    assert mean[0, 0] == pytest.approx(0.0, abs=1e-2)


def test_a_little_own_data_brings_much_of_its_gain_and_other_data_its_share() -> None:
    matrix = exact([[0.4, 0.1], [0.3, 0.1], [0.0, 0.1]], ["own", "other", "none"], ["own", "t"])
    own, other = fit(matrix).posterior.at(np.array([[0.1, 0.0, 0.9], [0.0, 0.1, 0.9]])).mean[:, 0]
    assert 0.1 < own < 0.3
    assert other == pytest.approx(1 - 0.7**0.1, abs=0.01)


def test_noisy_cells_are_drawn_toward_their_target_and_the_largest_most() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.05, 0.02, 12) + rng.normal(0, 0.15, (3, 12))
    matrix = TransferMatrix.from_values(
        values[:, :, None],
        sources=[f"s{i}" for i in range(12)],
        targets=["t"],
        runs=["0", "1", "2"],
    )
    raw, shrunk = matrix.mean[:, 0], fit(matrix).posterior.at(np.eye(12)).mean[:, 0]
    assert np.ptp(shrunk) < 0.6 * np.ptp(raw)
    assert shrunk.max() < raw.max()


def test_single_sources_have_one_posterior_by_either_computation() -> None:
    rng = np.random.default_rng(2)
    rows = Rows(
        weights=np.eye(5), inner=rng.normal(0, 0.3, (5, 1)), noise=rng.uniform(0.001, 0.02, (5, 1)), shared=np.array([0.004])
    )
    for position in (None, 2):
        prior = target_prior(rows.inner[:, 0], rows.noise[:, 0], position, PRIORS)
        mean, own, factors = singles_coefficients(rows, 0, prior, 15.0)
        other, whole = TargetModel(rows, 0, prior, 15.0, PRIORS).coefficients()
        assert mean == pytest.approx(other, abs=1e-8)
        assert np.diag(own**2) + factors.T @ factors == pytest.approx(whole.T @ whole, abs=1e-8)


def test_errors_grow_with_the_distance_from_what_was_measured() -> None:
    response = fit(random_matrix(3, sources=6, targets=2)).response
    assert response.mixing is not None
    weights = np.stack([np.eye(6)[0], np.eye(6)[:2].mean(axis=0), np.full(6, 1 / 6)])
    errors = response.inner_errors(weights, run=False)
    mixed = np.array([0.0, np.sqrt(0.5), np.sqrt(5 / 6)])
    assert (errors[1:] >= mixed[1:, None] * response.mixing).all()
    assert (errors[0] < 0.5 * errors[1:]).all()


def test_questions_in_common_do_not_average_out() -> None:
    matrix = random_matrix(4, sources=10, targets=1, runs=4)
    questions = replace(matrix, item_errors=np.full(matrix.values.shape, 0.1))
    found = fit(questions).response
    uniform = found.inner_errors(np.full(10, 0.1), run=False)
    assert uniform[0] > 0.05  # the root of half of 0.1^2 at least, less what the prior knows


def test_the_errors_of_a_program_are_bounds_and_exact_at_their_anchor() -> None:
    rng = np.random.default_rng(5)
    matrix = exact(rng.normal(0.1, 0.2, (4, 3)).tolist(), ["a", "b", "c", "d"], ["a", "b", "t"])
    matrix = replace(matrix, item_errors=np.full(matrix.values.shape, 0.08))
    response = fit(matrix).response

    assert response.between > 0

    def error_at(weights: np.ndarray, shares: np.ndarray) -> float:
        parts = shares * response.inner_errors(weights, run=True)
        together = np.full((3, 3), response.between) + (1 - response.between) * np.eye(3)
        return float(np.sqrt(parts @ together @ parts))

    for shares in (np.eye(3)[1], np.array([0.5, 0.2, 0.3])):
        for anchor in (np.full(4, 0.25), np.array([0.7, 0.2, 0.1, 0.0])):
            rows = replace(response, anchor=anchor).error_rows(shares)
            assert rows.at(anchor)[0] == pytest.approx(error_at(anchor, shares), rel=1e-6)
            for weights in rng.dirichlet(np.ones(4), 50):
                assert rows.at(weights)[0] >= error_at(weights, shares) - 1e-9


def test_fewer_rows_of_an_error_bound_it_closely() -> None:
    rng = np.random.default_rng(8)
    alike = rng.uniform(0.5, 1, (60, 1)) * rng.uniform(0.5, 1, 30) + 1e-3 * rng.normal(size=(60, 30))
    whole = ErrorRows(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), alike, rng.normal(0, 1e-3, 60))
    fewer = whole.compressed()
    assert len(fewer.dense) < 10
    for weights in rng.dirichlet(np.full(30, 0.3), 50):
        exact_length, length = whole.at(weights)[0], fewer.at(weights)[0]
        assert exact_length - 1e-12 <= length <= 1.0001 * exact_length


def test_runs_on_mixtures_are_believed_and_tell_their_neighbours() -> None:
    matrix = random_matrix(6, sources=4, targets=1)
    weights = np.random.default_rng(6).dirichlet(np.ones(4), 12)
    plain = fit(matrix).posterior.at(weights).mean
    found = fit(with_mixtures(matrix, weights, plain + 0.1)).posterior
    assert found.at(weights).mean == pytest.approx(plain + 0.1, abs=0.04)
    between = weights[:6].mean(axis=0)[None]
    assert float(found.at(between).mean[0, 0] - fit(matrix).posterior.at(between).mean[0, 0]) > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_a_hard_limit_holds_for_the_interval_that_is_printed(seed: int) -> None:
    matrix = random_matrix(seed, sources=5, targets=4, centre=0.1)
    spec = SelectionSpec(protect={"all": -0.25}, hard=True, protect_z=1.6448536269514722, anyway=True)
    found = select(matrix, spec)
    assert isinstance(found, Mixture)
    assert min(p.low for p in found.predicted.values()) >= -0.25 - 1e-6


def test_a_study_without_runs_beside_it_predicts_by_its_response() -> None:
    assert isinstance(fit(random_matrix(7, sources=3, targets=2)).posterior, ResponsePosterior)


def test_the_mean_at_the_selected_mixture_is_not_too_good() -> None:
    """Selection takes what looks best; the interval of its mean must hold the truth all the same."""
    rng = np.random.default_rng(8)
    inside, gaps = [], []
    for _ in range(120):
        truth = rng.normal(0.03, 0.08, (14, 2))
        values = truth + rng.normal(0, 0.08, (3, 14, 2))
        matrix = TransferMatrix.from_values(
            values, sources=[f"s{i}" for i in range(14)], targets=["t", "u"], runs=["0", "1", "2"]
        )
        found = select(matrix, SelectionSpec(targets={"t": 1.0}, caps={"all": 0.4}, anyway=True))
        assert isinstance(found, Mixture)
        weights = np.array([found.weights[s] for s in matrix.sources])
        real = 1 - np.exp(weights @ np.log(1 - truth[:, 0]))
        predicted = found.predicted["t"]
        assert predicted.se is not None
        inside.append(abs(predicted.gain - real) <= 1.645 * predicted.se)
        gaps.append(predicted.gain - real)
    assert 0.8 <= np.mean(inside) <= 0.99
    assert abs(float(np.mean(gaps))) < 0.02


def test_repeated_examples_are_worth_less_each_time_and_fresh_ones_what_they_are() -> None:
    repeats = Repeats(np.array([0.01, np.inf]))
    weights = np.array([[0.005, 0.3], [0.01, 0.3], [0.1, 0.3], [1.0, 0.0]])
    worth = repeats(weights)
    assert worth[:, 1] == pytest.approx(weights[:, 1])
    assert worth[:2, 0] == pytest.approx([0.005, 0.01])
    formula = 0.01 * (1 + 15.4 * (1 - np.exp(-(np.array([10.0, 100.0]) - 1) / 15.4)))
    assert worth[2:, 0] == pytest.approx(formula, rel=0.02)


def test_a_run_on_few_own_rows_at_the_whole_budget_does_not_condemn_them_in_a_mixture() -> None:
    """A hundred passes over 32 rows harm; the same rows as a tenth of a mixture are nearly what the helpers are."""
    matrix = exact([[-0.06], [0.22], [0.2]], ["own", "helper", "other"], ["own"])
    weights = np.array([[0.1, 0.45, 0.45], [0.0, 0.5, 0.5]])
    completed = complete(matrix)
    with_sizes = fit_study(matrix, completed, None, shares={"own": 0.01}).posterior.at(weights).mean[:, 0]
    assert with_sizes[0] == pytest.approx(with_sizes[1], abs=0.06)


def test_a_program_and_its_prediction_agree_on_repeated_examples() -> None:
    matrix = random_matrix(9, sources=4, targets=2, centre=0.2)
    spec = SelectionSpec(sizes={"source_0": 200, "source_1": 300}, max_epochs=20, budget=10_000, anyway=True)
    found = select(matrix, spec)
    assert isinstance(found, Mixture)
    gains = [p.gain for p in found.predicted.values()]
    assert found.objective == pytest.approx(np.mean(gains), abs=1e-6)


def test_noise_that_nobody_measured_is_not_taken_for_none() -> None:
    matrix = TransferMatrix.from_values(np.array([[0.3], [0.1], [-0.2], [0.05]]), sources=["a", "b", "c", "d"], targets=["t"])
    found = fit(matrix).posterior.at(np.eye(4))
    raw = matrix.mean[:, 0]
    assert abs(found.mean[:, 0] - raw.mean()).max() < 0.9 * abs(raw - raw.mean()).max()
    assert (found.se > 0.02).all()
