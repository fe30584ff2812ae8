"""Cheaper studies judged against the full one: hand-worked matrices, what must hold always, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import log_spec
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.study.judging import MOST_SUBSETS, at_dose, beside, by_runs, judge, wishes

TASKS = ("a", "b", "c", "d", "e")


def study(values: np.ndarray, name: str = "full") -> TransferMatrix:
    """A study from values of shape (runs, 5, 5) or (5, 5)."""
    cube = values if values.ndim == 3 else values[None]
    return TransferMatrix.from_values(
        cube, sources=TASKS, targets=TASKS, runs=[f"seed_{k}" for k in range(len(cube))], name=name
    )


def noisy(seed: int, noise: float, runs: int = 4) -> np.ndarray:
    truth = np.random.default_rng(99).normal(0.1, 0.2, (5, 5))
    return truth + noise * np.random.default_rng(seed).normal(size=(runs, 5, 5))


def by_hand() -> tuple[TransferMatrix, TransferMatrix]:
    """Target a gains 0.4 from b and 0.3 from c, and the cheap study has seen it the other way round."""
    full, cheap = np.zeros((5, 5)), np.zeros((5, 5))
    full[:, 0], cheap[:, 0] = [0.9, 0.4, 0.3, -0.1, -0.2], [0.9, 0.3, 0.4, -0.1, -0.2]
    return study(full), study(cheap, "cheap")


def test_what_is_lost_by_hand() -> None:
    """The linear response puts all on the best source: b in the full study, c in the cheap one. a itself is left out."""
    full, cheap = by_hand()
    spec = log_spec(targets={"a": 1}, without_direct=True, response="linear")
    found = judge(full, [beside(full, cheap)[0]], [spec], way="against")
    (choice,) = found.choices
    assert choice.targets == ("a",)
    assert choice.full.weights == pytest.approx({"b": 1.0})
    assert choice.cheap[0].weights == pytest.approx({"c": 1.0})
    assert choice.moved == pytest.approx((1.0,))
    assert choice.value == pytest.approx(0.4)
    assert choice.values == pytest.approx((0.3,))
    assert choice.uniform == pytest.approx(0.1)
    assert choice.regret.value == pytest.approx(0.1)
    assert (found.cost, found.runs, found.cheap_runs) == (None, 5, 5)


def test_rank_correlation_by_hand() -> None:
    """20 cells between tasks: 16 zeros with mean rank 10.5, 0.4 and 0.3 change places, -0.1 and -0.2 stay."""
    full, cheap = by_hand()
    found = judge(full, [beside(full, cheap)[0]], [log_spec(targets={"a": 1})], way="against")
    deviations = np.array([9.5, 8.5, -8.5, -9.5])
    expected = (2 * 9.5 * 8.5 + 8.5**2 + 9.5**2) / (deviations**2).sum()
    assert found.rank.value == pytest.approx(expected)
    assert found.likeness[0].cells == 20
    assert found.likeness[0].signs == 0  # one run without counts: the noise is not known
    assert np.isnan(found.apart.value)


def test_a_study_against_itself() -> None:
    full = study(noisy(0, 0.02))
    found = judge(full, [beside(full, full)[0]], wishes(full, log_spec()), way="against", examples=1.0)
    assert found.rank == pytest.approx((1.0, 1.0, 1.0))
    assert found.cost == 1.0
    like = found.likeness[0]
    assert like.agreeing == like.signs > 0
    assert like.shared == like.runs == 20
    assert len(found.choices) == 5
    for choice in found.choices:
        assert choice.targets[0] not in choice.full.weights
        assert choice.regret == pytest.approx((0.0, 0.0, 0.0))
        assert choice.moved == pytest.approx((0.0,))
        assert choice.same_verdict == 1


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_a_study_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    full, other = study(noisy(seed, 0.05)), study(noisy(seed + 1, 0.05, 2), "cheap")
    rows, columns = rng.permutation(5), rng.permutation(5)
    turned = TransferMatrix.from_values(
        other.values[:, rows][:, :, columns],
        sources=[TASKS[i] for i in rows],
        targets=[TASKS[j] for j in columns],
        runs=other.runs,
        name="cheap",
    )
    spec = log_spec(targets={"a": 1, "b": 2}, anyway=True)
    one, two = (judge(full, [beside(full, of)[0]], [spec], way="against") for of in (other, turned))
    assert two.rank == pytest.approx(one.rank)
    assert replace(two.likeness[0], apart=0, rank=0) == replace(one.likeness[0], apart=0, rank=0)
    assert two.choices[0].regret == pytest.approx(one.choices[0].regret, abs=1e-5)
    assert one.choices[0].regret.value >= -1e-6  # nothing is better by the full study's figures than its own mixture


def test_noise_costs_correlation() -> None:
    full = study(noisy(0, 0.0))
    ranks = [
        judge(full, [beside(full, study(noisy(1, noise), "cheap"))[0]], [log_spec(targets={"a": 1})], way="against").rank
        for noise in (0.01, 0.2, 1.0)
    ]
    assert ranks[0].value > ranks[1].value > ranks[2].value
    assert all(rank.low <= rank.value <= rank.high for rank in ranks)


def test_the_runs_left_out_agree_less_than_all_runs_do() -> None:
    full = study(noisy(0, 0.2))
    cheap, of = by_runs(full, 2)
    found = judge(full, cheap, [log_spec(targets={"a": 1})], way="seeds", of=of, examples=1.0)
    assert (len(found.names), found.of, found.cost) == (6, 6, 0.5)
    assert found.apart.value < found.rank.value
    assert found.names[0] == "seed_0 + seed_1"
    assert cheap[0].rest is not None
    assert cheap[0].rest.runs == ("seed_2", "seed_3")
    assert found.likeness[0].shared == 10


def test_many_choices_of_runs_are_sampled() -> None:
    full = study(noisy(0, 0.2, runs=10))
    cheap, of = by_runs(full, 5)
    assert of == 252
    assert len({c.name for c in cheap}) == MOST_SUBSETS
    for count in (0, 10, 11):
        with pytest.raises(InputError, match="10 runs; give --seeds from 1 to 9"):
            by_runs(full, count)
    with pytest.raises(InputError, match="1 run; a cheaper study needs at least two"):
        by_runs(full.only_runs([0]), 1)


def test_interval_of_regret_holds_the_noise_of_the_full_study() -> None:
    """By hand, each run shifted: the full study's cells have a standard error, and so has what is lost between b and c."""
    full, cheap = by_hand()
    shifts = np.array([-0.03, -0.01, 0.01, 0.03])
    values = np.repeat(full.values, 4, axis=0)
    values[:, 1, 0] += shifts
    noisy_full = study(values)
    spec = log_spec(targets={"a": 1}, without_direct=True, response="linear", confidence=0.95)
    regret = judge(noisy_full, [beside(noisy_full, cheap)[0]], [spec], way="against").choices[0].regret
    error = noisy_full.seed_error[1, 0]
    assert regret.value == pytest.approx(0.1)
    assert (regret.high - regret.low) / 2 == pytest.approx(1.96 * error, rel=0.2)


