from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from tvt.core.matrix import TransferMatrix
from tvt.core.task import Task
from tvt.data.studies.load import load_study
from tvt.stats.ranks import midranks, rank_correlation, signed_rank_p
from tvt.transfer.aggregates import groupings
from tvt.transfer.noise import between_studies, noise
from tvt.transfer.personas import KINDS, personas

NAMES = ("good", "bad", "soft", "plain")


def matrix(values, names=NAMES, **more):
    cube = np.array(values, dtype=float)
    runs = [f"r{k}" for k in range(len(cube))]
    return TransferMatrix.from_values(cube, sources=names, targets=names, runs=runs, **more)


def world(runs=8, seed=0):
    """``good`` helps everyone, ``bad`` harms everyone, and ``soft`` is helped most; noise is small."""
    base = np.array([[0, 0.2, 0.5, 0.2], [-0.3, 0, -0.1, -0.3], [0.01, 0.01, 0, 0.01], [0.02, 0.02, 0.2, 0]])
    return matrix(base + np.random.default_rng(seed).normal(0, 0.002, (runs, 4, 4)))


def test_tasks_made_to_stand_out_do():
    found = personas([world()])
    assert found.passing("donor").keys() == {"good"}
    assert found.passing("pirate").keys() == {"bad"}
    assert found.passing("sponge").keys() == {"soft"}
    assert found.passing("donor")["good"] == pytest.approx(2**-8)
    assert found.note is None


def test_statistic_is_the_aggregate_minus_the_mean_of_the_others():
    m = matrix([[[0, 0.4], [-0.1, 0]]], names=("x", "y"))
    help_of_x = (1 - np.exp(-1)) * 0.4
    found = {(t.kind, t.task): t.values for t in personas([m]).tests}
    assert found["donor", "x"] == pytest.approx((help_of_x,))
    assert found["donor", "y"] == pytest.approx((-help_of_x,))
    assert found["pirate", "y"] == pytest.approx(((1 - np.exp(-1)) * 0.1,))
    assert found["sponge", "y"] == pytest.approx((help_of_x,))


def test_values_of_all_studies_are_pooled():
    one, two = world(4, 1), world(4, 2)
    assert personas([one]).passing("donor") == {}
    assert "no persona can be decided" in personas([one]).note
    assert "needs 7" in personas([one]).note
    found = personas([one, two])
    assert found.passing("donor").keys() == {"good"}
    assert found.of("donor")[0].studies == (0,) * 4 + (1,) * 4
    assert {len(t.values) for t in found.tests} == {8}


def test_alpha_decides():
    assert personas([world(4)], alpha=0.07).passing("donor").keys() == {"good"}
    assert personas([world(4)], alpha=0.06).passing("donor") == {}


def test_a_single_task_has_no_others():
    found = personas([matrix([[[0.5]]] * 8, names=("only",))])
    assert all(t.values == () and t.p == 1 for t in found.tests)
    assert "no task has another" in found.note


def test_p_values_of_the_bundled_studies_match_scipy():
    found = personas([load_study(name) for name in ("qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b")])
    assert len(found.tests) == 4 * 13
    for test in found.tests:
        assert test.p == pytest.approx(wilcoxon(test.values, alternative="greater", method="exact").pvalue), test.task


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-6, 6), max_size=9))
def test_signed_rank_is_exact_with_ties_and_zeros(numbers):
    """Against counting all ways to give the signs."""
    kept = np.array([n for n in numbers if n], dtype=float)
    ranks = rankdata(np.abs(kept))
    observed = ranks[kept > 0].sum()
    signs = np.array(np.meshgrid(*[[0, 1]] * len(kept))).T.reshape(-1, len(kept)) if len(kept) else np.zeros((1, 0))
    wanted = float((signs @ ranks >= observed - 1e-9).mean())
    assert signed_rank_p(np.array(numbers, dtype=float) / 7) == pytest.approx(wanted)


def test_ranks():
    assert midranks(np.array([0.3, 0.1, 0.3, 0.2])).tolist() == [3.5, 1, 3.5, 2]
    assert rank_correlation(np.array([1.0, 2, 3, np.nan]), np.array([10.0, 100, 1000, 1])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])))


def test_groups_leave_out_self_and_say_how_many_cells():
    tasks = [Task(name="good", level="low"), Task(name="bad", level="low"), Task(name="soft", level="high")]
    (found,) = groupings(matrix(world().mean[None], tasks=tasks))
    assert found.by == "level"
    assert found.groups == ("low", "high")
    assert found.ungrouped == ("plain",)
    assert found.cells["low", "low"].cells == 2
    assert found.cells["low", "low"].mean == pytest.approx((0.2 - 0.3) / 2, abs=0.01)
    assert ("high", "high") not in found.cells
    assert groupings(world()) == ()


def test_noise_of_pure_noise_and_of_pure_signal():
    rng = np.random.default_rng(3)
    names = tuple(f"t{k}" for k in range(12))
    signal = rng.normal(0, 1, (1, 12, 12))
    loud = noise(matrix(rng.normal(0, 1, (6, 12, 12)), names))
    clear = noise(matrix(signal + rng.normal(0, 0.01, (6, 12, 12)), names))
    assert abs(loud.split_half) < 0.2
    assert len(loud.sign_flips) > 120
    assert clear.split_half > 0.999
    assert len(clear.sign_flips) < 5
    assert clear.run_sd_median == pytest.approx(0.01, rel=0.2)
    half_and_half = noise(matrix(signal + rng.normal(0, 1, (6, 12, 12)), names))
    assert half_and_half.split_half == pytest.approx(0.75, abs=0.08)  # 1 / (1 + 1/3) of halves of three runs
    assert half_and_half.reliability == pytest.approx(6 / 7, abs=0.06)


def test_noise_of_one_run_is_unknown_not_zero():
    found = noise(matrix(world().values[:1]))
    assert np.isnan([found.run_sd_median, found.run_sd_max, found.split_half, found.reliability, found.item_share]).all()
    assert found.noisiest is None
    assert found.sign_flips == ()


def test_agreement_uses_shared_cells_only():
    a, b = world(), matrix(world().values[:, ::-1, ::-1], NAMES[::-1])
    assert between_studies(a, b) == pytest.approx((1.0, 12))
    c = matrix(np.ones((1, 2, 2)), ("good", "elsewhere"))
    assert between_studies(a, c)[1] == 0
    assert np.isnan(between_studies(a, c)[0])


def test_every_kind_is_tested():
    assert {t.kind for t in personas([world()]).tests} == set(KINDS)
