"""The Perfection Gap Factor and its item error, against hand-worked values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import MaskedScore, Score, item_standard_error, perfection_gap_factor
from tvt.core.task import Task


@pytest.mark.parametrize(
    ("after", "base", "ceiling", "expected"),
    [(0.93, 0.90, 0.95, 0.60), (0.50, 0.40, 0.95, 0.1 / 0.55), (0.0, 0.99, 1.0, -99.0), (1.0, 0.3, 1.0, 1.0)],
)
def test_hand_worked(after: float, base: float, ceiling: float, expected: float) -> None:
    assert perfection_gap_factor(after, base, ceiling) == pytest.approx(expected, abs=1e-12)


def test_0_40_to_0_50_at_0_95_is_0_18() -> None:
    assert round(float(perfection_gap_factor(0.50, 0.40, 0.95)), 2) == 0.18


@pytest.mark.parametrize(("base", "ceiling"), [(0.95, 0.95), (0.96, 0.95), (57.3 / 100, 0.573), (0.1 + 0.2, 0.3)])
def test_without_a_gap_it_is_missing_and_not_zero(base: float, ceiling: float) -> None:
    assert np.isnan(perfection_gap_factor(0.9, base, ceiling))
    assert np.isnan(item_standard_error(0.9, base, ceiling, 100))


@given(
    after=st.floats(0, 1),
    base=st.floats(0, 0.99),
    gap=st.floats(0.001, 0.5),
    factor=st.floats(1e-6, 1e6),
)
def test_joint_rescaling_changes_nothing(after: float, base: float, gap: float, factor: float) -> None:
    plain = perfection_gap_factor(after, base, base + gap)
    scaled = perfection_gap_factor(after * factor, base * factor, (base + gap) * factor)
    assert scaled == pytest.approx(plain, rel=1e-9, abs=1e-9)


def test_item_error_by_hand() -> None:
    # 50 of 100 before, 75 of 100 after, ceiling 1: gap 0.5, PGF 0.5. By Laplace's rule b = 51/102 and a = 76/102, so
    # vb = 0.25/100 = 0.0025 and va = (76/102)(26/102)/100 = 0.00189927; se = sqrt(va + 0.25 vb)/0.5 = 0.100484.
    expected = np.sqrt(76 / 102 * 26 / 102 / 100 + 0.25 * 0.0025) / 0.5
    assert expected == pytest.approx(0.100484, abs=1e-6)
    assert item_standard_error(0.75, 0.5, 1.0, 100) == pytest.approx(expected)
    # All 50 stay right: covariance (0.5 - 0.75*0.5)/100 = 0.00125, which takes 2*0.5*0.00125 from the variance.
    paired = np.sqrt(76 / 102 * 26 / 102 / 100 + 0.25 * 0.0025 - 0.00125) / 0.5
    assert item_standard_error(0.75, 0.5, 1.0, 100, 50) == pytest.approx(paired)


def test_item_error_agrees_with_simulation() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.binomial(400, 0.6, 20_000) / 400, rng.binomial(400, 0.7, 20_000) / 400
    spread = np.std(perfection_gap_factor(after, before, 1.0))
    assert item_standard_error(0.7, 0.6, 1.0, 400) == pytest.approx(spread, rel=0.03)


def _score(run: str, source: str | None, target: str, accuracy: float) -> Score:
    return Score(run=run, source=source, target=target, accuracy=accuracy)


def test_a_matrix_masks_with_reasons_and_never_with_zero() -> None:
    matrix = TransferMatrix.from_scores(
        [
            _score("r", None, "full", 0.9),
            _score("r", None, "fine", 0.4),
            _score("r", "a", "full", 0.95),
            _score("r", "a", "fine", 0.5),
            _score("r", "b", "nobase", 0.5),
        ],
        masked=[MaskedScore(run="r", source="b", target="fine", reason="diverged")],
        tasks=[Task(name="full", ceiling=0.9), Task(name="fine", ceiling=0.95)],
    )
    assert not np.any(matrix.values == 0)
    assert matrix.values[0, 0, matrix.targets.index("fine")] == pytest.approx(0.1 / 0.55)
    assert np.isfinite(matrix.values).sum() == 1
    assert matrix.reason("a", "full") == "base accuracy 0.9 is not below the ceiling 0.9"
    assert matrix.reason("b", "fine") == "diverged"
    assert matrix.reason("b", "nobase") == "no base row"
    assert matrix.reason("a", "fine") is None


def test_the_mean_takes_the_runs_that_are_there() -> None:
    values = np.array([[[0.2, np.nan]], [[0.4, np.nan]], [[np.nan, np.nan]]])
    matrix = TransferMatrix.from_values(values, sources=["a"], targets=["x", "y"], runs=["0", "1", "2"])
    assert matrix.mean[0, 0] == pytest.approx(0.3)
    assert np.isnan(matrix.mean[0, 1])
    assert matrix.seed_error[0, 0] == pytest.approx(np.std([0.2, 0.4], ddof=1) / np.sqrt(2))
    assert np.isnan(matrix.seed_error[0, 1])


@pytest.mark.parametrize("right", [0, 30, 60, 75, 120])
@pytest.mark.parametrize("questions", [120, 1000])
def test_an_adapter_that_answers_as_the_base_does_has_an_error(right: int, questions: int) -> None:
    """Identical answers say that few questions change, not that none ever would; the error was once exactly 0 at a half."""
    accuracy = right / questions
    error = item_standard_error(accuracy, accuracy, 1.0, questions, right)
    one = 1 / (questions * (1 - accuracy)) if right < questions else np.inf
    if right == questions:
        assert np.isnan(error)  # no gap
    else:
        assert one * 0.98 <= error <= 3 * one
