"""Transfer by dose: worked by hand, like for like, and never with cells that the full budget lacks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit

from tvt.core.matrix import TransferMatrix
from tvt.core.mixture_runs import MixtureRuns
from tvt.core.scores import MixtureScore, Score
from tvt.core.task import Task
from tvt.core.values import encode
from tvt.transfer.aggregates import transferability
from tvt.transfer.dose_trend import dose_trend

TARGETS = ("A", "B", "C")
Right = dict[tuple[str, str], int]
"""(source, target) -> right answers of 100; the base has 50 everywhere."""


def counted(full: dict[str, Right], doses: dict[tuple[float, str], Right], base: int = 50) -> TransferMatrix:
    """A study of 100 questions a target; ``full`` by run, ``doses`` by share and run."""
    scores = [Score(run="base", source=None, target=t, accuracy=base / 100, correct=base, total=100) for t in TARGETS]
    scores += [
        Score(run=run, source=s, target=t, accuracy=right / 100, correct=right, total=100)
        for run, cells in full.items()
        for (s, t), right in cells.items()
    ]
    mixtures = [
        MixtureScore(mixture=f"{dose} {s}", run=run, weights={s: dose}, target=t, correct=right, total=100)
        for (dose, run), cells in doses.items()
        for (s, t), right in cells.items()
    ]
    return TransferMatrix.from_scores(scores, tasks=[Task(name=t) for t in TARGETS], mixtures=mixtures)


def factor(p: int, n: int) -> float:
    return (1 - math.exp(-p / n)) / p


FULL = {("A", "A"): 90, ("A", "B"): 60, ("A", "C"): 70, ("B", "A"): 45, ("B", "B"): 95, ("B", "C"): 55}
HALF = {("A", "A"): 99, ("A", "B"): 55, ("A", "C"): 65, ("B", "A"): 40, ("B", "B"): 99, ("B", "C"): 50}


def test_one_run_by_hand() -> None:
    """Off the diagonal PGF is 0.2, 0.4, -0.1, 0.1 at the full budget and 0.1, 0.3, -0.2, 0 at half of it."""
    found = dose_trend(counted({"s0": FULL}, {(0.5, "s0"): HALF}))
    assert found is not None
    half, full = found.points
    assert (half.dose, full.dose) == (0.5, 1.0)
    assert full.mean["positive"].value == pytest.approx((factor(2, 2) * 0.6 + factor(1, 2) * 0.1) / 2)
    assert full.mean["negative"].value == pytest.approx(factor(1, 2) * -0.1 / 2)
    assert half.mean["positive"].value == pytest.approx(factor(2, 2) * 0.4 / 2)
    assert half.mean["negative"].value == pytest.approx(factor(1, 2) * -0.2 / 2)
    assert half.full["positive"] == full.mean["positive"].value
    assert half.rise["positive"].value == pytest.approx(half.full["positive"] - half.mean["positive"].value)
    assert half.pattern.value == pytest.approx(1)
    assert (half.runs, half.sources, half.cells) == (1, 2, 4)
    told = encode(found)
    assert told[0]["positive"]["se"] is None
    assert told[0]["positive_rise_to_full"]["mean"] == pytest.approx(half.rise["positive"].value)
    assert told[1]["pattern"] == told[1]["positive_rise_to_full"] == {"mean": None, "se": None, "low": None, "high": None}


def test_intervals_are_the_jackknifes_over_runs() -> None:
    """Source A alone, all positive: the mean is linear in the cells, so the jackknife's error is that of a mean."""
    full = {f"s{k}": {("A", "B"): 60 + k, ("A", "C"): 70} for k in range(3)}
    half = {(0.5, f"s{k}"): {("A", "B"): 55 + 3 * k, ("A", "C"): 65} for k in range(3)}
    found = dose_trend(counted(full, half))
    assert found is not None
    point = found.points[0]
    by_run = factor(2, 2) * np.array([0.1 + 0.3, 0.16 + 0.3, 0.22 + 0.3])
    mean = point.mean["positive"]
    assert mean.value == pytest.approx(by_run.mean())
    assert mean.error == pytest.approx(by_run.std(ddof=1) / np.sqrt(3))
    assert mean.high - mean.value == pytest.approx(stdtrit(2, 0.975) * mean.error)
    rises = factor(2, 2) * np.array([0.2 - 0.1 + 0.1, 0.22 - 0.16 + 0.1, 0.24 - 0.22 + 0.1])
    assert point.rise["positive"].value == pytest.approx(rises.mean())
    assert point.rise["positive"].error == pytest.approx(rises.std(ddof=1) / np.sqrt(3))


