"""Gradients calibrated on true runs: intervals cover simulated truth, estimates without a tie to it are not believed, and what
was not measured is estimated better than by rows and columns alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvt.core.gradients import GradientCells
from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.evidence.completion import complete
from tvt.evidence.gradient_estimates import gradient_estimates, rank_within_targets
from tvt.selection.engine import prepare
from tvt.types import Bools, Floats

SOURCES, TARGETS = tuple(f"S{k}" for k in range(12)), tuple(f"T{k}" for k in range(6))
Z90 = 1.645


def study(seed: int, slope: float, measured: Bools, seeds: int = 3) -> tuple[TransferMatrix, Floats]:
    """A study whose truth has effects of sources, of targets, of gradients, and a rest; and that truth."""
    rng = np.random.default_rng(seed)
    shape = len(SOURCES), len(TARGETS)
    x = rng.normal(size=shape)
    truth = 0.03 * rng.normal(size=(shape[0], 1)) + 0.08 * rng.normal(size=shape[1]) + slope * x + 0.04 * rng.normal(size=shape)
    values = np.where(measured, truth + 0.02 * rng.normal(size=(seeds, *shape)), np.nan)
    runs = [f"seed_{k}" for k in range(seeds)]
    matrix = TransferMatrix.from_values(values, sources=SOURCES, targets=TARGETS, runs=runs)
    nothing = np.zeros(shape)
    cells = GradientCells(
        sources=SOURCES,
        targets=TARGETS,
        change=2e-5 * x,
        row_error=nothing,
        question_error=nothing,
        projection_error=nothing,
        quantities=dict.fromkeys(TARGETS, "letters"),
    )
    return replace(matrix, gradients=cells), truth


def rows(count: int) -> Bools:
    """The first sources' cells are measured, those of the others are not."""
    return np.repeat(np.arange(len(SOURCES)) < count, len(TARGETS)).reshape(len(SOURCES), len(TARGETS))


@pytest.mark.parametrize("slope", [0.0, 0.06])
def test_intervals_of_sources_without_a_run_cover_the_truth(slope: float) -> None:
    inside = []
    for seed in range(40):
        matrix, truth = study(seed, slope, rows(7))
        found = gradient_estimates(matrix)
        assert found is not None
        assert found.calibration.calibrated
        inside.append((np.abs(found.mean - truth) < Z90 * found.se)[7:])
    assert 0.84 <= np.mean(inside) <= 0.97


def test_a_cell_that_was_not_measured_is_estimated_better_with_gradients() -> None:
    with_them, without = [], []
    for seed in range(12):
        measured = np.random.default_rng(100 + seed).random((12, 6)) < 0.6
        matrix, truth = study(seed, 0.06, measured)
        for known, errors in ((matrix, with_them), (replace(matrix, gradients=None), without)):
            found = complete(known)
            assert found.sources == SOURCES
            errors.append(np.mean((found.mean - truth)[~measured] ** 2))
    assert np.mean(with_them) < 0.6 * np.mean(without)


def test_gradients_that_tell_nothing_change_little() -> None:
    slopes = [abs(found.calibration.slope) for k in range(10) if (found := gradient_estimates(study(k, 0.0, rows(12))[0]))]
    assert np.mean(slopes) < 0.01


def test_fewer_than_five_runs_calibrate_nothing() -> None:
    matrix, _ = study(0, 0.06, rows(4), seeds=1)
    found = gradient_estimates(matrix)
    assert found is not None
    assert not found.calibration.calibrated
    assert found.calibration.runs == 4
    assert found.se.min() >= 0.15
    assert (found.mean - Z90 * found.se < 0).all()
    more, _ = study(0, 0.06, rows(5), seeds=1)
    told = gradient_estimates(more)
    assert told is not None
    assert told.calibration.calibrated


def test_what_rests_on_gradients_is_marked_and_never_credible() -> None:
    matrix, _ = study(1, 0.3, rows(7))
    found = complete(matrix)
    assert set(found.by_gradients) == {(s, t) for s in SOURCES[7:] for t in TARGETS}
    assert set(found.by_gradients) <= set(found.estimated)
    assert any("gradients of the base model" in note for note in found.notes)
    prepared = prepare(matrix, SelectionSpec(budget=1000))
    credible = prepared.evidence.credible(prepared.of, sources=SOURCES, counting=np.ones(6, dtype=bool), confidence=0.9)
    assert credible is not None
    assert any(credible.values())
    assert not {s for gains in credible.values() for s in gains} & set(SOURCES[7:])


def test_ranks_leave_own_data_out() -> None:
    estimate = np.array([[9.0], [1.0], [2.0], [3.0]])
    measured = np.array([[0.0], [0.1], [0.2], [0.3]])
    own = np.array([[True], [False], [False], [False]])
    assert rank_within_targets(estimate, measured, own) == pytest.approx([1.0])
    assert np.isnan(rank_within_targets(estimate[:3], measured[:3], own[:3])).all()
