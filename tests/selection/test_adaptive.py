"""Which run an adaptive study does next: hand-worked cases, what never may happen, and replays of the published studies."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_adaptive import PICKS, Course, deal, replayed, seen
from problems import log_spec, random_matrix
from tvt.core.matrix import TransferMatrix
from tvt.core.selection import SelectionSpec
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.selection.adaptive import NextRun, Outlook, RunsLeft, Stop, Tolerance, next_run, run_variance

NAN = float("nan")
Z90 = 1.6449
ONE = log_spec(targets={"t": 1.0}, anyway=True, response="linear")


def column(rows: dict[str, list[float]], runs: int = 4) -> TransferMatrix:
    """A study of one target; each source's runs as far as there are."""
    cube = np.full((runs, len(rows), 1), NAN)
    for i, values in enumerate(rows.values()):
        cube[: len(values), i, 0] = values
    return TransferMatrix.from_values(cube, sources=list(rows), targets=["t"], runs=[f"seed_{k}" for k in range(runs)])


def progress(matrix: TransferMatrix, **going: int) -> RunsLeft:
    """All seeds are left that the matrix has not and that are not at work."""
    begun = {s: int(n) + going.get(s, 0) for s, n in zip(matrix.sources, matrix.run_count.max(axis=1), strict=True)}
    return RunsLeft(left={s: range(n, len(matrix.runs)) for s, n in begun.items()}, going=going)


def test_every_source_has_a_first_run_before_anything_else() -> None:
    left = {"a": [0, 1], "b": [0, 1], "c": [1]}
    first = next_run(None, ONE, RunsLeft(left=left, going={}))
    assert first == NextRun(source="a", seed=0, why="a, seed 0: its first run")
    second = next_run(None, ONE, RunsLeft(left={**left, "a": [1]}, going={"a": 1}))
    assert isinstance(second, NextRun)
    assert (second.source, second.seed) == ("b", 0)
    assert next_run(None, ONE, RunsLeft(left={"a": [1], "b": [1]}, going={"a": 1, "b": 1})) is None
    matrix = column({"a": [0.1]})
    assert next_run(matrix, ONE, RunsLeft(left={"a": [1], "b": [1]}, going={"b": 1})) is None
    with pytest.raises(InputError, match="nothing was measured"):
        next_run(None, ONE, RunsLeft(left={"a": [], "b": []}, going={}))


def test_a_source_whose_first_run_failed_gets_another() -> None:
    choice = next_run(column({"a": [0.1]}), ONE, RunsLeft(left={"a": [1], "b": [1]}, going={}))
    assert isinstance(choice, NextRun)
    assert (choice.source, choice.seed) == ("b", 1)


def test_by_hand() -> None:
    # All weight is on a. b overtakes it at the high end of its interval, which one run less makes wider than a's.
    matrix = column({"a": [0.13, 0.07], "b": [0.09], "far": [-0.9, -0.9]})
    reach = Z90 * float(np.sqrt(run_variance(matrix)[0] * (1 / 1 - 1 / 4)))
    outlook = Outlook(matrix, ONE, progress(matrix))
    swing = outlook.swing("b")
    assert (swing.end, swing.moved) == ("high", pytest.approx(1.0))
    assert swing.worst == pytest.approx(0.09 + reach - 0.10, abs=1e-4)
    assert swing.regret == pytest.approx(swing.worst / 2)
    narrower = Z90 * float(np.sqrt(run_variance(matrix)[0] * (1 / 2 - 1 / 4)))
    assert outlook.swing("a").worst == pytest.approx(0.09 - (0.10 - narrower), abs=1e-4)
    choice = next_run(matrix, ONE, progress(matrix))
    assert choice == NextRun(
        source="b",
        seed=1,
        why=f"b, seed 1: at the high end of its interval the mixture would move 100% of its weight, worth {swing.worst:.3f}",
    )


