"""The entries of a comparison: what each baseline is, at equal budget, and what it may use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare_worlds import KAPPA, study
from problems import log_gains, random_matrix
from tvt.compare.baselines import arms_of, spec_of
from tvt.core.arms import Arm
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.selection import SelectionSpec
from tvt.core.task import Task
from tvt.errors import InputError
from tvt.selection.engine import select

TRUTH = np.array([[0.3, 0.1, 0.0, -0.1], [0.2, 0.3, 0.1, 0.0], [0.25, -0.1, 0.4, 0.1], [-0.2, 0.2, -0.1, 0.3]])


def chosen(matrix: TransferMatrix, **spec: object) -> Mixture:
    mixture = select(matrix, SelectionSpec.model_validate({"kappa": KAPPA, "anyway": True, **spec}))
    assert isinstance(mixture, Mixture)
    return mixture


def by_label(found: tuple[Arm, ...]) -> dict[str, Arm]:
    assert len({e.label for e in found}) == len(found)
    return {e.label: e for e in found}


def test_the_entries_are_these() -> None:
    matrix = study(TRUTH, 0.01, 0)
    mixture = chosen(matrix, goals={"task 0": 0.3}, without_direct=True, budget=800)
    found = by_label(arms_of(matrix, mixture, budget=800))
    assert list(found) == ["selected", "uniform", "random 1", "random 2", "random 3", "proportional", "best single", "direct"]
    assert all(sum(e.counts.values()) == 800 for e in found.values())
    assert found["selected"].counts == {s: n for s, n in mixture.counts.items() if n}
    assert found["uniform"].counts == {"task 1": 267, "task 2": 267, "task 3": 266}
    # Sources of the only goal are taken in proportion to their positive mean PGF, and task 3 harms it.
    gains = matrix.mean[[1, 2], 0]
    assert found["proportional"].weights == pytest.approx(dict(zip(("task 1", "task 2"), gains / gains.sum(), strict=True)))
    assert found["best single"].counts == {"task 2": 800}
    assert found["direct"].counts == {"task 0": 800}
    assert all("task 0" not in e.counts for label, e in found.items() if label != "direct")


def test_excluded_sources_are_not_used_even_by_chance() -> None:
    matrix = study(TRUTH, 0.01, 0)
    mixture = chosen(matrix, targets={"task 1": 1.0}, exclude=("task 3", "task 2"))
    found = by_label(arms_of(matrix, mixture, budget=100, randoms=5))
    assert all(set(e.counts) <= {"task 0", "task 1"} for e in found.values())
    assert found["direct"].counts == {"task 1": 100}


def test_direct_shares_the_targets_that_are_sources() -> None:
    matrix = TransferMatrix.from_values(TRUTH[:2], sources=["a", "b"], targets=["a", "b", "c", "d"])
    found = by_label(arms_of(matrix, chosen(matrix, goals={"a": 0.1, "b": 0.1, "c": 0.1}), budget=10))
    assert found["direct"].counts == {"a": 5, "b": 5}
    assert "1 other target without any" in found["direct"].about
    elsewhere = by_label(arms_of(matrix, chosen(matrix, goals={"c": 0.1}), budget=10))
    assert "direct" not in elsewhere


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["gain", "goals", "worst"]))
def test_best_single_has_the_highest_objective(seed: int, goal: str) -> None:
    matrix = random_matrix(seed, 5, 4)
    asked = {"goals": {"target_1": 0.3, "target_2": 0.1}} if goal == "goals" else {"objective": goal}
    best = by_label(arms_of(matrix, chosen(matrix, **asked), budget=50))["best single"]
    gains = log_gains(np.eye(5), matrix.mean)
    if goal == "gain":
        values = list(gains.mean(axis=1))
    elif goal == "worst":
        values = list(gains.min(axis=1))
    else:
        short = np.maximum([0.3, 0.1] - gains[:, 1:3], 0).sum(axis=1)
        values = list(zip(-short, gains[:, 1:3].mean(axis=1), strict=True))
    assert best.counts == {matrix.sources[max(range(5), key=values.__getitem__)]: 50}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(5)))
def test_order_of_the_study_does_not_matter(seed: int, order: list[int]) -> None:
    matrix = random_matrix(seed, 5, 3)
    shuffled = TransferMatrix.from_values(
        matrix.values[:, order], sources=[matrix.sources[i] for i in order], targets=matrix.targets, runs=matrix.runs
    )
    mixture = chosen(matrix)
    assert by_label(arms_of(matrix, mixture, budget=997)) == by_label(arms_of(shuffled, mixture, budget=997))


def test_random_mixtures_depend_on_the_seed_and_not_on_their_number() -> None:
    matrix = random_matrix(0, 5, 3)
    mixture = chosen(matrix)
    three, one = arms_of(matrix, mixture, budget=100), arms_of(matrix, mixture, budget=100, randoms=1)
    assert by_label(three)["random 1"] == by_label(one)["random 1"]
    assert by_label(three)["random 1"].counts != by_label(three)["random 2"].counts
    assert by_label(arms_of(matrix, mixture, budget=100, seed=1))["random 1"].counts != by_label(one)["random 1"].counts


def test_another_budget_rescales_within_the_caps() -> None:
    matrix = study(TRUTH, 0.01, 0)
    mixture = chosen(matrix, goals={"task 0": 0.5}, caps={"all": 0.45}, budget=1000)
    selected = by_label(arms_of(matrix, mixture, budget=77))["selected"]
    assert sum(selected.counts.values()) == 77
    assert max(selected.counts.values()) <= np.ceil(0.45 * 77)
    assert {s: n / 77 for s, n in selected.counts.items()} == pytest.approx(
        {s: w for s, w in mixture.weights.items() if w > 0.01}, abs=1 / 77
    )
    assert "scaled from 1,000" in selected.about


def test_data_that_does_not_reach_is_told_and_never_repeated_in_silence() -> None:
    matrix = study(TRUTH, 0.01, 0)
    mixture = chosen(matrix, goals={"task 0": 0.5}, without_direct=True, budget=100)
    short = by_label(arms_of(matrix, mixture, budget=1000, sizes={"task 1": 900, "task 2": 300, "elsewhere": 1}))
    assert short["selected"].counts["task 2"] == 300
    assert "less task 2 than chosen" in short["selected"].about
    assert short["best single"].counts == {"task 2": 1000}
    assert "task 2 3.33 times over" in short["best single"].about
    with pytest.raises(InputError, match=r"at most 700 examples.*smaller budget"):
        arms_of(matrix, mixture, budget=1000, sizes={"task 1": 400, "task 2": 300})
    none = by_label(arms_of(matrix, mixture, budget=100, sizes={"task 3": 0}))
    assert all("task 3" not in e.counts for e in none.values())


def test_where_nothing_helps_the_selected_entry_is_the_base_model() -> None:
    matrix = TransferMatrix.from_values(-np.abs(TRUTH), sources=list("abcd"), targets=list("abcd"))
    mixture = chosen(matrix, anyway=False)
    assert mixture.verdict == "nothing_helps"
    found = by_label(arms_of(matrix, mixture, budget=100))
    assert found["selected"].counts == {}
    assert "base model" in found["selected"].about
    assert "no source has" in found["proportional"].about
    assert found["proportional"].counts == found["uniform"].counts
    assert found["proportional"].about.endswith("same as uniform")


def test_equal_mixtures_are_told_and_keep_their_labels() -> None:
    matrix = study(TRUTH, 0.0, 0)
    mixture = chosen(matrix, goals={"task 3": 0.1}, response="linear")
    found = by_label(arms_of(matrix, mixture, budget=100))
    assert found["selected"].counts == found["best single"].counts == found["direct"].counts == {"task 3": 100}
    assert found["best single"].about.endswith("same as selected")


def test_the_request_may_name_tasks_by_abbreviation() -> None:
    tasks = [Task(name="task 0", abbreviation="TZ"), Task(name="task 1", abbreviation="TO")]
    plain = study(TRUTH, 0.01, 0)
    matrix = TransferMatrix.from_values(
        plain.values, sources=plain.sources, targets=plain.targets, runs=plain.runs, tasks=tasks
    )
    mixture = chosen(matrix, goals={"TZ": 0.3}, without_direct=True, sizes={"TO": 50}, budget=60)
    found = by_label(arms_of(matrix, mixture, budget=60))
    assert found["direct"].counts == {"task 0": 60}
    assert found["selected"].counts.get("task 1", 0) <= 50


def test_a_fitted_kappa_is_that_of_the_selection() -> None:
    mixture = Mixture.of_counts({"a": 1}, provenance={"spec": {"risk": 0.5}, "curvature": {"kappa": 3.5, "origin": "fitted"}})
    assert spec_of(mixture) == SelectionSpec(risk=0.5, kappa=3.5)
    assert spec_of(mixture).form == "log"
    given = Mixture.of_counts({"a": 1}, provenance={"spec": {"kappa": 2.0}, "curvature": {"kappa": 2.0, "origin": "given"}})
    assert spec_of(given).kappa == 2.0


def test_refusals() -> None:
    matrix = study(TRUTH, 0.01, 0)
    with pytest.raises(InputError, match="does not say what was asked"):
        spec_of(Mixture.of_counts({"task 0": 5}))
    with pytest.raises(InputError, match=r"'tusk 0' of the mixture is not in the study .did you mean 'task 0'"):
        arms_of(matrix, Mixture.of_counts({"tusk 0": 5}, provenance={"spec": {}}), budget=10)
    with pytest.raises(InputError, match="at least 1 example"):
        arms_of(matrix, chosen(matrix), budget=0)
