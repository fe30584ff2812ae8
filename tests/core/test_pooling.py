"""Studies pooled: those of one model by all their runs, those of different models as a run each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from problems import random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.pooling import agreement, pool
from tvt.data.studies.load import load_study


def of_model(seed: int, model: str | None, name: str) -> TransferMatrix:
    return replace(random_matrix(seed, sources=5, targets=3), model=model, name=name)


def test_studies_of_one_model_keep_all_their_runs() -> None:
    both = pool([of_model(0, "m", "first"), of_model(1, "m", "second")])
    assert len(both.runs) == 6
    assert both.runs[0] == "first/run_0"


def test_studies_of_different_models_are_a_run_each_so_that_many_seeds_do_not_hide_that_they_disagree() -> None:
    first, second = of_model(0, "small", "first"), of_model(1, "large", "second")
    both = pool([first, second])
    assert both.runs == ("first", "second")
    assert both.mean == pytest.approx((first.mean + second.mean) / 2)
    apart = np.abs(first.mean - second.mean)
    assert both.seed_error == pytest.approx(apart / 2)


def test_a_cell_that_one_study_lacks_comes_from_the_other() -> None:
    first, second = of_model(0, "small", "first"), of_model(1, "large", "second")
    values = first.values.copy()
    values[:, 1, 2] = np.nan
    both = pool([replace(first, values=values, reasons={("run_0", "source_1", "target_2"): "diverged"}), second])
    assert both.mean[1, 2] == pytest.approx(second.mean[1, 2])
    assert both.reasons == {("first", "source_1", "target_2"): "diverged"}


def test_agreement_is_that_of_ranks_within_targets() -> None:
    same = of_model(2, "a", "first")
    assert agreement([same, replace(same, model="b")]) == pytest.approx(1.0)
    turned = replace(same, values=-same.values)
    assert agreement([same, turned]) == pytest.approx(-1.0)
    assert np.isnan(agreement([same]))


def test_the_published_sizes_hardly_agree_on_who_helps_whom() -> None:
    sizes = [load_study(f"qwen2.5-vl-{size}b") for size in (3, 7, 32)]
    assert 0.05 < agreement(sizes) < 0.25
