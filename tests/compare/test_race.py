"""A race that may stop at every look says "better" wrongly in at most 5% of races, and rightly as often as announced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tvt.compare.comparison import Contrast, Difference
from tvt.compare.race import Look, level, look, race_power, shown
from tvt.compare.statistics import Block, estimate
from tvt.stats.noise import SeedVariance
from tvt.transfer.power import ALPHA, TargetNoise
from tvt.types import Floats

NOISE = TargetNoise(name="mean", seed=0.03**2, question=0.4, questions=400)


def contrast(against: str, of: Difference) -> Contrast:
    return Contrast(
        arm="candidate", against=against, target=None, accuracy=None, pgf=of, outcome="no difference shown", tested="pgf"
    )


@dataclass
class Race:
    """A simulated race: runs (arms, seeds), and what each arm makes of the questions of the looks and of those at the end."""

    runs: Floats
    looks: Floats
    end: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, difference: float, arms: int, seeds: int, *, chosen: bool = False) -> Race:
        """``chosen``: the candidate was picked for what it makes of the questions of the looks."""
        runs = rng.normal(0, np.sqrt(NOISE.seed), (arms, seeds))
        runs[0] += difference
        spread = np.sqrt(NOISE.question / 2)
        looks, end = rng.normal(0, spread, (2, arms, NOISE.questions))
        if chosen:
            looks[0] += 2 * spread / np.sqrt(NOISE.questions)
        return cls(runs=runs, looks=looks, end=end)

    def contrasts(self, questions: Floats, seeds: int, against: int) -> list[Contrast]:
        runs = self.runs[:, :seeds]
        rest = runs - runs.mean(axis=0) - runs.mean(axis=1, keepdims=True) + runs.mean()
        degrees = (len(runs) - 1) * (seeds - 1)
        noise = SeedVariance(variance=2 * float((rest**2).sum()) / degrees, degrees=degrees)
        cells = runs[:, :, None] + questions[:, None, :]
        return [contrast(str(k), estimate([Block(cells=cells[0] - cells[k])], noise)) for k in range(1, against + 1)]

    def run(self, against: int, affordable: int | None = None) -> tuple[Look, bool]:
        """The last look, and whether "better than all" is said on the questions at the end."""
        most = self.runs.shape[1]
        for seeds in range(2, most + 1):
            found = look(self.contrasts(self.looks, seeds, against), seeds, most, affordable or most)
            if found.end is not None:
                break
        better = shown(self.contrasts(self.end, found.seeds, against), found.level)
        return found, found.end == "decided" and len(better) == against


def test_the_levels_of_all_looks_sum_to_alpha() -> None:
    for most in (2, 3, 5, 9):
        assert sum(level(k, most) for k in range(2, most + 1)) == pytest.approx(ALPHA)
    with pytest.raises(ValueError, match="no look"):
        level(1, 5)


@pytest.mark.parametrize("chosen", [False, True])
def test_where_nothing_is_better_that_is_said_in_at_most_5_percent(chosen: bool) -> None:
    rng = np.random.default_rng(1)
    said = [Race.drawn(rng, 0.0, 4, 5, chosen=chosen).run(1)[1] for _ in range(1000)]
    assert np.mean(said) <= 0.05


def test_any_test_at_any_look_passes_in_at_most_5_percent() -> None:
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(1000):
        race = Race.drawn(rng, 0.0, 4, 5)
        passed += any(shown(race.contrasts(race.looks, k, 3), level(k, 5)) for k in range(2, 6))
    assert passed / 1000 <= 0.05


@pytest.mark.parametrize(("difference", "against"), [(0.1, 1), (0.12, 3), (0.2, 3)])
def test_a_difference_is_shown_as_often_as_announced(difference: float, against: int) -> None:
    rng = np.random.default_rng(3)
    said = np.mean([Race.drawn(rng, difference, 4, 5).run(against)[1] for _ in range(1000)])
    assert said == pytest.approx(race_power(difference, NOISE, 5, arms=4, against=against), abs=0.05)


def test_a_race_without_prospects_stops_early() -> None:
    rng = np.random.default_rng(4)
    ends = [Race.drawn(rng, -0.1, 4, 5).run(1)[0] for _ in range(50)]
    assert sum(e.end == "no difference worth the runs left" and e.seeds < 5 for e in ends) >= 40


def test_runs_that_are_left_end_a_race() -> None:
    rng = np.random.default_rng(5)
    found, said = Race.drawn(rng, 0.05, 4, 5).run(3, affordable=2)
    assert (found.seeds, found.end, said) == (2, "runs spent", False)


def test_a_clear_difference_is_decided_at_the_first_looks() -> None:
    rng = np.random.default_rng(6)
    found, said = Race.drawn(rng, 0.6, 4, 5).run(3)
    assert found.end == "decided"
    assert found.seeds <= 3
    assert said
    assert found.open == ()
