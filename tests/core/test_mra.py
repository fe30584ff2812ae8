"""Mean relative accuracy: hand-worked cases, the rounding of the benchmark's code, and what never happens."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.core.scores import mean_relative_accuracy, tally

POSITIVE = st.floats(1e-3, 1e4)


@pytest.mark.parametrize(
    ("told", "right", "credit"),
    [
        (4.0, 4.0, 1.0),  # no error
        (3.0, 4.0, 0.6),  # error 0.25: within 0.50, 0.45, 0.40, 0.35, 0.30, 0.25
        (5.0, 4.0, 0.6),  # the same above
        (2.0, 4.0, 0.1),  # error 0.5: only the widest tolerance
        (1.9, 4.0, 0.0),
        (6.0, 4.0, 0.1),
        (8.0, 4.0, 0.0),
        (1.0, 1.04, 1.0),  # 0.038, within 0.05
        (1.0, 1.06, 0.9),  # 0.057, within 0.10
        (-4.0, 4.0, 0.0),
        (3.0, 5.0, 0.3),  # error 0.4: 0.50, 0.45, 0.40
        (None, 4.0, 0.0),
        (math.nan, 4.0, 0.0),
        (math.inf, 4.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.1, 0.0, 0.0),
    ],
)
def test_hand_worked(told: float | None, right: float, credit: float) -> None:
    assert mean_relative_accuracy(told, right) == credit


def test_rounding_at_the_edges_is_the_benchmarks() -> None:
    """|0.3 - 0.4| / 0.4 is a little more than 0.25 in floating point, 0.1 / 1 no more than 1 - 0.9."""
    assert mean_relative_accuracy(0.3, 0.4) == 0.5
    assert mean_relative_accuracy(1.8, 1.2) == 0.0
    assert mean_relative_accuracy(2.1, 1.5) == 0.2
    for told in (0.9, 1.1):
        assert mean_relative_accuracy(told, 1.0) == 0.9


@given(POSITIVE, POSITIVE)
def test_equals_the_formula_written_out_in_numpy(told: float, right: float) -> None:
    """As the authors wrote it: ten points from 0.5 to 0.95, the error compared with 1 minus each."""
    points = np.linspace(0.5, 0.95, int((0.95 - 0.5) / 0.05 + 2))
    assert len(points) == 10
    assert mean_relative_accuracy(told, right) == (abs(told - right) / right <= 1 - points).mean()


@given(POSITIVE, POSITIVE)
def test_equals_exact_arithmetic_off_the_edges(told: float, right: float) -> None:
    error = abs(Fraction(told) - Fraction(right)) / Fraction(right)
    tolerances = [1 - Fraction(50 + 5 * k, 100) for k in range(10)]
    if min(abs(error - edge) for edge in tolerances) > Fraction(1, 10**9):
        assert mean_relative_accuracy(told, right) == sum(error <= edge for edge in tolerances) / 10


@given(POSITIVE, st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_nearer_is_never_worth_less(right: float, one: float, other: float) -> None:
    near, far = sorted((one, other), key=abs)
    if abs(near) + 1e-9 < abs(far):
        assert mean_relative_accuracy(right * (1 + near), right) >= mean_relative_accuracy(right * (1 + far), right)


@given(st.lists(st.integers(0, 10).map(lambda k: k / 10), max_size=50), st.randoms())
def test_a_tally_does_not_depend_on_the_order_and_counts_in_integers(credits_: list[float], random: object) -> None:
    total = tally(credits_)
    shuffled = list(credits_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tally(shuffled) == total
    assert total == pytest.approx(sum(credits_))
    assert isinstance(total, int) == float(total).is_integer()
    assert isinstance(tally([1.0, 0.0, 1.0]), int)
