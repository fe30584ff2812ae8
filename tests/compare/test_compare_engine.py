"""Whole comparisons in worlds with known truth: who is said to win, what is said of the promise, and what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compare_worlds import World, log_law, study, world
from problems import log_spec
from tvt.compare.comparison import Comparison
from tvt.compare.engine import compare, served_by
from tvt.core.arms import Arm, Measured
from tvt.core.matrix import TransferMatrix
from tvt.core.task import Task
from tvt.errors import InputError

# Each of the first two targets is helped by a source of its own, which an even mixture has too little of; the rest harms.
HELPED = np.array(
    [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [-0.5, -0.3, 0.1], [-0.4, -0.5, 0.0], [-0.3, -0.4, 0.1], [-0.5, -0.5, 0.0]],
)
GOALS = log_spec(targets={"task 0": 1, "task 1": 1})
FLAT = np.full((5, 4), 0.1)


def compared(of: World, **options: bool) -> Comparison:
    return compare(of.measured, of.arms, of.matrix, of.spec, **options)


def relabelled(of: World, names: dict[str, str]) -> World:
    """The same world with its targets renamed, in the order of their new names."""
    measured = of.measured
    targets = tuple(sorted(names[t] for t in measured.targets))
    old = {new: t for t, new in names.items()}
    matrix = replace(
        of.matrix,
        targets=targets,
        **{
            part: getattr(of.matrix, part)[..., [of.matrix.targets.index(old[t]) for t in targets]]
            for part in ("values", "item_errors", "base", "after")
        },
    )
    moved = replace(
        measured,
        targets=targets,
        seeds=measured.seeds[::-1],
        ceilings={t: measured.ceilings[old[t]] for t in targets},
        base={t: measured.base[old[t]] for t in targets},
        answers={
            e: {k: {names[t]: a for t, a in runs.items()} for k, runs in reversed(list(seeds.items()))}
            for e, seeds in measured.answers.items()
        },
    )
    spec = of.spec.model_copy(update={"targets": {names[t]: w for t, w in of.spec.targets.items()}})
    return World(matrix, of.mixture, of.arms, moved, spec)


def test_a_mixture_that_is_better_is_said_to_be() -> None:
    told = compared(world(HELPED, GOALS, questions=400))
    assert told.counting == pytest.approx({"task 0": 0.5, "task 1": 0.5})
    for label in ("uniform", "random 1", "random 2", "random 3"):
        c = told.difference(label, None)
        assert c.outcome == "better", label
        assert c.pgf is not None
        assert c.pgf.low > 0
        assert c.p_corrected is not None
        assert c.p_corrected < 0.05
    assert told.sentences[0].startswith(
        f"PGF on the mean over 2 targets, 4 seeds (p corrected for {told.differences_family[0]} comparisons, intervals plain): "
        "selected beats uniform by +0."
    )
    assert told.gain("selected", None).outcome == "better"
    assert told.gain("uniform", None).outcome == "no difference shown"
    assert "better than it: selected" in " ".join(told.sentences)
    assert told.difference("direct", None).outcome in ("same mixture", "no difference shown")


def test_the_figures_are_those_of_the_answers() -> None:
    of = world(HELPED, GOALS)
    told = compared(of)
    right = {
        e: np.mean([[a[t].mean() for t in ("task 0", "task 1")] for a in of.measured.answers[e].values()], axis=0)
        for e in ("selected", "uniform")
    }
    base = np.array([of.measured.base[t].mean() for t in ("task 0", "task 1")])
    mean = told.difference("uniform", None)
    assert mean.accuracy is not None
    assert mean.pgf is not None
    assert mean.accuracy.value == pytest.approx((right["selected"] - right["uniform"]).mean())
    assert mean.pgf.value == pytest.approx(((right["selected"] - right["uniform"]) / (1 - base)).mean())
    own = told.gain("uniform", "task 1").pgf
    assert own is not None
    assert own.value == pytest.approx((right["uniform"][1] - base[1]) / (1 - base[1]))
    assert (own.seeds, own.questions, mean.pgf.questions) == (4, 300, 600)


def test_where_all_mixtures_are_equal_nothing_is_claimed() -> None:
    """Familywise: at most 5% of the comparisons may make any claim between mixtures."""
    claims = [
        any(
            c.outcome in ("better", "worse")
            for c in compared(world(FLAT, log_spec(), law=lambda w: FLAT[0], noise=0.1, seed=s)).differences
        )
        for s in range(24)
    ]
    assert np.mean(claims) <= 0.05


def test_uniform_that_wins_is_said_to_win() -> None:
    # The study promises everything of one source; the truth is that variety helps.
    of = world(HELPED, GOALS, law=lambda w: np.full(3, 0.6 * (1 - (w**2).sum())), questions=400)
    told = compared(of)
    assert told.difference("uniform", None).outcome == "worse"
    assert "loses to uniform by 0." in told.sentences[0]
    assert not any(text.startswith("Selected came out highest") for text in told.sentences)


def test_a_lucky_choice_is_found_out() -> None:
    """The winner's curse: equal sources in a noisy study. The selected mixture's promise is luck, the others' far less."""
    lucky = log_spec(targets={"task 0": 1, "task 1": 1}, response="linear", anyway=True)
    found = [compared(world(FLAT, lucky, law=lambda w: np.full(4, 0.1), noise=0.25, seed=s)).calibration for s in range(6)]
    own = np.mean([p.optimism_selected for p in found])
    others = np.mean([p.optimism_others for p in found])
    assert own > 0.05
    assert own > others + 0.05


