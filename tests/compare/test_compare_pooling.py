"""The noise between seeds pooled over mixtures: analysis of variance by hand, error rates and power by simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare_worlds import logistic_arms, world
from problems import log_spec
from tvt.compare.answers import Answered, layout, pooled, seed_noise
from tvt.compare.comparison import Difference
from tvt.compare.engine import compare, contrast
from tvt.compare.statistics import Block, Served, estimate
from tvt.core.arms import Arm, Measured
from tvt.stats.noise import SeedVariance, holm


def test_three_mixtures_and_two_seeds_by_hand() -> None:
    # Means of mixtures 1.5, 4.5, 4.5, of seeds 3 and 4, of all 3.5. What is left: 0 0, -1 1, 1 -1, hence MS(e) = 4 / 2.
    # MS(b) = 3 (1/4 + 1/4) / 1 is below it and raised to 2, so one mixture has (2 + 2 * 2) / 3.
    values = np.array([[1.0, 2], [3, 6], [5, 4]])
    told = pooled(values)
    assert told is not None
    assert (told.arms, told.seeds) == (3, 2)
    assert (told.difference.variance, told.difference.degrees) == pytest.approx((4, 2))
    assert (told.alone.variance, told.alone.degrees) == pytest.approx((2, 2))
    # A seed that lifts all by 4 changes no difference. MS(b) = 37.5: (37.5 + 2 * 2) / 3, the mean of the variances within rows,
    # and nearly as few degrees of freedom as there are seeds to tell of such a lift.
    lifted = pooled(values + np.array([0, 4]))
    assert lifted is not None
    assert (lifted.difference.variance, lifted.difference.degrees) == pytest.approx((4, 2))
    within = np.mean([12.5, 24.5, 4.5])
    assert lifted.alone.variance == pytest.approx(within)
    assert lifted.alone.degrees == pytest.approx(within**2 / (12.5**2 / 1 + (4 / 3) ** 2 / 2))
    assert lifted.alone.degrees < 1.3


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 2**31))
def test_it_is_the_residual_of_a_regression_on_mixtures_and_seeds(entries: int, seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (entries, seeds))
    rows, columns = np.indices(values.shape).reshape(2, -1)
    design = np.hstack([np.eye(entries)[rows], np.eye(seeds)[columns]])
    fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    degrees = values.size - np.linalg.matrix_rank(design)
    told = pooled(values)
    assert told is not None
    assert told.difference.degrees == degrees
    assert told.difference.variance == pytest.approx(2 * ((values.ravel() - fitted) ** 2).sum() / degrees)
    shuffled = pooled(values[rng.permutation(entries)][:, rng.permutation(seeds)])
    assert shuffled is not None
    assert shuffled.difference.variance == pytest.approx(told.difference.variance)
    assert (shuffled.alone.variance, shuffled.alone.degrees) == pytest.approx((told.alone.variance, told.alone.degrees))
    assert seeds - 1 <= told.alone.degrees + 1e-9
    assert told.alone.degrees <= degrees


def test_the_pooled_variance_takes_the_place_of_the_seeds_own() -> None:
    # As by hand in test_compare_statistics: MS(q) and residual stay 3/36 and 1/36; a pooled variance of 1/3 makes the seeds'
    # part 1/6 instead of 1/36, with 7 degrees of freedom: 6/36 + 3/36 - 1/36 + 1/9 = 12/36.
    cells = np.array([[1.0, 0, 1], [0, 0, 1]])
    told = estimate([Block(cells=cells)], SeedVariance(variance=1 / 3, degrees=7))
    assert told.error == pytest.approx(np.sqrt(12 / 36))
    assert told.df == pytest.approx(12**2 / (6**2 / 7 + 3**2 / 2 + 1 / 2))
    # None lies below the residual, and one seed alone has no noise between seeds to speak of.
    quiet = estimate([Block(cells=cells)], SeedVariance(variance=0.0, degrees=7))
    assert quiet.error == pytest.approx(np.sqrt((1 + 3 - 1) / 36 + 1 / 9))
    assert estimate([Block(cells=cells[:1])], SeedVariance(variance=9.0, degrees=7)) == estimate([Block(cells=cells[:1])])


def test_of_two_mixtures_it_is_their_difference_s_own_variance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 30))
    noise = pooled(np.stack([a.mean(axis=1), b.mean(axis=1)]))
    assert noise is not None
    own, same = estimate([Block(cells=a - b)]), estimate([Block(cells=a - b)], noise.difference)
    assert (same.error, same.df, same.p) == pytest.approx((own.error, own.df, own.p))


class Drawn:
    """One simulated comparison over two targets, and the p of what is asked of it."""

    def __init__(self, rng: np.random.Generator, seeds: int, **law: Any) -> None:
        self.targets = [logistic_arms(rng, seeds, 100, **law) for _ in range(2)]
        noise = pooled(np.mean([answers.mean(axis=2) for answers, _ in self.targets], axis=0))
        assert noise is not None
        self.noise = noise

    def _p(self, i: int, j: int | None, of: SeedVariance | None) -> float:
        return estimate([Block(cells=a[i] - (base if j is None else a[j]), weight=0.5) for a, base in self.targets], of).p

    def differences(self) -> list[float]:
        """The first mixture against the others."""
        return [self._p(0, j, self.noise.difference) for j in range(1, self.noise.arms)]

    def unpooled(self) -> list[float]:
        """The same with each difference's own variance."""
        return [self._p(0, j, None) for j in range(1, self.noise.arms)]

    def others(self) -> list[float]:
        """The second against the third mixture and so on, without the first."""
        return [self._p(i, i + 1, self.noise.difference) for i in range(1, self.noise.arms - 1)]

    def gains(self) -> list[float]:
        """Each against the base model."""
        return [self._p(i, None, self.noise.alone) for i in range(self.noise.arms)]