def test_the_full_budget_is_the_study_itself() -> None:
    matrix = counted({"s0": FULL, "s1": HALF}, {(0.25, "s0"): HALF})
    found = dose_trend(matrix)
    assert found is not None
    given = transferability(matrix)
    assert found.points[-1].mean["positive"].value == pytest.approx(np.mean(given.positive))
    assert found.points[-1].mean["negative"].value == pytest.approx(np.mean(given.negative))
    assert found.points[-1].cells == 4


def test_a_dose_is_held_against_the_very_cells_it_has() -> None:
    """The dose has one of two runs, one of two sources and one of its two cells: so has what it is held against."""
    other = {cell: right + 7 for cell, right in FULL.items()}
    found = dose_trend(counted({"s0": FULL, "s1": other}, {(0.5, "s1"): {("B", "A"): 60, ("B", "B"): 60}}))
    assert found is not None
    point = found.points[0]
    assert (point.runs, point.sources, point.cells) == (1, 1, 1)
    assert point.mean["positive"].value == pytest.approx(factor(1, 1) * 0.2)
    assert point.full["positive"] == pytest.approx(factor(1, 1) * 0.04)
    assert np.isnan(point.mean["positive"].error)


def test_masked_cells_are_left_out() -> None:
    """A target without a gap has no PGF, at any dose."""
    assert dose_trend(counted({"s0": FULL}, {(0.5, "s0"): HALF}, base=100)) is None


def test_doses_of_what_the_study_lacks_are_left_out() -> None:
    assert dose_trend(counted({"s0": FULL}, {})) is None
    assert dose_trend(counted({"s0": FULL}, {(0.5, "s9"): HALF})) is None
    assert dose_trend(counted({"s0": FULL}, {(0.5, "s0"): {("C", "A"): 60}})) is None
    assert dose_trend(counted({"s0": FULL}, {(0.5, "s0"): {("A", "A"): 60}})) is None  # to itself alone


def test_mixtures_and_full_budgets_are_no_doses() -> None:
    matrix = counted({"s0": FULL}, {(0.5, "s0"): HALF})
    assert matrix.evidence is not None
    weights = np.array([[0.25, 0.25], [1.0, 0.0]])
    more = replace(matrix.evidence, ids=("m", "f"), weights=weights, scores=np.ones((2, 3)), errors=None, runs=("s0", "s0"))
    assert dose_trend(replace(matrix, evidence=more)) is None


def test_names_not_positions_decide() -> None:
    rng = np.random.default_rng(0)
    sources, targets, runs = list("ABC"), list("ABCD"), ["s0", "s1", "s2"]
    full = rng.normal(0, 0.2, (3, 3, 4))
    matrix = TransferMatrix.from_values(full, sources=sources, targets=targets, runs=runs)
    rows = [(dose, k, i) for dose in (0.25, 0.5) for k in range(3) for i in range(3)]
    weights, scores = np.zeros((len(rows), 3)), np.empty((len(rows), 4))
    for row, (dose, k, i) in enumerate(rows):
        weights[row, i], scores[row] = dose, full[k, i] * dose
    doses = MixtureRuns(
        ids=tuple(map(str, rows)),
        sources=tuple(sources),
        targets=tuple(targets),
        weights=weights,
        scores=scores,
        runs=tuple(runs[k] for _, k, _ in rows),
    )
    found = dose_trend(replace(matrix, evidence=doses))
    order = rng.permutation(len(rows))
    turned = doses.take(order.tolist())
    turned = replace(turned, sources=tuple("CAB"), weights=turned.weights[:, [2, 0, 1]])
    turned = replace(turned, targets=tuple("DACB"), scores=turned.scores[:, [3, 0, 2, 1]])
    assert found == dose_trend(replace(matrix, evidence=turned))
    assert found is not None
    for point in found.points[:-1]:  # in proportion, so the pattern stays and the mean is the dose's share
        assert point.pattern.value == pytest.approx(1)
        assert point.mean["positive"].value == pytest.approx(point.dose * point.full["positive"])
        assert point.pattern.high <= 1


def test_sources_of_few_rows_have_no_cell_at_the_full_budget_to_hold_a_dose_against() -> None:
    matrix = counted({"s0": FULL}, {(0.5, "s0"): HALF})
    limited = dose_trend(replace(matrix, doses=np.array([[1.0, 0.5]])))  # B's own run is at half of the budget
    assert limited is not None
    half, full = limited.points
    assert (half.sources, full.sources) == (1, 1)
    assert full.mean["positive"].value == pytest.approx(factor(2, 2) * 0.6)
    assert dose_trend(replace(matrix, doses=np.array([[0.5, 0.5]]))) is None