def test_true_predictions_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.15, (8, 8)) + 0.2 * np.eye(8)
    promise = compared(world(truth, log_spec(), questions=2000)).calibration
    assert promise.rank is not None
    assert promise.rank > 0.9
    assert promise.slope == pytest.approx(1, abs=0.1)
    assert promise.intercept == pytest.approx(0, abs=0.03)
    assert promise.covered is not None
    assert promise.covered > 0.8
    assert set(promise.rank_by_target) == set(study(truth, 0, 0).targets)
    assert abs(promise.optimism_selected or 0) < 0.04


def test_predictions_that_mean_nothing_have_no_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    truth, other = rng.normal(0, 0.2, (8, 8)), rng.normal(0, 0.2, (8, 8))
    promise = compared(world(truth, log_spec(), law=log_law(other))).calibration
    assert promise.rank is not None
    assert abs(promise.rank) < 0.5
    assert promise.covered is not None
    assert promise.covered < 0.7


def test_too_few_points_give_a_word_instead_of_a_number() -> None:
    of = world(HELPED, GOALS)
    keep = [e for e in of.arms if e.label in ("selected", "uniform")]
    measured = replace(of.measured, targets=("task 0",))
    promise = compare(measured, keep, of.matrix, of.spec).calibration
    assert (promise.rank, promise.slope, promise.covered) == (None, None, None)
    assert promise.rank_by_target == {"task 0": None}
    assert "too few" in promise.notes[0]
    assert promise.optimism_selected is not None


def test_nothing_helps_compares_the_base_model() -> None:
    harmful = -np.abs(HELPED) - 0.3
    of = world(harmful, GOALS, questions=400)
    assert of.mixture.verdict == "nothing_helps"
    told = compared(of)
    assert told.sentences[0].startswith("The selection advises to train on nothing")
    assert told.gain("selected", None).outcome == "same mixture"
    assert told.difference("uniform", None).outcome == "better"
    assert all(p.kind != "selected" for p in told.calibration.points)
    assert not told.missing
    assert told.calibration.optimism_selected is None
    # And honest where training would have helped after all.
    helped = compared(world(harmful, GOALS, law=lambda w: np.full(3, 0.4)))
    assert helped.difference("uniform", None).outcome == "worse"


def test_missing_runs_are_listed_and_the_rest_is_compared() -> None:
    of = world(HELPED, GOALS)
    answers = {label: dict(runs) for label, runs in of.measured.answers.items()}
    del answers["uniform"][2], answers["random 1"]
    measured = replace(of.measured, answers=answers, missing={("uniform", 2): "loss is not finite"})
    told = compare(measured, of.arms, of.matrix, of.spec)
    assert [(m.arm, m.seed, m.reason) for m in told.missing] == [
        ("uniform", 2, "loss is not finite"),
        *[("random 1", k, "not done yet") for k in range(4)],
    ]
    uniform = told.difference("uniform", None)
    assert uniform.pgf is not None
    assert uniform.pgf.seeds == 3
    assert uniform.reason == "3 of 4 seeds"
    absent = told.difference("random 1", None)
    assert (absent.outcome, absent.p_corrected) == ("not measured", None)
    assert absent.reason is not None
    assert "random 1" in absent.reason
    on_mean, single = compared(of).differences_family
    assert told.differences_family == (on_mean - 1, single - 2)
    assert "could not be compared with random 1" in told.sentences[0]


def test_a_target_that_was_not_scored_takes_the_mean_with_it_and_no_more() -> None:
    of = world(HELPED, GOALS)
    answers = {label: {k: dict(a) for k, a in runs.items()} for label, runs in of.measured.answers.items()}
    for k in range(4):
        del answers["uniform"][k]["task 1"]
    told = compare(replace(of.measured, answers=answers), of.arms, of.matrix, of.spec)
    assert told.difference("uniform", None).reason == "no run of uniform answered task 1"
    assert told.difference("uniform", "task 0").pgf is not None
    assert not told.missing


