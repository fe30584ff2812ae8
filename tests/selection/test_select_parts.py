"""The parts of a selection: text constraints, rounding, names, stability, frontier, prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from problems import log_gains, log_spec, random_matrix
from tvt.core import objective
from tvt.core.matrix import TransferMatrix
from tvt.core.mixture import Mixture
from tvt.core.objective import Objective
from tvt.core.pooling import pool
from tvt.core.task import Task
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.evidence.predict import predict
from tvt.selection.audit import round_to_counts
from tvt.selection.engine import select
from tvt.selection.explain import explain
from tvt.selection.frontier import frontier
from tvt.selection.request import parse_constraint
from tvt.selection.stability import stability

NAMES = ("Multi-view_Reasoning", "Relative_Depth", "Relative_Reflectance", "Art Style")
SHORT = {"RD": "Relative_Depth", "RR": "Relative_Reflectance", "MR": "Multi-view_Reasoning"}


def resolve(text: str) -> str:
    if text in NAMES:
        return text
    return SHORT[text]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("RD + RR >= 0.2", [([0, -1, -1, 0], -0.2)]),
        ("2*RD - Multi-view_Reasoning <= 10%", [([-1, 2, 0, 0], 0.1)]),
        ("RD = RR", [([0, 1, -1, 0], 0), ([0, -1, 1, 0], 0)]),
        ("0.1 <= RD <= 0.3", [([0, -1, 0, 0], -0.1), ([0, 1, 0, 0], 0.3)]),
        ("'Art Style' + .5 >= RD + 1e-1", [([0, 1, 0, -1], 0.4)]),
        ("-RD + MR > 0", [([-1, 1, 0, 0], 0)]),
    ],
)
def test_constraints_as_text(text: str, rows: list[tuple[list[float], float]]) -> None:
    limits = parse_constraint(text, NAMES, resolve)
    assert [(list(limit.coefficients), pytest.approx(limit.bound)) for limit in limits] == rows


@pytest.mark.parametrize("text", ["RD + RR", "RD >=", "0.2 >= 0.1", "RD RR >= 0.1", "RD >= high*", "RD * 2 >= 1"])
def test_constraints_that_are_none(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_constraint(text, NAMES, resolve)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda x: sum(x) > 0.1), st.integers(1, 100_000))
def test_counts_sum_to_the_budget_and_stay_within_one(raw: list[float], budget: int) -> None:
    weights = np.array(raw) / sum(raw)
    counts = round_to_counts(weights, budget)
    assert counts.sum() == budget
    assert np.abs(counts - weights * budget).max() < 1
    assert (counts[weights == 0] == 0).all()


def test_counts_keep_to_caps() -> None:
    caps = np.array([0.255, 1.0, 1.0])
    counts = round_to_counts(np.array([0.255, 0.3725, 0.3725]), 10, caps=caps)
    assert counts.tolist() == [2, 4, 4]


def test_data_sizes_and_epochs_cap_a_source() -> None:
    matrix = random_matrix(0, 3, 3, centre=0.2)
    spec = log_spec(budget=1000, sizes={"source_0": 50}, max_epochs=2, anyway=True)
    mixture = select(matrix, spec)
    assert isinstance(mixture, Mixture)
    assert mixture.counts["source_0"] <= 100


def test_every_fault_of_a_request_at_once() -> None:
    matrix = random_matrix(0, 3, 3)
    with pytest.raises(InputError) as caught:
        select(
            matrix,
            log_spec(goals={"targt_0": 0.1, "target_1": 7}, caps={"nothing": 0.1}, constraints=("source_0 + x >= 0.1",)),
        )
    faults = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    assert "did you mean 'target_0'" in faults
    assert "no PGF is above 1" in faults
    assert "'x'" in faults


@pytest.mark.parametrize(
    "options",
    [
        {"goals": {"a": float("nan")}},
        {"goals": {"a": float("inf")}},
        {"caps": {"a": 0.1}, "floors": {"a": 0.2}},
        {"caps": {"a": 1.5}},
        {"risk": -1},
        {"risk": 1, "cvar": 0.1},
        {"budget": 0},
        {"without_direct": True},
        {"objective": "goals"},
        {"goals": {"a": 0.1}, "objective": "worst"},
        {"unknown": 1},
    ],
)
def test_requests_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        log_spec(**options)


def test_contradictory_limits_under_an_abbreviation() -> None:
    values = random_matrix(0, 2, 2).values
    tasks = (Task(name="Jigsaw", abbreviation="JG"), Task(name="Counting", abbreviation="CN"))
    matrix = TransferMatrix.from_values(
        values, sources=("Jigsaw", "Counting"), targets=("Jigsaw", "Counting"), runs=("0", "1", "2"), tasks=tasks
    )
    with pytest.raises(InputError, match="above its cap"):
        select(matrix, log_spec(caps={"JG": 0.1}, floors={"Jigsaw": 0.2}))


def test_leaving_a_run_out_uses_the_others_only() -> None:
    matrix = random_matrix(5, 4, 3, runs=3)
    spec = log_spec(anyway=True)
    told = stability(matrix, spec)
    assert told is not None
    assert told.folds == matrix.runs
    without_first = select(matrix.only_runs([1, 2]), spec)
    assert isinstance(without_first, Mixture)
    assert told.weights[0] == pytest.approx([without_first.weights[s] for s in matrix.sources], abs=1e-6)
    first = matrix.values[0]
    expected = log_gains(told.weights[:1], first).mean()
    assert told.held_out[0, 0] == pytest.approx(expected, abs=1e-6)
    assert told.held_out[0, 1] == pytest.approx(log_gains(np.full((1, 4), 0.25), first).mean(), abs=1e-9)
    assert stability(matrix.only_runs([0]), spec) is None


def test_frontier_of_harm_trades_gain_for_safety() -> None:
    points = frontier(load_study("qwen2.5-vl-7b"), log_spec(goals={"Jigsaw": 0.15}, without_direct=True), "harm")
    worst = [p.worst for p in points]
    assert len(points) >= 5
    assert worst == sorted(worst)
    assert points[0].gain >= points[-1].gain
    assert all(p.weights.get("Jigsaw", 0) == 0 for p in points)
    assert all(p.worst >= p.setting - 1e-6 for p in points)


def test_frontier_of_risk_lowers_the_error() -> None:
    points = frontier(load_study("qwen2.5-vl-7b"), log_spec(), "risk")
    assert points[-1].error <= points[0].error + 1e-9
    assert points[-1].gain <= points[0].gain + 1e-9


def test_prediction_is_the_response_written_by_hand() -> None:
    matrix = random_matrix(6, 3, 2)
    w = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    told, report, *_ = predict(matrix, w, matrix.sources, log_spec())
    assert report is None
    expected = log_gains(w, matrix.mean)
    for n in range(2):
        for j, target in enumerate(matrix.targets):
            assert told[n][target].gain == pytest.approx(expected[n, j], abs=1e-12)
            assert told[n][target].low < told[n][target].gain < told[n][target].high


def test_prediction_refuses_unknown_sources() -> None:
    with pytest.raises(InputError, match="did you mean 'source_0'"):
        predict(random_matrix(0, 2, 2), np.array([[1.0]]), ["sorce_0"])


def test_pooled_studies_of_different_models_are_a_run_each() -> None:
    first, second = load_study("qwen2.5-vl-3b"), load_study("qwen2.5-vl-7b")
    both = pool([first, second])
    assert len(both.runs) == 2
    assert np.allclose(both.mean, (first.mean + second.mean) / 2)


def test_sentences_name_what_matters() -> None:
    matrix = load_study("qwen2.5-vl-7b")
    spec = log_spec(goals={"Jigsaw": 0.15}, without_direct=True, caps={"VS": 0.2})
    mixture = select(matrix, spec)
    assert isinstance(mixture, Mixture)
    text = " ".join(explain(mixture, stability(matrix, spec)))
    assert "Visual_Similarity" in text
    assert "cap of Visual_Similarity" in text
    assert "left out" in text
    assert "nan" not in text


def test_what_the_assumed_kappa_moves() -> None:
    from tvt.selection.stability import kappa_sensitivity

    matrix = random_matrix(3, 5, 4, centre=0.1)
    spec = log_spec(anyway=True)
    moved = kappa_sensitivity(matrix, spec)
    for kappa, weights in moved.items():
        again = select(matrix, spec.model_copy(update={"kappa": kappa}))
        assert isinstance(again, Mixture)
        assert weights == pytest.approx({s: again.weights[s] for s in again.sources}, abs=1e-6)
    low, high = sorted(moved)
    assert max(moved[low].values()) > max(moved[high].values())  # a straighter response concentrates
    assert kappa_sensitivity(matrix, log_spec(response="linear")) == {}


def test_the_runs_left_out_are_scored_by_the_objective_that_was_asked_for() -> None:
    """Under *worst* the table of runs left out once held mean gains, and warned against its own right answer."""
    matrix = load_study("qwen2.5-vl-7b")
    spec = log_spec(objective="worst", anyway=True)
    answer, found = select(matrix, spec), stability(matrix, spec)
    assert isinstance(answer, Mixture)
    assert found is not None
    assert found.objective.name == "worst"
    left_out = matrix.only_runs([0])
    rest = matrix.only_runs([1, 2, 3])
    chosen = select(rest, spec)
    assert isinstance(chosen, Mixture)
    weights = np.array([[chosen.weights[s] for s in matrix.sources]])
    for evidence, table in ((rest, found.predicted), (left_out, found.held_out)):
        predicted, *_ = predict(evidence, weights, matrix.sources, spec.model_copy(update={"kappa": 10.0}))
        assert table[0, 0] == pytest.approx(min(p.gain for p in predicted[0].values()), abs=1e-6)
    lines = " ".join(explain(answer, found))
    assert "smallest gain" in lines
    assert "do not lean on this choice" not in lines


def test_a_shortfall_is_not_subtracted_from_a_margin() -> None:
    """Under goals, a mixture that meets them by the evidence and misses one on a run held out once lost its margin by it."""
    matrix = load_study("qwen2.5-vl-7b")
    spec = log_spec(goals={"Jigsaw": 0.15, "Counting": 0.05}, without_direct=True, caps={"all": 0.5})
    found = stability(matrix, spec)
    assert found is not None
    for figures in (found.predicted, found.held_out):
        assert (figures[:, 0] <= 0).all()  # shortfalls all of them, for one fold misses a goal
    assert found.held_out[:, 0].min() < -0.01
    assert found.optimism == pytest.approx(-found.held_out[:, 0].mean(), abs=1e-6)
    easy = stability(matrix, log_spec(goals={"Jigsaw": 0.15}))
    assert easy is not None
    assert (easy.predicted[:, 0] > 0.5).all()  # a margin where every fold meets all goals
    assert easy.optimism == pytest.approx((easy.predicted[:, 0] - easy.held_out[:, 0]).mean(), abs=1e-9)


def test_sentences_name_the_targets_that_gain_most_and_least() -> None:
    """Under *worst* the target that decides was never named, and targets beyond the fourth were left out without a word."""
    matrix = load_study("qwen2.5-vl-7b")
    answer = select(matrix, log_spec(objective="worst", anyway=True))
    assert isinstance(answer, Mixture)
    lines = " ".join(explain(answer))
    least = min(answer.predicted, key=lambda t: answer.predicted[t].gain)
    assert f"{least} {answer.predicted[least].gain:+.3f}" in lines
    assert "more targets gain" in lines
    limits = log_spec(targets={"Jigsaw": 1.0}, protect={"Counting": 0.5})
    harmful = select(matrix, limits)
    assert isinstance(harmful, Mixture)
    lines = " ".join(explain(harmful))
    assert "Harm below the limits remains: Counting" in lines
    assert "Also predicted to lose:" in lines


def test_an_objective_is_known_by_the_registry_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry makes an objective of solver, audit and report; an unknown name is refused, not solved as another."""
    second = Objective(
        name="second",
        wish="two weights on the first target",
        measure="first gain twice of",
        column="second",
        over="first gain twice of",
        about="twice the first gain and the smallest",
        value=lambda gains, wanted, algebra: gains @ np.eye(len(wanted.weights))[0] + algebra.least(gains),
    )
    monkeypatch.setitem(objective.OBJECTIVES, "second", second)
    matrix = load_study("qwen2.5-vl-7b")
    answer = select(matrix, log_spec(objective="second", anyway=True))
    assert isinstance(answer, Mixture)
    gains = [answer.predicted[t].gain for t in matrix.targets]
    assert answer.objective == pytest.approx(gains[0] + min(gains), abs=1e-6)
    with pytest.raises(ValueError, match=r"unknown objective 'wrost' .did you mean 'worst'"):
        log_spec(objective="wrost")
