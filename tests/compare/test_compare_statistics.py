"""Errors of differences: worked by hand, and held against simulated worlds with seed and question effects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from compare_worlds import logistic_answers
from tvt.compare.statistics import Block, accuracy_block, estimate, pgf_block
from tvt.core.scores import item_standard_error, perfection_gap_factor
from tvt.stats.noise import holm


def test_two_seeds_and_three_questions_by_hand() -> None:
    # Mean squares: seeds 1/6, questions 1/2, residual 1/6; (1/6 + 1/2 - 1/6) / 6 + 1/9 for the one question more = 7/36.
    # Satterthwaite over 1/36, 3/36 and 1/36 with 1, 2 and 2 degrees: 7^2 / (1 + 9/2 + 1/2).
    told = estimate([Block(cells=np.array([[1.0, 0, 1], [0, 0, 1]]))])
    assert told.value == pytest.approx(0.5)
    assert told.error == pytest.approx(np.sqrt(7 / 36))
    assert told.df == pytest.approx(49 / 6)
    assert told.p == pytest.approx(2 * stats.t.sf(0.5 / np.sqrt(7 / 36), 49 / 6))
    half = stats.t.ppf(0.975, 49 / 6) * np.sqrt(7 / 36)
    assert (told.low, told.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert (told.seeds, told.questions, told.seed_noise) == (2, 3, True)


def test_negative_components_count_as_none() -> None:
    # All means are 0 and MS(r) = 4: MS(s) and MS(q) are raised to it, (4 + 4 - 4) / 4 + 1/4 for the one question more.
    assert estimate([Block(cells=np.array([[1.0, -1], [-1, 1]]))]).error == pytest.approx(np.sqrt(5 / 4))


def test_one_seed_is_the_paired_t_test_with_one_question_more() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 80)) < [[0.7], [0.5]]
    told = estimate([accuracy_block(a[None].astype(float), b[None].astype(float))])
    paired = stats.ttest_rel(a.astype(float), b.astype(float))
    plain = told.value / paired.statistic
    assert told.error == pytest.approx(np.hypot(plain, 1 / 80))
    assert not told.seed_noise
    assert told.p > paired.pvalue


def test_runs_that_agree_on_every_question_claim_no_zero_error() -> None:
    same = estimate([Block(cells=np.zeros((4, 20)))])
    assert (same.value, same.p) == (0, 1)
    assert same.error == pytest.approx(1 / 20)
    always = estimate([Block(cells=np.ones((4, 20)))])
    assert always.error == pytest.approx(1 / 20)
    assert always.p < 0.001
    assert estimate([Block(cells=np.ones((1, 1)))]).p > 0.3


def test_seeds_are_shared_by_targets_and_questions_are_not() -> None:
    # Where only the seed makes the difference, a second target adds nothing to what is known of it.
    cells = np.repeat([[0.0], [0.5], [-0.5], [0.25]], 400, axis=1)
    one = estimate([Block(cells=cells)])
    two = estimate([Block(cells=cells, weight=0.5), Block(cells=cells, weight=0.5)])
    assert two.error == pytest.approx(one.error, rel=1e-3)
    # Where only the questions do, it halves the variance.
    rng = np.random.default_rng(0)
    first, second = (np.repeat(rng.choice([-1.0, 0, 1], 400)[None], 4, axis=0) for _ in range(2))
    alone = [estimate([Block(cells=c)]).error for c in (first, second)]
    both = estimate([Block(cells=first, weight=0.5), Block(cells=second, weight=0.5)])
    assert both.error == pytest.approx(0.5 * np.hypot(*alone), rel=1e-6)


def test_pgf_is_the_accuracy_over_the_gap() -> None:
    a, b, base = logistic_answers(np.random.default_rng(1), 3, 50, shift=0.8)
    gap = 0.95 - base.mean()
    told = estimate([pgf_block(a, b, base, gap)])
    assert told.value == pytest.approx((a.mean() - b.mean()) / gap)


def test_pgf_error_of_one_run_is_the_matrix_error() -> None:
    a, _, base = logistic_answers(np.random.default_rng(1), 1, 2000, shift=0.8)
    gap = 0.95 - base.mean()
    told = estimate([pgf_block(a, base[None], base, gap)])
    both = float((a[0] * base).sum())
    assert told.value == pytest.approx(perfection_gap_factor(a.mean(), base.mean(), 0.95))
    assert told.error == pytest.approx(item_standard_error(a.mean(), base.mean(), 0.95, 2000, both), rel=5e-3)


SCENARIOS = {
    "nothing": (0.0, 0.0),
    "questions": (0.0, 0.8),
    "both": (0.15, 0.8),
    "seeds": (0.3, 0.0),
    "strong seeds": (0.8, 0.5),
}


@pytest.mark.parametrize("seeds", [2, 4, 8])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_type_one_error_is_at_most_nominal(seeds: int, scenario: str) -> None:
    seed_sd, item_sd = SCENARIOS[scenario]
    rng = np.random.default_rng([seeds, len(scenario)])
    found = [
        estimate([accuracy_block(*logistic_answers(rng, seeds, 150, seed_sd=seed_sd, item_sd=item_sd)[:2])]).p < 0.05
        for _ in range(1200)
    ]
    assert np.mean(found) <= 0.06


@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_type_one_error_of_the_mean_over_targets(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(1200):
        common = rng.normal(0, 0.2, (2, seeds))
        drawn = [
            logistic_answers(rng, seeds, n, item_sd=0.6, shared=common + rng.normal(0, 0.1, (2, seeds))) for n in (60, 150)
        ]
        found.append(estimate([accuracy_block(a, b, 0.5) for a, b, _ in drawn]).p < 0.05)
    assert np.mean(found) <= 0.06


def test_without_seed_noise_in_the_error_the_test_would_be_wrong() -> None:
    # Why one seed is told to be one: the error from questions alone rejects a true null far too often.
    rng = np.random.default_rng(0)
    found = [estimate([accuracy_block(*logistic_answers(rng, 1, 150, seed_sd=0.3)[:2])]).p < 0.05 for _ in range(600)]
    assert np.mean(found) > 0.15


@pytest.mark.parametrize("seeds", [4, 8])
def test_intervals_of_accuracy_and_pgf_cover_the_truth(seeds: int) -> None:
    law = {"seed_sd": 0.15, "item_sd": 0.5, "shift": 0.7}
    a, b, base = logistic_answers(np.random.default_rng(9), 400, 4000, **law)
    truth, ratio = a.mean() - b.mean(), (a.mean() - b.mean()) / (1 - base.mean())
    rng = np.random.default_rng(seeds)
    hits = []
    for _ in range(800):
        a, b, base = logistic_answers(rng, seeds, 80, **law)
        plain, pgf = estimate([accuracy_block(a, b)]), estimate([pgf_block(a, b, base, 1 - base.mean())])
        hits.append((plain.low <= truth <= plain.high, pgf.low <= ratio <= pgf.high))
    assert (np.mean(hits, axis=0) >= 0.94).all()


def test_power_grows_with_seeds() -> None:
    rng = np.random.default_rng(3)
    power = {
        k: np.mean(
            [
                estimate([accuracy_block(*logistic_answers(rng, k, 200, seed_sd=0.1, shift=0.5)[:2])]).p < 0.05
                for _ in range(200)
            ]
        )
        for k in (2, 4, 8)
    }
    assert power[2] < power[4] < power[8]
    assert power[8] > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 12), st.integers(0, 2**31))
def test_order_of_seeds_questions_and_targets_does_not_matter(seeds: int, questions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [Block(cells=rng.choice([-1.0, 0, 1], (seeds, n)), weight=w) for n, w in ((questions, 0.7), (questions + 1, 0.3))]
    shuffle = rng.permutation(seeds)
    moved = [Block(cells=b.cells[shuffle][:, rng.permutation(b.cells.shape[1])], weight=b.weight) for b in reversed(blocks)]
    first, second = estimate(blocks), estimate(moved)
    assert (second.value, second.error, second.df, second.p) == pytest.approx((first.value, first.error, first.df, first.p))


def test_turned_over_it_is_the_opposite() -> None:
    a, b, _ = logistic_answers(np.random.default_rng(2), 3, 40, shift=1)
    there, back = estimate([accuracy_block(a, b)]), estimate([accuracy_block(b, a)])
    assert (back.value, back.low, back.high, back.p) == pytest.approx((-there.value, -there.high, -there.low, there.p))


def test_blocks_need_the_same_seeds() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        estimate([Block(cells=np.zeros((2, 3))), Block(cells=np.zeros((3, 3)))])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_plain_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(x <= y <= min(1, len(p) * x) + 1e-12 for x, y in zip(p, adjusted, strict=True))