def rejected(p: list[list[float]]) -> float:
    return float(np.mean(np.array(p) < 0.05))


def any_claim(p: list[list[float]]) -> float:
    """Share of the families with at least one claim."""
    return float(np.mean([min(holm(family)) < 0.05 for family in p]))


SCENARIOS = {
    "both": {"seed_sd": 0.2, "item_sd": 0.3},
    "seeds": {"seed_sd": 0.4},
    "common": {"seed_sd": 0.1, "common_sd": 0.4},
}


@pytest.mark.parametrize("seeds", [2, 4, 8])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_type_one_errors_are_at_most_nominal(seeds: int, scenario: str) -> None:
    rng = np.random.default_rng([seeds, len(scenario)])
    found = [Drawn(rng, seeds, **SCENARIOS[scenario]) for _ in range(250)]
    for family in ([f.differences() for f in found], [f.gains() for f in found]):
        assert rejected(family) <= 0.06
        assert any_claim(family) <= 0.06


def test_two_seeds_have_power_and_four_have_more() -> None:
    shift = np.array([0.6] + [0.0] * 7)
    power = {}
    for seeds in (2, 4):
        rng = np.random.default_rng(seeds)
        found = [Drawn(rng, seeds, seed_sd=0.15, item_sd=0.2, shift=shift) for _ in range(60)]
        power[seeds] = rejected([f.differences() for f in found])
        assert power[seeds] > rejected([f.unpooled() for f in found]) + 0.1
    assert 0.5 < power[2] < power[4]


def test_a_mixture_with_thrice_the_noise_is_judged_too_boldly_and_the_others_too_cautiously() -> None:
    # The price of equal variances, as the docstring of tvt.compare.answers has it.
    rng = np.random.default_rng(0)
    found = [Drawn(rng, 4, seed_sd=np.array([0.9] + [0.3] * 7)) for _ in range(120)]
    assert 0.10 < rejected([f.differences() for f in found]) < 0.30
    assert rejected([f.others() for f in found]) <= 0.05


def answered(values: dict[str, dict[int, np.ndarray]], order: list[str] | None = None, **counts: dict[str, int]) -> Answered:
    """Entries ``e0``, selected, ``e1`` and so on with answers on target ``t`` (questions,) by seed."""
    labels = order or list(values)
    entries = [
        Arm(
            label=label,
            kind="selected" if label == "e0" else "random",
            weights={},
            counts=counts.get(label, {"s": 1 + int(label[1:])}),
        )
        for label in labels
    ]
    measured = Measured(
        targets=("t",),
        seeds=tuple(sorted({k for runs in values.values() for k in runs})),
        ceilings={"t": 1.0},
        base={"t": np.arange(20) < 8},
        answers={label: {k: {"t": a} for k, a in runs.items()} for label, runs in values.items()},
        missing={},
    )
    return Answered(measured, entries)


