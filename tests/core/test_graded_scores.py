"""Credits between right and wrong on their way from an answer to a matrix and a comparison."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from compare_worlds import world
from tvt.compare.engine import compare
from tvt.compare.statistics import accuracy_block, estimate, pgf_block
from tvt.core.matrix import TransferMatrix
from tvt.core.question import Question
from tvt.core.scores import MixtureScore, Score, item_standard_error, perfection_gap_factor, tally
from tvt.core.selection import SelectionSpec
from tvt.core.task import Task
from tvt.data.studies.folder import StudyManifest, read_study, write_study
from tvt.errors import InputError
from tvt.evaluate.readers import find_reader
from tvt.evaluate.results import CellResult, judge, wilson_interval
from tvt.evaluate.scorer import RawAnswer
from tvt.report.evaluation_tables import accuracy_table
from tvt.types import Floats

TENTHS = st.integers(0, 10).map(lambda k: k / 10)
PAIRS = st.lists(st.tuples(TENTHS, TENTHS), min_size=2, max_size=40)


def question(answer: str, options: tuple[str, ...] = (), name: str = "q") -> Question:
    return Question(id=name, task="Size", prompt="How large?", options=options, answer=answer)


def cell(*answers: tuple[str, str, tuple[str, ...]]) -> CellResult:
    """From what was said, what is right, and the options."""
    items = [
        judge(question(right, options, str(k)), f"digest {k}", RawAnswer(raw=said), find_reader("careful"))
        for k, (said, right, options) in enumerate(answers)
    ]
    return CellResult(adapter=None, digest=None, key="k", target="Size", items=tuple(items), asked=0)


def test_numbers_earn_credits_and_letters_are_right_or_wrong() -> None:
    numbers = cell(("about 3 meters", "4", ()), ("4", "4.0", ()), ("no idea", "4", ()), ("1", "4", ()))
    assert [item.score for item in numbers.items] == [0.6, 1.0, 0.0, 0.0]
    assert [item.predicted for item in numbers.items] == ["3", "4", None, "1"]
    assert [item.correct for item in numbers.items] == [False, True, False, False]
    assert (numbers.metric, numbers.correct, numbers.accuracy, numbers.unparsed) == ("mra", 1.6, 0.4, 1)
    assert (numbers.letters, numbers.collapsed, numbers.letter_mass) == ({}, None, None)
    letters = cell(("A", "A", ("x", "y")), ("B", "A", ("x", "y")))
    assert (letters.metric, letters.correct) == ("accuracy", 1)
    assert isinstance(letters.correct, int)
    assert "metric" not in letters.summary()
    assert numbers.summary()["metric"] == "mra"


def test_collapse_is_judged_on_the_questions_with_options_alone() -> None:
    numbers = [("7", "7", ())] * 30
    letters = [("A", "B", ("x", "y"))] * 10
    found = cell(*letters, *numbers)
    assert (found.metric, found.collapsed, found.letters) == ("accuracy and mra", "A", {"A": 10})
    assert found.correct == 30


def test_numbers_answered_alike_are_no_collapse() -> None:
    assert cell(*[("2", "4", ())] * 20).collapsed is None


def test_both_correct_is_the_sum_of_products() -> None:
    mine, base = cell(("3", "4", ()), ("4", "4", ()), ("x", "4", ())), cell(("2", "4", ()), ("3", "4", ()), ("4", "4", ()))
    assert mine.both_correct(base) == pytest.approx(0.6 * 0.1 + 1.0 * 0.6)
    score = mine.score(run="seed_0", source="Depth", base=base)
    assert (score.correct, score.accuracy) == (1.6, pytest.approx(1.6 / 3))


@given(PAIRS)
def test_both_is_at_most_each(pairs: list[tuple[float, float]]) -> None:
    both = tally(a * b for a, b in pairs)
    assert 0 <= both <= min(tally(a for a, _ in pairs), tally(b for _, b in pairs))


@given(PAIRS, st.floats(0.05, 1))
def test_the_item_error_bounds_that_of_credits(pairs: list[tuple[float, float]], above: float) -> None:
    """The delta method with the credits' own variances never exceeds the binomial error."""
    after, base = (np.array(part) for part in zip(*pairs, strict=True))
    n, ceiling = len(pairs), float(base.mean()) + above
    a, b = float(after.mean()), float(base.mean())
    pgf = float(perfection_gap_factor(a, b, ceiling))
    own = np.var(after - (1 - pgf) * base) / n
    found = float(item_standard_error(a, b, ceiling, n, tally(x * y for x, y in pairs)))
    assert found >= math.sqrt(own) / (ceiling - b) - 1e-9


