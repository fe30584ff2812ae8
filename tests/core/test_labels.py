"""Values in the order of other names: what is there stays with its names, what is not is missing."""

from __future__ import annotations

import numpy as np
import pytest

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.values import aligned, positions
from tvt.data.studies.load import load_study
from tvt.errors import InputError


def matrix() -> TransferMatrix:
    return TransferMatrix.from_values(
        np.arange(12.0).reshape(2, 2, 3),
        sources=("A", "B"),
        targets=("X", "Y", "Z"),
        runs=("r0", "r1"),
        reasons={("r0", "A", "X"): "diverged", ("r1", "B", "Z"): "lost"},
    )


def test_cells_stay_with_their_names() -> None:
    found = matrix().reindex(sources=("B", "new", "A"), targets=("Z", "X"), missing=True)
    assert found.values.shape == (2, 3, 2)
    assert found.values[1, 0, 0] == matrix().values[1, 1, 2]
    assert found.values[0, 2, 1] == matrix().values[0, 0, 0]
    assert np.isnan(found.values[:, 1]).all()
    assert found.base.shape == (2, 2)
    assert dict(found.reasons) == {("r0", "A", "X"): "diverged", ("r1", "B", "Z"): "lost"}
    assert not matrix().reindex(targets=("Y",)).reasons


def test_unknown_names_are_refused_with_the_nearest_unless_they_may_be_missing() -> None:
    study = load_study("qwen2.5-vl-7b")
    with pytest.raises(InputError, match=r"no source 'Jigsw' \(did you mean 'Jigsaw'"):
        study.reindex(sources=["Jigsw"])
    with pytest.raises(InputError, match="no run 'r9'"):
        study.reindex(runs=["r9"])
    assert np.isnan(study.reindex(sources=["Jigsw"], missing=True).mean).all()


def test_there_and_back_is_the_same() -> None:
    there = matrix().reindex(runs=("r1", "r0"), sources=("B", "A"), targets=("Z", "Y", "X"))
    assert there.digest() == matrix().digest()
    np.testing.assert_array_equal(
        there.reindex(runs=("r0", "r1"), sources=("A", "B"), targets=("X", "Y", "Z")).values, matrix().values
    )


def test_a_new_source_has_weight_0_and_a_new_target_no_score() -> None:
    runs = MixtureRuns(
        ids=("m",), sources=("A",), targets=("X",), weights=np.ones((1, 1)), scores=np.full((1, 1), 0.5)
    ).reindex(sources=("B", "A"), targets=("Y", "X"))
    np.testing.assert_array_equal(runs.weights, [[0.0, 1.0]])
    np.testing.assert_array_equal(runs.scores, [[np.nan, 0.5]])


def test_positions_and_unknown_names() -> None:
    assert positions("abc", "ca") == [2, 0]
    with pytest.raises(KeyError, match="x"):
        positions("abc", "x")
    np.testing.assert_array_equal(aligned(np.array([1.0, 2.0]), ("ab", "bz"), missing=0.0), [2.0, 0.0])