def dosed() -> TransferMatrix:
    """Four runs at the full budget of 1,000, and runs of a, b and c at 0.25 of it for two seeds, and one at 0.5."""
    weights = np.zeros((7, 5))
    scores = np.full((7, 5), np.nan)
    runs = ["seed_0"] * 3 + ["seed_1"] * 3 + ["seed_0"]
    for row, (source, share) in enumerate([(0, 0.25), (1, 0.25), (2, 0.25)] * 2 + [(0, 0.5)]):
        weights[row, source], scores[row] = share, row / 10
    evidence = MixtureRuns(
        ids=tuple(map(str, range(7))), sources=TASKS, targets=TASKS, weights=weights, scores=scores, runs=tuple(runs)
    )
    return replace(study(noisy(0, 0.02)), evidence=evidence, budget=1000)


def test_the_runs_at_a_dose_are_a_study() -> None:
    cheap = at_dose(dosed(), 0.25).matrix
    assert cheap.runs == ("seed_0", "seed_1")
    assert cheap.budget == 250
    assert cheap.evidence is None
    assert cheap.values[0, :3, 4] == pytest.approx([0.0, 0.1, 0.2])
    assert cheap.values[1, :3, 0] == pytest.approx([0.3, 0.4, 0.5])
    assert np.isnan(cheap.values[:, 3:]).all()
    with pytest.raises(InputError, match=r"no run of a source at 0\.75 of the budget; it has runs at 0\.25, 0\.5; add"):
        at_dose(dosed(), 0.75)
    with pytest.raises(InputError, match="it has no runs on doses"):
        at_dose(study(noisy(0, 0.1)), 0.25)


def test_a_dose_is_judged_by_the_sources_that_have_it() -> None:
    full = dosed()
    found = judge(full, [at_dose(full, 0.25)], [log_spec(targets={"e": 1})], way="dose", examples=0.25)
    assert found.cost == pytest.approx(0.25 * 6 / 20)
    assert found.likeness[0].cells == 12
    assert found.likeness[0].estimated == 10
    assert {"d", "e"}.isdisjoint(found.choices[0].cheap[0].weights)


