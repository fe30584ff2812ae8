from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tvt.core.matrix import TransferMatrix
from tvt.transfer.aggregates import aggregate, jackknife_error, malleability, per_run, transferability

NAN = float("nan")
ABC = ("a", "b", "c")
# Away from the rounding that counts as 0.
PGF = st.floats(-3, 1).filter(lambda value: value == 0 or abs(value) > 1e-9)
CUBES = arrays(float, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=PGF | st.just(NAN))


def matrix(values, sources=ABC, targets=ABC, **more):
    cube = np.array(values, dtype=float)
    cube = cube[None] if cube.ndim == 2 else cube
    return TransferMatrix.from_values(cube, sources=sources, targets=targets, runs=[f"r{k}" for k in range(len(cube))], **more)


def factor(p, n):
    return (1 - math.exp(-p / n)) / p


def test_worked_case_without_self():
    m = matrix([[0.9, 0.2, -0.4], [0.1, 0.9, 0.3], [-0.2, -0.1, 0.9]])
    given_, taken = transferability(m), malleability(m)
    assert given_.positive == pytest.approx([factor(1, 2) * 0.2, factor(2, 2) * 0.4, 0.0])
    assert given_.negative == pytest.approx([factor(1, 2) * -0.4, 0.0, factor(2, 2) * -0.3])
    assert taken.positive == pytest.approx([factor(1, 2) * 0.1, factor(1, 2) * 0.2, factor(1, 2) * 0.3])
    assert taken.negative == pytest.approx([factor(1, 2) * -0.2, factor(1, 2) * -0.1, factor(1, 2) * -0.4])


def test_with_self_counts_the_diagonal():
    m = matrix([[0.9, 0.2, -0.4], [0.1, 0.9, 0.3], [-0.2, -0.1, 0.9]])
    assert transferability(m, with_self=True).positive[0] == pytest.approx(factor(2, 3) * 1.1)
    assert malleability(m, with_self=True).positive[2] == pytest.approx(factor(2, 3) * 1.2)


def test_missing_cells_leave_the_count_of_targets():
    """N is what was measured: a missing cell is not a target without transfer."""
    m = matrix([[0.9, 0.2, NAN], [0.1, 0.9, 0.0], [NAN, NAN, 0.9]])
    found = transferability(m)
    assert found.positive[:2] == pytest.approx([factor(1, 1) * 0.2, factor(1, 2) * 0.1])
    assert math.isnan(found.positive[2])
    assert math.isnan(found.negative[2])


def test_rectangular_study_counts_all_targets_of_a_source_that_is_no_target():
    m = matrix([[0.2, 0.4, -0.1]], sources=["x"], targets=ABC)
    assert transferability(m).positive == pytest.approx([factor(2, 3) * 0.6])
    assert malleability(m).negative == pytest.approx([0.0, 0.0, factor(1, 1) * -0.1])


def test_mean_is_taken_before_the_sign():
    m = matrix([[[0, 0.3], [0, 0]], [[0, -0.1], [0, 0]]], sources="ab", targets="ab")
    assert transferability(m).positive[0] == pytest.approx(factor(1, 1) * 0.1)
    assert per_run(m, "source", 1)[:, 0] == pytest.approx([factor(1, 1) * 0.3, 0.0])
    assert per_run(m, "target", -1)[:, 1] == pytest.approx([0.0, factor(1, 1) * -0.1])


def test_jackknife_of_a_linear_aggregate_is_the_standard_error_of_the_mean():
    cells = np.array([0.1, 0.2, 0.4, 0.5])
    m = matrix([[[0, c], [0, 0]] for c in cells], sources="ab", targets="ab")
    wanted = factor(1, 1) * cells.std(ddof=1) / 2
    assert transferability(m).positive_error[0] == pytest.approx(wanted)
    assert malleability(m).positive_error[1] == pytest.approx(wanted)
    assert math.isnan(transferability(m.only_runs([0])).positive_error[0])
    assert np.isnan(jackknife_error(np.ones((1, 3)))).all()


def test_item_error_is_propagated_over_the_chosen_cells_only():
    from dataclasses import replace

    m = matrix([[0.9, 0.2, 0.4], [0.1, 0.9, -0.3], [0.1, 0.1, 0.9]])
    items = np.array([[[9, 0.03, 0.04], [0.02, 9, 0.05], [NAN, 0.1, 9]]], dtype=float)
    found = transferability(replace(m, item_errors=items))
    assert found.positive_item_error[0] == pytest.approx(factor(2, 2) * 0.05)
    assert found.positive_item_error[1] == pytest.approx(factor(1, 2) * 0.02)
    assert found.negative_item_error[1] == pytest.approx(factor(1, 2) * 0.05)
    assert math.isnan(found.positive_item_error[2])  # one chosen cell's error is not known
    assert math.isnan(found.negative_item_error[0])  # no cell chosen, so nothing to propagate


@settings(max_examples=80, deadline=None)
@given(CUBES, st.floats(0.01, 100))
def test_signs_mirror_scale_and_bounds(values, scale):
    for sign in (1, -1):
        found = aggregate(values, sign)
        np.testing.assert_allclose(found, -aggregate(-values, -sign))
        np.testing.assert_allclose(aggregate(values * scale, sign), scale * found, rtol=1e-9, atol=1e-11)
        known = np.isfinite(found)
        assert (sign * found[known] >= 0).all()
        assert (known == np.isfinite(values).any(axis=-1)).all()
        largest = np.nanmax(np.where(np.isfinite(values), np.abs(values), 0.0), axis=-1)
        assert (np.abs(found[known]) <= (1 - math.exp(-1)) * largest[known] + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(arrays(float, (2, 4, 4), elements=st.floats(-2, 1)), st.permutations(range(4)))
def test_order_of_tasks_does_not_matter(values, order):
    names = ["a", "b", "c", "d"]
    first = transferability(matrix(values, names, names))
    shuffled = values[:, order][:, :, order]
    second = transferability(matrix(shuffled, [names[i] for i in order], [names[i] for i in order]))
    np.testing.assert_allclose(second.positive, first.positive[list(order)], atol=1e-12)
    np.testing.assert_allclose(second.positive_error, first.positive_error[list(order)], atol=1e-12)
