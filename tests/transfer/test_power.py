"""The power that is announced for a plan holds in simulated comparisons, and what it advises is enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tvt.compare.statistics import Block, estimate
from tvt.core.matrix import TransferMatrix
from tvt.errors import InputError
from tvt.stats.noise import SeedVariance
from tvt.transfer.power import POWER, TargetNoise, detect, guessed_noise, measured_noise, power, report, smallest_shown

NOISE = TargetNoise(name="t", seed=0.03**2, question=0.3, questions=1000)


def simulated_power(difference: float, noise: TargetNoise, seeds: int, arms: int, draws: int) -> float:
    """Share of simulated comparisons that show it: the same estimate that compare makes, with the noise pooled over arms."""
    rng = np.random.default_rng(1)
    shown = 0
    for _ in range(draws):
        runs = rng.normal(0, np.sqrt(noise.seed), (arms, seeds))
        pooled = (runs - runs.mean(axis=0) - runs.mean(axis=1, keepdims=True) + runs.mean()) ** 2
        degrees = (arms - 1) * (seeds - 1)
        questions = rng.normal(0, np.sqrt(noise.question), noise.questions)
        cells = difference + (runs[0] - runs[1])[:, None] + questions
        seen = SeedVariance(variance=2 * float(pooled.sum()) / degrees, degrees=degrees)
        shown += estimate([Block(cells=cells)], seen).p < 0.05
    return shown / draws


@pytest.mark.parametrize(("difference", "seeds"), [(0.0, 3), (0.05, 3), (0.08, 2), (0.06, 5)])
def test_the_announced_power_holds_in_simulation(difference: float, seeds: int) -> None:
    announced = power(difference, NOISE, seeds, arms=8)
    assert simulated_power(difference, NOISE, seeds, 8, 1500) == pytest.approx(announced, abs=0.05)


def test_power_of_many_questions_and_seeds_is_that_of_the_normal_test() -> None:
    noise = TargetNoise(name="t", seed=0.01, question=1.0, questions=10_000)
    error = np.sqrt(2 * 0.01 / 50 + 1.0 / 10_000)
    expected = stats.norm.sf(1.96 - 0.05 / error) + stats.norm.cdf(-1.96 - 0.05 / error)
    assert power(0.05, noise, 50, arms=100) == pytest.approx(expected, abs=0.002)


def test_what_is_advised_is_enough_and_no_more() -> None:
    found = detect(0.07, NOISE, 2)
    assert found.seeds_needed is not None
    assert power(0.07, NOISE, found.seeds_needed) >= POWER > power(0.07, NOISE, found.seeds_needed - 1)
    assert power(found.smallest, NOISE, 2) == pytest.approx(POWER, abs=1e-6)


def test_where_questions_are_too_few_no_number_of_seeds_helps() -> None:
    noise = TargetNoise(name="t", seed=1e-4, question=0.5, questions=200)
    found = detect(0.05, noise, 3)
    assert found.seeds_needed is None
    assert found.questions_needed is not None
    assert found.limit > 0.05
    assert "add questions, not seeds" in found.advice
    more = TargetNoise(name="t", seed=1e-4, question=0.5, questions=found.questions_needed)
    assert power(0.05, more, 3) >= POWER


def test_one_seed_shows_nothing() -> None:
    assert power(1.0, NOISE, 1) == 0
    assert smallest_shown(NOISE, 1) == float("inf")


def test_more_tests_need_more() -> None:
    assert power(0.06, NOISE, 4, tests=7) < power(0.06, NOISE, 4)


def test_noise_is_that_of_the_studys_seeds_and_questions() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.2, (1, 10, 3)) + rng.normal(0, 0.04, (6, 10, 3))
    names = {"sources": [f"s{i}" for i in range(10)], "targets": ["a", "b", "c"], "runs": [f"seed_{k}" for k in range(6)]}
    matrix = TransferMatrix.from_values(values, **names)
    with pytest.raises(InputError, match="no errors from questions"):
        measured_noise(matrix, {"a": 100}, {"a": 100})
    from dataclasses import replace

    matrix = replace(matrix, item_errors=np.full(values.shape, 0.05))
    scored, planned = {"a": 400, "b": 400, "c": 400}, {"a": 800, "c": 400}
    mean, first, last = measured_noise(matrix, scored, planned)
    assert (mean.name, first.name, last.name) == ("mean", "a", "c")
    assert first.seed == pytest.approx(0.04**2, rel=0.25)
    assert first.question / first.questions == pytest.approx(0.05**2 / 2)
    assert last.question / last.questions == pytest.approx(0.05**2)
    assert mean.seed == pytest.approx(0.04**2 / 2, rel=0.35)
    one = replace(matrix, runs=("seed_0",), values=values[:1], item_errors=matrix.item_errors[:1])
    with pytest.raises(InputError, match="--seed-sd"):
        measured_noise(one, scored, planned)


def test_a_single_target_has_no_mean() -> None:
    noise = guessed_noise({"a": 500}, seed_sd=0.02, differing=0.2, gap=0.5)
    found = report(0.1, noise, 3, arms=4, tests=3, origin="guess", text="a guess")
    assert [t.name for t in found.targets] == ["a"]
    assert found.json_value()["targets"]["a"]["seeds"] == 3