def test_a_target_without_a_gap_is_tested_by_accuracy() -> None:
    of = world(HELPED, GOALS)
    told = compare(replace(of.measured, ceilings={**of.measured.ceilings, "task 0": 0.3}), of.arms, of.matrix, of.spec)
    masked = told.difference("uniform", "task 0")
    assert masked.pgf is None
    assert masked.tested == "accuracy"
    assert masked.outcome == "better"
    mean = told.difference("uniform", None)
    one = told.difference("uniform", "task 1")
    assert mean.pgf is not None
    assert one.pgf is not None
    assert mean.pgf.value == pytest.approx(one.pgf.value)
    assert mean.reason == "PGF without task 0: base accuracy not below the ceiling"
    assert any("no PGF for task 0" in note for note in told.notes)
    assert all(p.target != "task 0" for p in told.calibration.points)


def test_one_counting_target_is_counted_once() -> None:
    of = world(HELPED, log_spec(goals={"task 0": 0.3}, without_direct=False), questions=400)
    told = compared(of)
    tested = [c for c in told.differences if c.target == "task 0" and c.estimate is not None]
    assert told.differences_family == (len({c.against for c in tested} - set(told.same)),) * 2
    single, mean = told.difference("uniform", "task 0"), told.difference("uniform", None)
    assert (mean.pgf, mean.p_corrected, mean.outcome) == (single.pgf, single.p_corrected, single.outcome)
    assert told.sentences[0].startswith("PGF on task 0, 4 seeds")


def test_equal_mixtures_share_runs_and_count_once() -> None:
    of = world(HELPED, GOALS)
    twin = of.arms[1].model_copy(update={"label": "twin", "kind": "random"})
    copy = next(e for e in of.arms if e.kind == "selected").model_copy(update={"label": "copy", "kind": "best_single"})
    told = compare(of.measured, (*of.arms, twin, copy), of.matrix, of.spec)
    assert told.same["twin"] == "uniform"
    assert told.same["copy"] == "selected"
    assert told.differences_family == compared(of).differences_family
    assert told.difference("twin", None).pgf == told.difference("uniform", None).pgf
    assert told.difference("copy", "task 0").outcome == "same mixture"
    assert told.gain("copy", None).pgf == told.gain("selected", None).pgf
    assert not told.missing
    assert len(told.calibration.points) == len(compared(of).calibration.points)


def test_one_seed_is_told_to_be_one() -> None:
    told = compared(world(HELPED, GOALS, seeds=1), questions_shared=True)
    mean = told.difference("uniform", None).pgf
    assert mean is not None
    assert not mean.seed_noise
    assert any(note.startswith("one seed:") for note in told.notes)
    assert any("very questions" in note for note in told.notes)
    assert any(note.startswith("2 seeds") for note in compared(world(HELPED, GOALS, seeds=2)).notes)


def test_a_pair_with_one_seed_among_several_gets_no_verdict() -> None:
    # With the error from questions alone it would pass more easily than a pair with all seeds.
    of = world(HELPED, GOALS)
    answers = {label: dict(runs) for label, runs in of.measured.answers.items()}
    answers["uniform"] = {2: answers["uniform"][2]}
    told = compare(replace(of.measured, answers=answers), of.arms, of.matrix, of.spec)
    mean = told.difference("uniform", None)
    assert mean.pgf is not None
    assert (mean.outcome, mean.p_corrected) == ("not measured", None)
    assert mean.reason == "1 of 4 seeds; the noise between seeds is unknown"


def test_names_and_order_do_not_matter() -> None:
    of = world(HELPED, GOALS)
    told = compared(of)
    names = {"task 0": "z", "task 1": "y", "task 2": "x"}
    other = compared(relabelled(of, names))
    for c in told.differences:
        d = other.difference(str(c.against), None if c.target is None else names[c.target])
        assert (d.outcome, d.p_corrected) == (c.outcome, pytest.approx(c.p_corrected))
        assert (d.pgf and d.pgf.value) == pytest.approx(c.pgf and c.pgf.value)
        assert (d.pgf and d.pgf.error) == pytest.approx(c.pgf and c.pgf.error)
    assert other.calibration.rank == pytest.approx(told.calibration.rank)
    assert other.sentences == told.sentences


def test_weights_of_the_targets_weigh_the_mean() -> None:
    of = world(HELPED, log_spec(targets={"task 0": 3, "task 1": 1}))
    told = compared(of)
    mean, first, second = (told.difference("uniform", t).pgf for t in (None, "task 0", "task 1"))
    assert mean is not None
    assert first is not None
    assert second is not None
    assert mean.value == pytest.approx(0.75 * first.value + 0.25 * second.value)