def test_runs_at_work_count_as_done() -> None:
    matrix = column({"a": [0.13, 0.07], "b": [0.09], "far": [-0.9, -0.9]})
    choice = next_run(matrix, ONE, progress(matrix, b=2))
    assert isinstance(choice, NextRun)
    assert (choice.source, choice.seed) == ("a", 2)


def test_it_stops_where_the_answer_is_clear() -> None:
    matrix = column({"good": [0.40, 0.41], "bad": [-0.30, -0.31], "worse": [-0.5]})
    stop = next_run(matrix, ONE.model_copy(update={"anyway": False}), progress(matrix))
    assert isinstance(stop, Stop)
    assert stop.why == "the mixture is stable: no source's interval can cost it more than 0.000"


def test_it_stops_where_nothing_can_help() -> None:
    matrix = column({"bad": [-0.30, -0.31], "worse": [-0.5, -0.48]})
    stop = next_run(matrix, ONE.model_copy(update={"anyway": False}), progress(matrix))
    assert isinstance(stop, Stop)
    assert stop.why.startswith("nothing helps: ")


def test_it_goes_on_while_it_is_open_whether_the_only_mixture_helps() -> None:
    spec = log_spec(targets={"t": 1.0}, exclude=("other",), response="linear")
    open_ = column({"only": [0.03, 0.13], "other": [0.03, 0.13]})
    choice = next_run(open_, spec, progress(open_))
    assert isinstance(choice, NextRun)
    assert choice.why == "only, seed 2: the mixture is stable, but not yet credibly of help"
    hopeless = replace(open_, item_errors=np.where(np.isfinite(open_.values), 0.3, NAN))  # few questions: runs do not help
    stop = next_run(hopeless, spec, progress(hopeless))
    assert isinstance(stop, Stop)
    assert stop.why.startswith("nothing helps credibly")


def test_without_two_runs_of_anything_it_does_not_stop() -> None:
    matrix = column({"a": [0.2], "b": [0.2], "c": [0.2]})
    choice = next_run(matrix, ONE, progress(matrix))
    assert isinstance(choice, NextRun)
    assert "no source has two runs" in choice.why


def test_nothing_is_left() -> None:
    matrix = column({"a": [0.1, 0.2], "b": [0.3, 0.1]}, runs=2)
    stop = next_run(matrix, ONE, progress(matrix))
    assert isinstance(stop, Stop)
    assert "no run is left" in stop.why


def test_a_request_that_cannot_be_met_yet_is_worth_runs_of_the_least_known() -> None:
    matrix = column({"a": [-0.1, -0.2], "b": [-0.3]})
    spec = ONE.model_copy(update={"protect": {"t": 0.0}, "hard": True})
    choice = next_run(matrix, spec, progress(matrix))
    assert choice == NextRun(source="b", seed=1, why="b, seed 1: no mixture meets the request so far")


def test_tolerances() -> None:
    matrix = column({"a": [0.13, 0.07], "b": [0.09], "far": [-0.9, -0.9]})
    assert isinstance(next_run(matrix, ONE, progress(matrix), Tolerance(regret=0.5)), Stop)
    assert isinstance(next_run(matrix, ONE, progress(matrix), Tolerance(moved=1.1)), Stop)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 500))
def test_it_proposes_what_is_left_and_the_order_of_names_does_not_matter(data: st.DataObject, seed: int) -> None:
    full = random_matrix(seed, 5, 3, runs=3)
    counts = [data.draw(st.integers(1, 3)) for _ in full.sources]
    now = seen(full, [range(n) for n in counts])
    going = {s: data.draw(st.integers(0, 3 - n)) for s, n in zip(full.sources, counts, strict=True)}
    at = RunsLeft(left={s: range(n + going[s], 3) for s, n in zip(full.sources, counts, strict=True)}, going=going)
    spec = log_spec(targets={"target_0": 1.0, "target_1": 1.0}, exclude=("source_4",), anyway=True)
    found = next_run(now, spec, at)
    assert isinstance(found, NextRun | Stop)
    if isinstance(found, NextRun):
        assert found.seed == at.left[found.source][0]
        assert found.source != "source_4"
    back = TransferMatrix.from_values(
        now.values[:, ::-1], sources=now.sources[::-1], targets=now.targets, runs=now.runs
    )  # the same study, sources listed the other way round
    again = next_run(back, spec, at)
    assert type(again) is type(found)
    if isinstance(found, NextRun) and isinstance(again, NextRun):
        assert again.source == found.source


