from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvt.core.matrix import TransferMatrix
from tvt.transfer import cliques as module
from tvt.transfer.cliques import cliques_by_test, every_run_cliques, largest_cliques, mean_cliques

NAMES = ("a", "b", "c", "d")


def matrix(values, sources=NAMES, targets=NAMES):
    cube = np.array(values, dtype=float)
    cube = cube[None] if cube.ndim == 2 else cube
    return TransferMatrix.from_values(cube, sources=sources, targets=targets, runs=[f"r{k}" for k in range(len(cube))])


def square(positive=(), negative=(), size=4):
    """A matrix that is 0.1 or -0.1 on mutual pairs and of mixed sign elsewhere."""
    values = np.triu(np.full((size, size), 0.05)) - np.tril(np.full((size, size), 0.05))
    for pairs, value in ((positive, 0.1), (negative, -0.1)):
        for i, j in pairs:
            values[i, j] = values[j, i] = value
    return values


def test_largest_of_each_sign():
    m = matrix(square(positive=[(0, 1), (0, 2), (1, 2)], negative=[(2, 3)]))
    assert mean_cliques(m, 1).members == (("a", "b", "c"),)
    assert mean_cliques(m, -1).members == (("c", "d"),)
    assert mean_cliques(m, 1).size == 3


def test_both_directions_are_needed_and_zero_is_no_sign():
    values = square(positive=[(0, 1)])
    values[0, 1] = 0.0
    assert mean_cliques(matrix(values), 1).members == ()
    assert mean_cliques(matrix(values), 1).size == 0
    assert mean_cliques(matrix(np.zeros((4, 4))), -1).members == ()


def test_all_of_the_largest_are_told_in_order():
    m = matrix(square(positive=[(2, 3), (0, 1)]))
    assert mean_cliques(m, 1).members == (("a", "b"), ("c", "d"))


def test_threshold_cuts_weak_pairs():
    values = square(positive=[(0, 1), (0, 2), (1, 2)])
    values[2, 0] = 0.02
    assert mean_cliques(matrix(values), 1).size == 3
    assert mean_cliques(matrix(values), 1, 0.05).members == (("a", "b"), ("b", "c"))


def test_every_run_is_stricter_than_the_mean():
    strong, weak = square(positive=[(0, 1), (2, 3)]) * 5, square(positive=[(2, 3)])
    m = matrix([strong, weak])
    assert mean_cliques(m, 1).members == (("a", "b"), ("c", "d"))
    assert every_run_cliques(m, 1).members == (("c", "d"),)


def test_missing_cell_makes_no_edge():
    values = square(positive=[(0, 1), (0, 2), (1, 2)])
    values[0, 1] = np.nan
    assert mean_cliques(matrix(values), 1).members == (("a", "c"), ("b", "c"))
    # Missing in one run only: the mean has an edge, "every run" cannot vouch for it.
    m = matrix([values, square(positive=[(0, 1), (0, 2), (1, 2)])])
    assert mean_cliques(m, 1).size == 3
    assert every_run_cliques(m, 1).members == (("a", "c"), ("b", "c"))


def test_rectangular_study_uses_tasks_that_are_both():
    values = np.full((2, 3), 0.1)
    assert mean_cliques(matrix(values, ("a", "b"), ("b", "x", "a")), 1).members == (("a", "b"),)
    assert mean_cliques(matrix(values, ("a", "b"), ("x", "y", "z")), 1).members == ()
    assert mean_cliques(matrix([[0.1]], ("a",), ("a",)), 1).members == ()


def test_no_edge_passes_where_the_least_p_is_above_alpha():
    cube = np.stack([square(positive=[(0, 1)])] * 4)
    assert cliques_by_test(matrix(cube), 1, alpha=0.0624).members == ()
    assert cliques_by_test(matrix(cube), 1, alpha=0.0625).members == (("a", "b"),)


def test_test_needs_both_directions_and_enough_runs():
    rng = np.random.default_rng(1)
    cube = np.stack([square(positive=[(0, 1), (2, 3)])] * 8) + rng.normal(0, 0.001, (8, 4, 4))
    cube[:, 3, 2] = rng.normal(0.02, 0.1, 8)
    assert cliques_by_test(matrix(cube), 1, alpha=0.01).members == (("a", "b"),)
    assert cliques_by_test(matrix(cube[:6]), 1, alpha=0.01).members == ()


def test_a_search_that_is_cut_short_says_so(monkeypatch):
    directed = np.ones((6, 6), dtype=bool)
    directed[[0, 2, 4], [1, 3, 5]] = False
    names = tuple("abcdef")
    assert largest_cliques(names, directed).complete
    assert len(largest_cliques(names, directed).members) == 8
    monkeypatch.setattr(module, "MOST_VISITED", 3)
    assert not largest_cliques(names, directed).complete
    assert len(largest_cliques(names, directed).members) <= 3


@settings(max_examples=60, deadline=None)
@given(arrays(float, (6, 6), elements=st.sampled_from([-0.2, 0.0, 0.1, float("nan")])), st.sampled_from([1, -1]))
def test_against_brute_force(values, sign):
    names = tuple("abcdef")
    with np.errstate(invalid="ignore"):
        mutual = (sign * values > 0) & (sign * values > 0).T
    best: list[tuple[str, ...]] = []
    for size in range(6, 1, -1):
        best = [
            tuple(names[i] for i in group)
            for group in combinations(range(6), size)
            if all(mutual[i, j] for i, j in combinations(group, 2))
        ]
        if best:
            break
    assert mean_cliques(matrix(values, names, names), sign).members == tuple(best)


@pytest.mark.parametrize("runs", [1, 4, 7])
def test_least_p(runs):
    from tvt.stats.ranks import least_p, signed_rank_p

    assert least_p(runs) == pytest.approx(signed_rank_p(np.arange(1.0, runs + 1)))
