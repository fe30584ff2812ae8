"""Cells with one run beside cells with several: their errors come from what runs differ by elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems import log_spec, random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.evidence.completion import complete
from tvt.evidence.measured import bootstrap_means
from tvt.selection.stability import stability
from tvt.stats.noise import pooled_variance

NAN = float("nan")
Z90 = 1.6449


def made(cube: np.ndarray) -> TransferMatrix:
    runs, sources, targets = cube.shape
    names = {"sources": [f"s{i}" for i in range(sources)], "targets": [f"t{j}" for j in range(targets)]}
    return TransferMatrix.from_values(cube, runs=[f"r{k}" for k in range(runs)], **names)


def uneven(rng: np.random.Generator, sd: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Four runs of the first half of the sources, one of the others."""
    cube = truth + rng.normal(size=(4, *truth.shape)) * sd
    cube[1:, truth.shape[0] // 2 :] = NAN
    return cube


def test_by_hand() -> None:
    # Column 0: 0.1 and 0.3 have variance 0.02, one degree of freedom.
    # Column 1: 0, 0 and 0.3 have 0.03, two degrees; 0.1 and 0.1 have 0, one.
    cube = np.array([[[0.1, 0.0], [0.5, 0.1]], [[0.3, 0.0], [NAN, 0.1]], [[NAN, 0.3], [NAN, NAN]]])
    matrix = made(cube)
    of_all = (0.02 + 2 * 0.03) / 4
    expected = [(4 * of_all + 0.02) / 5, (4 * of_all + 0.06) / 7]
    assert matrix.run_variance == pytest.approx(expected)
    assert matrix.run_error[1, 0] == pytest.approx(np.sqrt(expected[0]))
    assert matrix.error[1, 0] == pytest.approx(np.sqrt(expected[0]))
    assert matrix.run_error[0] == pytest.approx([0.1, 0.1])
    assert np.isnan(matrix.seed_error[1, 0])


def test_questions_add_to_a_single_run() -> None:
    cube = np.array([[[0.2], [0.4]], [[0.4], [NAN]]])
    matrix = replace(made(cube), item_errors=np.full(cube.shape, 0.1))
    assert matrix.error[1, 0] == pytest.approx(np.sqrt(0.02 + 0.01))


def test_complete_matrices_and_single_runs_stay_as_they_are() -> None:
    several = random_matrix(0, 5, 4, runs=2)
    assert np.array_equal(several.run_error, several.seed_error)
    single = several.only_runs([0])
    assert np.isnan(single.error).all()
    assert np.isnan(pooled_variance(single.values)).all()


def test_a_cell_with_one_run_is_less_sure_than_those_with_four() -> None:
    rng = np.random.default_rng(0)
    error = made(uneven(rng, np.full(6, 0.05), np.zeros((12, 6)))).error
    assert error[6:].min() > 1.3 * np.median(error[:6])


def test_intervals_of_single_runs_hold_what_they_promise() -> None:
    sd, inside = np.geomspace(0.02, 0.08, 6), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 0.2, (10, 6))
        matrix = made(uneven(rng, sd, truth))
        inside.append((np.abs(matrix.mean - truth) < Z90 * matrix.error)[5:])
    held = np.stack(inside)
    assert 0.86 <= held.mean() <= 0.93
    assert ((held.mean(axis=(0, 1)) > 0.82) & (held.mean(axis=(0, 1)) < 0.99)).all()


def test_one_repeated_source_does_not_decide_for_a_target_alone() -> None:
    rng, inside = np.random.default_rng(1), []
    for _ in range(60):
        cube = rng.normal(0, 0.05, (2, 8, 6))
        cube[1, 1:] = NAN
        matrix = made(cube)
        inside.append((np.abs(matrix.mean) < Z90 * matrix.error)[1:])
    assert 0.84 <= np.stack(inside).mean() <= 0.95


def test_bootstrap_samples_spread_by_the_errors() -> None:
    matrix = made(uneven(np.random.default_rng(2), np.full(6, 0.05), np.zeros((12, 6))))
    samples = bootstrap_means(matrix, complete(matrix), seed=0, count=2000)
    assert samples.std(axis=0) == pytest.approx(matrix.error, rel=0.12)


def test_stability_leaves_out_a_run_of_each_source_that_has_several() -> None:
    cube = np.full((3, 3, 1), NAN)
    cube[:, 0, 0], cube[:2, 1, 0], cube[1, 2, 0] = [0.1, 0.2, 0.6], [0.5, 0.3], 0.2
    spec = log_spec(targets={"t0": 1.0}, response="linear", anyway=True)
    found = stability(made(cube), spec)
    assert found is not None
    assert found.folds == ("run 1 of each", "run 2 of each", "run 3 of each")
    # Without the first runs s0 promises (0.2 + 0.6) / 2 and gave 0.1; without the second ones s1 promises 0.5 and gave 0.3;
    # without the third s1, which has none to leave out, promises its mean.
    assert found.weights == pytest.approx(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]]), abs=1e-6)
    assert found.predicted[:, 0] == pytest.approx([0.4, 0.5, 0.4])
    assert found.held_out[:, 0] == pytest.approx([0.1, 0.3, 0.4])


def test_completion_says_so() -> None:
    matrix = made(uneven(np.random.default_rng(3), np.full(3, 0.05), np.zeros((4, 3))))
    assert any("6 cells were measured in one run" in note for note in complete(matrix).notes)
    assert not complete(matrix.only_runs([0])).notes