@pytest.mark.parametrize(
    "asked",
    [
        {"goals": {"Jigsaw": 0.15, "Counting": 0.02}},
        {"objective": "worst"},
        {"targets": {"Jigsaw": 1.0}, "protect": {"all": 0.0}, "protect_z": 1.0},
        {"targets": {"Jigsaw": 1.0}, "risk": 1.0},
        {"targets": {"Jigsaw": 1.0}, "max_sources": 3},
    ],
    ids=["goals", "worst", "protect", "risk", "few sources"],
)
def test_every_kind_of_request(asked: dict[str, object]) -> None:
    full = load_study("qwen2.5-vl-7b")
    now = seen(full, [[0, 1] if i % 3 == 0 else [i % 4] for i in range(13)])
    spec = SelectionSpec.model_validate({**asked, "without_direct": "goals" in asked or "targets" in asked, "anyway": True})
    choice = next_run(now, spec, progress_of(full, now), Tolerance(regret=0.0, moved=0.0))
    assert isinstance(choice, NextRun)
    assert choice.source not in {*asked.get("targets", ()), *asked.get("goals", ())}  # type: ignore[misc, call-overload]


def progress_of(full: TransferMatrix, now: TransferMatrix) -> RunsLeft:
    missing = np.isnan(now.values).all(axis=2)
    return RunsLeft(left={s: np.flatnonzero(missing[:, i]).tolist() for i, s in enumerate(full.sources)}, going={})


def test_a_decision_among_thirteen_sources_is_quick() -> None:
    full = load_study("qwen2.5-vl-32b")
    now = seen(full, [[0]] * 13)
    began = time.process_time()
    next_run(now, log_spec(targets={"Jigsaw": 1.0, "Counting": 1.0}, without_direct=True), progress_of(full, now))
    assert time.process_time() - began < 2


@pytest.fixture(scope="module")
def courses() -> dict[str, list[Course]]:
    """Replays of two studies to half of their runs."""
    found: dict[str, list[Course]] = {pick: [] for pick in PICKS}
    for name in ("qwen2.5-vl-3b", "qwen2.5-vl-7b"):
        full = load_study(name)
        for seed in range(3):
            for pick, function in PICKS.items():
                found[pick].append(replayed(full, deal(full, seed), function, 26))
    return found


def test_replays_lose_less_than_a_random_order(courses: dict[str, list[Course]]) -> None:
    ends = {pick: np.array([course.regret[26] for course in found]) for pick, found in courses.items()}
    assert all((end > -1e-6).all() for end in ends.values())
    assert ends["adaptive"].mean() < 0.8 * ends["at random"].mean()
    assert ends["adaptive"].mean() < 0.8 * ends["equal seeds"].mean()


def test_replays_stop_before_half_where_little_is_at_stake(courses: dict[str, list[Course]]) -> None:
    stopped = [(course.stopped, course.regret[course.stopped]) for course in courses["adaptive"] if course.stopped]
    assert len(stopped) >= 3
    assert all(runs > 13 and regret < 0.005 for runs, regret in stopped)


def test_replays_are_the_same_under_the_same_seed(courses: dict[str, list[Course]]) -> None:
    full = load_study("qwen2.5-vl-3b")
    again = replayed(full, deal(full, 1), PICKS["adaptive"], 17)
    assert again.regret.items() <= courses["adaptive"][1].regret.items()