def test_runs_that_stand_in_both_studies_are_found() -> None:
    """On the cells that both have; runs at a dose are others by definition."""
    full = study(noisy(0, 0.1))
    values = full.values[1:3].copy()
    values[0, 0, 3] = np.nan
    values[1, 1] += 0.01
    spec = [log_spec(targets={"a": 1})]
    cheap = [beside(full, study(values, "cheap"))[0]]
    assert judge(full, cheap, spec, way="against").likeness[0].shared == 9
    assert judge(full, cheap, spec, way="dose").likeness[0].shared == 0


def test_studies_of_other_tasks_and_metrics_are_refused() -> None:
    full = study(noisy(0, 0.1))
    strange = TransferMatrix.from_values(np.ones((2, 2)), sources=("x", "y"), targets=("a", "b"), name="strange")
    with pytest.raises(InputError, match="strange shares no source with full"):
        beside(full, strange)
    with pytest.raises(InputError, match="strange holds gain and full pgf"):
        beside(full, replace(strange, metric="gain"))
    part = TransferMatrix.from_values(np.full((2, 3), 0.1), sources=("b", "x"), targets=("a", "b", "e"), name="part")
    cheap, notes = beside(full, part)
    assert cheap.matrix.sources == TASKS
    assert np.isfinite(cheap.matrix.values).sum() == 3
    assert notes == (
        "part lacks the sources a, c, d, e",
        "sources that only part has are left out: x",
        "part lacks the targets c, d",
    )


def test_a_cheap_study_without_an_answer_trains_nothing() -> None:
    full = study(noisy(0, 0.02))
    part = TransferMatrix.from_values(np.full((5, 1), 0.1), sources=TASKS, targets=("a",), name="part")
    choice = judge(full, [beside(full, part)[0]], [log_spec(targets={"b": 1}, anyway=True)], way="against").choices[0]
    assert choice.cheap[0].verdict == "no_answer"
    assert choice.cheap[0].reason is not None
    assert choice.values == (0.0,)
    assert choice.moved == pytest.approx((1.0,))
    with pytest.raises(InputError, match="nowhere"):
        judge(full, [beside(full, part)[0]], [log_spec(targets={"nowhere": 1})], way="against")


def tvt(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-m", "tvt", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_half_the_seeds_of_the_published_figures() -> None:
    done = tvt("study", "judge", "7b", "--seeds", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    assert told["choices_of_runs"] == {"judged": 6, "of": 6}
    assert told["cost"] == {"runs": {"full": 52, "cheap": 26}, "examples_per_run": 1.0, "training": 0.5}
    assert 0.9 < told["rank_correlation_left_out"]["value"] < told["rank_correlation"]["value"] < 1
    assert [request["targets"][0] for request in told["requests"]] == list(load_study("7b").targets)
    for request in told["requests"]:
        assert len(request["cheap"]) == 6
        assert request["regret"]["low"] <= request["regret"]["value"] <= request["regret"]["high"]
        assert 0 <= request["total_variation"] <= 1


@pytest.mark.parametrize("columns", [80, 120])
def test_what_is_shown_fits_the_terminal(columns: int) -> None:
    done = tvt("study", "judge", "7b", "--seeds", "2", "--target", "Jigsaw", "--without-direct", columns=columns)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "all 6 choices" in done.stdout
    assert "Visual Similarity" in done.stdout
    assert "…" not in done.stdout
    assert "nan" not in done.stdout


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([], "say which cheaper study is meant"),
        (["--seeds", "2", "--dose", "0.5"], "say which cheaper study is meant"),
        (["--seeds", "4"], "give --seeds from 1 to 3"),
        (["--dose", "0.25"], "it has no runs on doses"),
        (["--against", "7c"], "7c"),
        (["--seeds", "2", "--target", "Jigsw"], "did you mean 'Jigsaw'"),
    ],
)
def test_bad_options_say_what_to_do(options: list[str], fault: str) -> None:
    done = tvt("study", "judge", "7b", *options)
    assert done.returncode == 2, done.stdout
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_at_a_dose_a_source_of_few_rows_has_the_very_run_that_it_has_in_the_full_study() -> None:
    full = dosed()
    doses = np.ones((len(full.runs), 5))
    doses[:, 3] = 0.2
    cheap = at_dose(replace(full, doses=doses), 0.25).matrix
    assert cheap.values[0, 3] == pytest.approx(full.values[0, 3])
    assert np.isnan(cheap.values[:, 4]).all()
    assert cheap.doses is None