def runs(entries: int, seeds: int, seed: int = 0) -> dict[str, dict[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {f"e{i}": {k: rng.random(20) < 0.6 for k in range(seeds)} for i in range(entries)}


def test_each_distinct_trained_mixture_counts_once_in_any_order() -> None:
    values = runs(5, 3)
    plain = answered({label: values[label] for label in ("e0", "e1", "e2")})
    noise = seed_noise(plain, {"t": 1.0})
    assert noise is not None
    assert (noise.arms, noise.seeds, noise.difference.degrees) == (3, 3, 4)
    accuracies = np.array([[values[f"e{i}"][k].mean() for k in range(3)] for i in range(3)])
    assert noise == pooled(accuracies)
    # e3 repeats e1's runs, and e4 is the base model.
    more = answered(
        {k: v for k, v in values.items() if k not in ("e3", "e4")}, ["e0", "e1", "e2", "e3", "e4"], e3={"s": 2}, e4={}
    )
    assert more.same == {"e3": "e1"}
    assert seed_noise(more, {"t": 1.0}) == noise
    assert seed_noise(answered(values, ["e2", "e1", "e0"]), {"t": 1.0}) == noise
    # PGF divides by the gap.
    over = seed_noise(plain, {"t": 1 / 0.6})
    assert over is not None
    assert over.difference.variance == pytest.approx(noise.difference.variance / 0.6**2)


def own_errors(of: Answered, entry: str, against: str | None, seeds: list[int]) -> Difference:
    return estimate([Block(cells=of.cells(entry, "t", seeds) - of.cells(against, "t", seeds))])


def test_contrasts_go_by_it_and_fall_back_on_their_own_variance() -> None:
    values = runs(4, 3)
    full = answered(values)
    noise = seed_noise(full, {"t": 1.0})
    assert noise is not None
    for against, of in (("e1", noise.difference), (None, noise.alone)):
        cells = full.cells("e0", "t", [0, 1, 2]) - full.cells(against, "t", [0, 1, 2])
        assert contrast(full, "e0", against, Served.mean({"t": 1.0})).accuracy == estimate([Block(cells=cells)], of)
    # One trained mixture beside the base model: nothing to pool.
    lone = answered({"e1": values["e1"]}, ["e0", "e1"], e0={})
    assert seed_noise(lone, {"t": 1.0}) is None
    assert contrast(lone, "e0", "e1", Served.mean({"t": 1.0})).accuracy == own_errors(lone, "e0", "e1", [0, 1, 2])
    # No two seeds that two mixtures have in common.
    apart = answered({"e0": {0: values["e0"][0], 1: values["e0"][1]}, "e1": {1: values["e1"][1], 2: values["e1"][2]}})
    assert seed_noise(apart, {"t": 1.0}) is None
    assert contrast(apart, "e0", None, Served.mean({"t": 1.0})).accuracy == own_errors(apart, "e0", None, [0, 1])
    one = answered({label: {0: by_seed[0]} for label, by_seed in values.items()})
    assert seed_noise(one, {"t": 1.0}) is None
    assert contrast(one, "e0", "e1", Served.mean({"t": 1.0})).accuracy == own_errors(one, "e0", "e1", [0])


def test_a_mixture_with_fewer_runs_does_not_cost_the_others_theirs() -> None:
    values = runs(6, 4)
    without_any = {**values, "e5": {}}
    assert layout(answered(without_any), ["t"]) == (["e0", "e1", "e2", "e3", "e4"], [0, 1, 2, 3])
    # 4 * 3 degrees of freedom without e5 are more than 5 * 1 with its two seeds; of three seeds its own are worth it.
    two = {**values, "e5": {k: values["e5"][k] for k in (1, 3)}}
    assert layout(answered(two), ["t"]) == (["e0", "e1", "e2", "e3", "e4"], [0, 1, 2, 3])
    all_but_one = {**runs(3, 4), "e2": {k: values["e2"][k] for k in (0, 1, 3)}}
    assert layout(answered(all_but_one), ["t"]) == (["e0", "e1", "e2"], [0, 1, 3])


def test_the_mean_and_the_single_targets_are_families_of_their_own() -> None:
    of = world(np.array([[0.3, 0.1, 0.0], [0.1, 0.3, 0.0], [0.0, 0.0, 0.1], [-0.1, 0.0, 0.0]]), log_spec(), seeds=2)
    told = compare(of.measured, of.arms, of.matrix, of.spec)
    own = [c for c in told.differences if c.against not in told.same]
    for family, size in zip(
        ([c for c in own if c.target is None], [c for c in own if c.target]), told.differences_family, strict=True
    ):
        tested = [(c.estimate.p, c.p_corrected) for c in family if c.estimate is not None]
        assert len(tested) == size
        assert [q for _, q in tested] == pytest.approx(holm([p for p, _ in tested]))
    assert told.differences_family[1] == 3 * told.differences_family[0]
    assert f"(p corrected for {told.differences_family[0]} comparisons" in told.sentences[0]
    assert f"(p corrected for {told.differences_family[1]}, apart from those on the mean)" in told.sentences[-1]


def test_the_assumption_is_told() -> None:
    of = world(np.array([[0.3, 0.1], [0.1, 0.3], [-0.1, 0.0]]), log_spec(), seeds=4)
    notes = compare(of.measured, of.arms, of.matrix, of.spec).notes
    assert any("pooled over" in note and "one size for all mixtures" in note and "Cochran and Cox" in note for note in notes)
    lone = replace(of.measured, answers={"selected": of.measured.answers["selected"]})
    assert not any("pooled" in note for note in compare(lone, of.arms, of.matrix, of.spec).notes)