@given(PAIRS)
def test_wilson_interval_bounds_that_of_credits(pairs: list[tuple[float, float]]) -> None:
    """Wilson's interval solves (m - p)^2 = z^2 p (1 - p) / n, whose variance is the largest that credits can have."""
    credits_ = [a for a, _ in pairs]
    total = tally(credits_)
    low, high = wilson_interval(total, len(pairs))
    assert 0 <= low <= total / len(pairs) + 1e-12
    assert total / len(pairs) - 1e-12 <= high <= 1
    assert np.var(credits_) <= np.mean(credits_) * (1 - np.mean(credits_)) + 1e-12


@given(credit=st.lists(st.tuples(TENTHS, TENTHS), min_size=3, max_size=3), total=st.integers(1, 7))
def test_decimal_credits_are_written_and_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, credit: list[tuple[float, float]], total: int
) -> None:
    folder = tmp_path_factory.mktemp("study")
    asked = total + 3
    mine, base = tally(a for a, _ in credit), tally(b for _, b in credit)
    both = tally(a * b for a, b in credit)
    manifest = StudyManifest(name="graded", tasks=(Task(name="Depth"), Task(name="Jigsaw"), Task(name="Size")), budget=10)
    scores = (
        Score(run="base", source=None, target="Size", accuracy=base / asked, correct=base, total=asked),
        Score(run="s0", source="Depth", target="Size", accuracy=mine / asked, correct=mine, total=asked, both_correct=both),
    )
    mixed = MixtureScore(
        mixture="half",
        run="s0",
        weights={"Depth": 0.5, "Jigsaw": 0.5},
        target="Size",
        correct=mine,
        total=asked,
        both_correct=both,
    )
    write_study(folder, manifest, scores, mixtures=(mixed,))
    found = read_study(folder)
    assert found.scores == scores
    assert found.mixtures == (mixed,)
    assert [type(score.correct) for score in found.scores] == [type(base), type(mine)]
    before = [(folder / name).read_bytes() for name in ("scores.csv", "mixtures.csv")]
    write_study(folder, found.manifest, found.scores, mixtures=found.mixtures)
    assert [(folder / name).read_bytes() for name in ("scores.csv", "mixtures.csv")] == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("s0,Depth,Size,3.25,3,", "correct 3.25 is not within 0 and total 3"),
        ("s0,Depth,Size,-0.5,3,", "correct -0.5 is not within 0"),
        ("s0,Depth,Size,1.5,3,1.75", "both_correct 1.75 is not within 0 and correct 1.5"),
        ("s0,Depth,Size,1.5,2.5,", "'2.5' is not a whole number"),
        ("s0,Depth,Size,nan,3,", "'nan' is not a number"),
    ],
)
def test_impossible_credits_are_refused(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: x\ntasks: [Depth, Size]\n")
    (tmp_path / "scores.csv").write_text(f"run,source,target,correct,total,both_correct\nbase,base,Size,1.2,3,\n{row}\n")
    with pytest.raises(InputError) as error:
        read_study(tmp_path)
    assert message in error.value.faults[0]


def test_gains_of_credits_by_hand() -> None:
    """From a mean of 0.35 to one of 0.48 with a ceiling of 1: 0.13 / 0.65 = 0.2."""
    base = Score(run="base", source=None, target="Size", accuracy=0.35, correct=3.5, total=10)
    after = Score(run="s0", source="Depth", target="Size", accuracy=0.48, correct=4.8, total=10, both_correct=2.5)
    matrix = TransferMatrix.from_scores([base, after])
    assert matrix.values[0, 0, 0] == pytest.approx(0.2)
    assert matrix.item_errors[0, 0, 0] == pytest.approx(float(item_standard_error(0.48, 0.35, 1, 10, 2.5)))


def answers(rng: np.random.Generator, seeds: int, asked: int, mean: float = 0.5) -> Floats:
    """Credits of runs whose questions differ in difficulty, (seeds, questions)."""
    difficulty = rng.normal(mean, 0.25, asked)
    seed = rng.normal(0, 0.03, (seeds, 1))
    return np.round(np.clip(difficulty + seed + rng.normal(0, 0.15, (seeds, asked)), 0, 1), 1)


def test_right_and_wrong_are_compared_as_before() -> None:
    """Credits of 0 and 1 are the bools that they were."""
    of = world(np.full((3, 3), 0.1), SelectionSpec(targets={"task 0": 1}), questions=60)
    floats = replace(
        of.measured,
        base={t: a.astype(np.float64) for t, a in of.measured.base.items()},
        answers={
            e: {k: {t: a.astype(np.float64) for t, a in runs.items()} for k, runs in seeds.items()}
            for e, seeds in of.measured.answers.items()
        },
    )
    assert {a.dtype for a in of.measured.base.values()} == {np.dtype(bool)}
    plain = compare(of.measured, of.arms, of.matrix, of.spec)
    assert compare(floats, of.arms, of.matrix, of.spec) == plain


def test_pgf_of_credits_is_that_of_answers_on_half_the_scale() -> None:
    """An answer worth 0.5 + 0.5 x for one worth x halves differences and gap: the same PGF, and nearly the same verdict."""
    of = world(
        np.array([[0.5, 0.0], [0.0, 0.5], [-0.5, -0.3]]), SelectionSpec(targets={"task 0": 1, "task 1": 1}), questions=400
    )
    halved = replace(
        of.measured,
        base={t: 0.5 + 0.5 * a for t, a in of.measured.base.items()},
        answers={
            e: {k: {t: 0.5 + 0.5 * a for t, a in runs.items()} for k, runs in seeds.items()}
            for e, seeds in of.measured.answers.items()
        },
    )
    plain = compare(of.measured, of.arms, of.matrix, of.spec)
    graded = compare(halved, of.arms, of.matrix, of.spec)
    assert {c.outcome for c in plain.gains} >= {"better"}
    for one, other in zip((*plain.gains, *plain.differences), (*graded.gains, *graded.differences), strict=True):
        if one.pgf is None or other.pgf is None or one.accuracy is None or other.accuracy is None:
            assert one.outcome == other.outcome
            continue
        assert other.pgf.value == pytest.approx(one.pgf.value)
        assert other.accuracy.value == pytest.approx(0.5 * one.accuracy.value)
        # One question more on which the runs differ weighs twice as much where the gap is half.
        assert one.pgf.error <= other.pgf.error <= 1.5 * one.pgf.error


def test_one_seed_of_credits_is_nearly_the_paired_t_test() -> None:
    """But for the one question more that every block counts, the error is that of scipy's paired t test on the credits."""
    rng = np.random.default_rng(4)
    one, other = answers(rng, 1, 400), answers(rng, 1, 400, 0.55)
    found = estimate([accuracy_block(one, other)])
    assert found.value == pytest.approx(float((one - other).mean()))
    plain = stats.sem((one - other)[0])
    assert found.error**2 == pytest.approx(plain**2 + 1 / 400**2)


@pytest.mark.parametrize("measure", ["accuracy", "pgf"])
def test_intervals_of_credits_hold_what_they_promise(measure: str) -> None:
    """Two mixtures of the same quality: at most some 5% of the tests may say otherwise."""
    rng = np.random.default_rng(5)
    wrong, trials = 0, 400
    for _ in range(trials):
        difficulty = rng.normal(0.5, 0.25, 60)

        def run(seeds: int, hard: Floats = difficulty) -> Floats:
            seed = rng.normal(0, 0.03, (seeds, 1))
            return np.round(np.clip(hard + seed + rng.normal(0, 0.15, (seeds, 60)), 0, 1), 1)

        one, other, base = run(4), run(4), run(1)[0]
        block = accuracy_block(one, other) if measure == "accuracy" else pgf_block(one, other, base, 1 - float(base.mean()))
        wrong += estimate([block]).p < 0.05
    assert wrong / trials < 0.08


def printed(rows: list[tuple[str, dict[str, CellResult]]], width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    console.print(accuracy_table(rows, unparsed=False))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_says_which_rows_are_mra(width: int) -> None:
    numbers = cell(*[("3", "4", ())] * 9, ("no idea", "4", ()))
    letters = cell(*[("A", "A", ("x", "y"))] * 10)
    told = printed([("base", {"Size": numbers, "Depth": letters})], width)
    assert "accuracy, or mean relative accuracy (MRA) where marked, 95% interval" in told
    size, depth = (next(line for line in told.splitlines() if line.strip().startswith(task)) for task in ("Size", "Depth"))
    assert size.split()[2:4] == ["MRA", "54.0"]
    assert "10.0%" in size
    assert depth.split()[2] == "100.0"
    assert depth.split()[-1] == "A:10"


def test_the_table_of_letters_alone_is_as_before() -> None:
    letters = judge(question("A", ("x", "y")), "d", RawAnswer(scores=(-0.1, -3.0)), find_reader("careful"))
    found = CellResult(adapter=None, digest=None, key="k", target="Depth", items=(letters,), asked=0)
    told = printed([("base", {"Depth": found})], 80)
    assert "accuracy, 95% interval" in told
    assert "MRA" not in told
    assert "unparsed" not in told