def test_counting_targets_are_full_names() -> None:
    plain = study(HELPED, 0.01, 0)
    matrix = TransferMatrix.from_values(
        plain.values,
        sources=plain.sources,
        targets=plain.targets,
        runs=plain.runs,
        tasks=[Task(name="task 0", abbreviation="TZ")],
    )
    assert served_by(matrix, log_spec(goals={"TZ": 0.1, "task 1": 0.2})).weights == {"task 0": 0.5, "task 1": 0.5}


def test_faults_are_told_all_at_once() -> None:
    of = world(HELPED, GOALS)
    short = {label: {k: dict(a) for k, a in runs.items()} for label, runs in of.measured.answers.items()}
    short["uniform"][0]["task 0"] = short["uniform"][0]["task 0"][:-1]
    broken = replace(of.measured, answers=short, ceilings={"task 0": 1.0, "task 1": 1.0})
    with pytest.raises(InputError) as caught:
        compare(broken, of.arms[1:], of.matrix, of.spec)
    assert len(caught.value.faults) == 3
    assert "uniform, seed 0, target task 0: 299 answers, but the base model gave 300" in str(caught.value)
    with pytest.raises(InputError, match="none of the targets"):
        compare(replace(of.measured, targets=("task 2",)), of.arms, of.matrix, of.spec)


def test_no_answers_at_all_is_a_comparison_of_what_is_missing() -> None:
    of = world(HELPED, GOALS)
    empty = Measured(
        targets=of.measured.targets,
        seeds=(0, 1),
        ceilings=of.measured.ceilings,
        base=of.measured.base,
        answers={},
        missing={},
    )
    told = compare(empty, of.arms, of.matrix, of.spec)
    own = [e for e in of.arms if isinstance(e, Arm)]
    assert len(told.missing) == 2 * len(own)
    assert {c.outcome for c in told.differences} <= {"not measured", "same mixture"}
    assert told.calibration.rank is None


WORST = log_spec(objective="worst", anyway=True)


def test_a_comparison_goes_by_the_objective_that_was_asked_for() -> None:
    """Uniform has the higher mean, the selected mixture the higher smallest gain: under *worst* the latter decides."""
    of = world(np.array([[0.6, -0.2], [0.0, 0.3]]), WORST, questions=4000)
    told = compared(of)
    assert told.objective == "worst"
    by_mean = {
        e: np.mean([c.pgf.value for c in told.gains if c.arm == e and c.target and c.pgf]) for e in ("selected", "uniform")
    }
    assert by_mean["selected"] < by_mean["uniform"]
    c = told.difference("uniform", None)
    assert c.outcome == "better"
    assert c.pgf is not None
    own, other = (min(g.pgf.value for g in told.gains if g.arm == e and g.target and g.pgf) for e in ("selected", "uniform"))
    assert c.pgf.value == pytest.approx(own - other)
    assert "smallest gain of 2 targets" in told.sentences[0]


@pytest.mark.parametrize(("goal", "against", "met"), [(0.9, "uniform", False), (0.01, "direct", True)])
def test_goals_are_compared_by_what_is_missing_and_then_by_the_margin(goal: float, against: str, met: bool) -> None:
    spec = log_spec(goals={"task 0": goal, "task 1": goal}, anyway=True)
    told = compared(world(HELPED, spec, questions=400))
    assert told.objective == "goals"
    gains = {
        e: np.array([g.pgf.value for g in told.gains if g.arm == e and g.target in spec.goals and g.pgf])
        for e in ("selected", against)
    }
    over = {e: (g - goal).mean() if met else -np.maximum(goal - g, 0).sum() for e, g in gains.items()}
    c = told.difference(against, None)
    assert c.pgf is not None
    assert c.pgf.value == pytest.approx(over["selected"] - over[against])


def test_the_interval_of_a_smallest_gain_holds_the_truth() -> None:
    """Coverage over worlds in which the selected mixture's targets tie, where the smallest measured gain is biased most."""
    truth = np.array([[0.5, 0.0, 0.1], [0.0, 0.5, 0.1], [0.1, 0.1, 0.5]])

    def law(w: np.ndarray) -> np.ndarray:
        return w @ truth

    inside = []
    for seed in range(40):
        of = world(truth, WORST, law=law, seed=seed)
        told = compared(of)
        by = {e.label: e for e in of.arms}
        real = {label: law(np.array([by[label].weights.get(f"task {i}", 0.0) for i in range(3)])).min() for label in by}
        for label in ("uniform", "best single", "random 1"):
            c = told.difference(label, None)
            if c.pgf is not None:
                inside.append(c.pgf.low <= real["selected"] - real[label] <= c.pgf.high)
    assert len(inside) >= 60
    assert np.mean(inside) >= 0.93
