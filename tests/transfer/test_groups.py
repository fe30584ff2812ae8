"""Transfer by level and granularity: worked by hand, with the errors of runs and questions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import Score
from tvt.core.task import Task
from tvt.data.studies.load import load_study
from tvt.transfer.aggregates import groupings, malleability, transferability

TASKS = (Task(name="A", level="low"), Task(name="B", level="high"), Task(name="C", level="low"), Task(name="D"))
NAMES = tuple("ABCD")


def study(seed: int = 0, runs: int = 3) -> TransferMatrix:
    values = np.random.default_rng(seed).normal(0, 0.2, (runs, 4, 4))
    return TransferMatrix.from_values(
        values, sources=NAMES, targets=NAMES, runs=[f"r{k}" for k in range(runs)], tasks=(*TASKS, Task(name="E", level="mid"))
    )


def test_means_between_groups_and_their_intervals() -> None:
    matrix = study()
    (found,) = groupings(matrix)
    assert found.by == "level"
    assert found.groups == ("low", "high")  # nobody of "mid" is in the study
    assert found.members == {"low": ("A", "C"), "high": ("B",)}
    assert found.ungrouped == ("D",)
    assert set(found.cells) == {("low", "low"), ("low", "high"), ("high", "low")}
    cell = found.cells["low", "high"]
    by_run = matrix.values[:, [0, 2], 1].mean(axis=1)
    assert (cell.mean, cell.cells) == (pytest.approx(by_run.mean()), 2)
    assert cell.interval.value == cell.mean
    assert cell.interval.error == pytest.approx(by_run.std(ddof=1) / np.sqrt(3))
    assert cell.interval.low == pytest.approx(cell.mean - stdtrit(2, 0.975) * cell.interval.error)
    assert np.isnan(cell.item_error)
    low = matrix.values.mean(axis=0)
    assert found.cells["low", "low"].mean == pytest.approx((low[0, 2] + low[2, 0]) / 2)


def test_groups_means_are_those_of_their_tasks() -> None:
    matrix = study()
    (found,) = groupings(matrix)
    given, taken = transferability(matrix), malleability(matrix)
    low = found.means["low"]
    assert low["helps"].value == pytest.approx(np.mean(given.positive[[0, 2]]))
    assert low["harms"].value == pytest.approx(np.mean(given.negative[[0, 2]]))
    assert low["is_helped"].value == pytest.approx(np.mean(taken.positive[[0, 2]]))
    assert low["is_harmed"].value == pytest.approx(np.mean(taken.negative[[0, 2]]))
    high = found.means["high"]  # one task alone: the very errors of its aggregates
    assert high["helps"].error == pytest.approx(given.positive_error[1])
    assert high["is_harmed"].error == pytest.approx(taken.negative_error[1])


def test_one_run_has_means_and_no_interval() -> None:
    (found,) = groupings(study(runs=1))
    told = found.to_json()
    assert told["mean"]["low"]["high"]["se"] is None
    assert told["mean"]["low"]["high"]["low"] is None
    assert told["mean"]["low"]["high"]["mean"] is not None
    assert told["tasks"]["low"]["helps"]["low"] is None
    assert told["ungrouped"] == ["D"]


def test_errors_of_questions_add_up_within_a_target() -> None:
    """Two targets of one group: their errors are independent; the two sources' errors on one of them are not."""
    rows = [(s, t) for s in (None, "A", "B", "C") for t in ("X", "Y")]
    right = {None: 50, "A": 60, "B": 55, "C": 70}
    scores = [
        Score(run="r", source=s, target=t, accuracy=right[s] / 100, correct=right[s], total=100 if t == "X" else 400)
        for s, t in rows
    ]
    tasks = [Task(name=n, granularity="patch") for n in "AB"] + [Task(name=n, granularity="image") for n in "XY"]
    matrix = TransferMatrix.from_scores(scores, tasks=tasks)
    (found,) = groupings(matrix)
    se = matrix.item_error[:2]
    wanted = np.sqrt((se[0, 0] + se[1, 0]) ** 2 + (se[0, 1] + se[1, 1]) ** 2) / 4
    assert found.groups == ("image", "patch")
    assert found.cells["patch", "image"].item_error == pytest.approx(wanted)
    assert found.means["image"]["helps"].value != found.means["image"]["helps"].value  # no source is image-level: NaN
    assert found.to_json()["tasks"]["image"]["helps"]["mean"] is None


def test_every_task_is_in_a_group_or_told_to_be_in_none() -> None:
    matrix = load_study("qwen2.5-vl-7b")
    for found in groupings(matrix):
        told = [*found.ungrouped, *(task for tasks in found.members.values() for task in tasks)]
        assert sorted(told) == sorted(matrix.sources)
        assert all(np.isfinite(cell.interval.error) and np.isfinite(cell.item_error) for cell in found.cells.values())
