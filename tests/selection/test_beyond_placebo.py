"""What a selection is predicted to bring beyond placebo: its figures by hand, its sentence, and where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvt.api.mixtures import select_in_detail
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import FailedSelection, Mixture
from tvt.core.selection import SelectionSpec
from tvt.report.selection_tables import SelectionResult
from tvt.selection.engine import select
from tvt.selection.explain import BeyondPlacebo, beyond_placebo, placebo_sentences
from tvt.stats.noise import normal_factor
from tvt.transfer.generic import split

RUNS = tuple(f"seed_{k}" for k in range(3))
TARGETS = ("A", "B", "C")


def study(placebos: list[float] | None) -> TransferMatrix:
    """Three sources with an own gain each and little noise between runs, and a placebo's gains by target (NaN: not scored)."""
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 3, 3))
    values = np.array([[0.5, 0.2, 0.2], [0.2, 0.5, 0.2], [0.2, 0.2, 0.5]]) + noise
    matrix = TransferMatrix.from_values(values, sources=TARGETS, targets=TARGETS, runs=RUNS)
    if placebos is None:
        return matrix
    measured = np.array(placebos) + np.array([-0.01, 0.0, 0.01])[:, None, None]
    return replace(
        matrix, placebo=TransferMatrix.from_values(measured, sources=["placebo-shuffled"], targets=TARGETS, runs=RUNS)
    )


def detail(matrix: TransferMatrix, **asked: object) -> SelectionResult:
    found = select_in_detail(matrix, SelectionSpec(**asked), stability=False)
    assert not isinstance(found, FailedSelection)
    return found


def test_it_is_the_predicted_gain_less_the_placebos_with_both_errors() -> None:
    matrix = study([0.1, 0.2, -0.1])
    result = detail(matrix, targets={"A": 1.0, "B": 1.0})
    parts = split(matrix)
    assert set(result.beyond_placebo) == set(TARGETS)
    for j, target in enumerate(TARGETS):
        predicted, found = result.mixture.predicted[target], result.beyond_placebo[target]
        assert found.gain == pytest.approx(predicted.gain - [0.1, 0.2, -0.1][j])
        assert predicted.se is not None
        assert found.se == pytest.approx(np.hypot(predicted.se, parts.generic_error[j]))
        assert found.se > predicted.se


def test_it_stands_in_json_and_in_a_sentence_of_the_targets_that_count() -> None:
    result = detail(study([0.1, 0.2, -0.1]), targets={"B": 1.0})
    plain = result.json_value()["beyond_placebo"]
    assert plain["B"] == {"gain": result.beyond_placebo["B"].gain, "se": result.beyond_placebo["B"].se}
    (line,) = placebo_sentences(result.mixture, result.beyond_placebo)
    found = result.beyond_placebo["B"]
    assert line == (
        "Beyond placebo, that is beyond what any finetuning brings, the predicted gains are "
        f"B {found.gain:+.3f} (standard error {found.se:.3f})."
    )


def test_a_sentence_names_four_targets_and_counts_the_others() -> None:
    mixture = detail(study([0.1, 0.2, -0.1])).mixture.model_copy(update={"credible": {}})
    beyond = {f"T{k}": BeyondPlacebo(gain=0.1 * k, se=0.05) for k in range(6)}
    (line,) = placebo_sentences(mixture, beyond)
    assert line.endswith("T3 +0.300 (standard error 0.050) and 2 more.")
    assert placebo_sentences(mixture, {}) == []


def test_a_target_that_no_placebo_was_scored_on_is_left_out() -> None:
    assert set(detail(study([0.1, np.nan, -0.1])).beyond_placebo) == {"A", "C"}


def test_there_is_none_without_a_placebo_or_without_training() -> None:
    plain = detail(study(None))
    assert plain.beyond_placebo == {}
    assert "beyond_placebo" not in plain.json_value()
    harm = replace(study([0.1, 0.1, 0.1]), values=-0.5 + 0 * study(None).values)
    nothing = detail(harm)
    assert nothing.mixture.verdict == "nothing_helps"
    assert nothing.beyond_placebo == {}


def test_a_mixture_without_standard_errors_takes_them_from_its_interval() -> None:
    matrix = study([0.1, 0.2, -0.1])
    mixture = select(matrix, SelectionSpec(confidence=0.8))
    assert isinstance(mixture, Mixture)
    older = mixture.model_copy(
        update={"predicted": {t: p.model_copy(update={"se": None}) for t, p in mixture.predicted.items()}}
    )
    found = beyond_placebo(older, matrix, 0.8)["A"]
    half = (mixture.predicted["A"].high - mixture.predicted["A"].low) / (2 * normal_factor(0.8))
    assert found.se == pytest.approx(np.hypot(half, split(matrix).generic_error[0]))
