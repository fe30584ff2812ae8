"""Whole campaigns on simulated scores: how often they say "better" where nothing is, and where something is; and kills."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from test_campaign import opened, peaked, plan, tuned

from simulated_runs import SimulatedRuns
from tvt.tuning.campaign import Campaign
from tvt.tuning.outcome import outcome
from tvt.tuning.stages import Record

pytestmark = pytest.mark.slow
CAMPAIGNS = 50


def level(shares: Mapping[str, float]) -> float:
    """Every mixture gains the same."""
    return 0.2


def test_where_all_mixtures_are_alike_campaigns_seldom_say_better(tmp_path: Path) -> None:
    said = 0
    for k in range(CAMPAIGNS):
        runs = SimulatedRuns(session=opened(tmp_path / str(k), questions=200), truth=level, world=k)
        said += bool(tuned(runs, plan(runs=30, against=["uniform"]))[1].better)
    assert said <= 6  # 5% of 50 is 2.5; 7 or more would come in 1% of such trials


def test_where_a_mixture_is_better_campaigns_say_so(tmp_path: Path) -> None:
    said = []
    for k in range(CAMPAIGNS):
        runs = SimulatedRuns(session=opened(tmp_path / str(k), questions=200), truth=peaked, world=k)
        said.append(tuned(runs, plan(runs=50))[1].decided)
    assert np.mean(said) >= 0.6


def test_campaigns_that_are_killed_at_random_end_the_same(tmp_path: Path) -> None:
    whole = tuned(SimulatedRuns(session=opened(tmp_path / "whole", questions=100), truth=peaked), plan(runs=40))[1]
    rng = random.Random(0)
    for k in range(10):
        runs = SimulatedRuns(session=opened(tmp_path / f"parts-{k}", questions=100), truth=peaked)
        while True:  # each round is a command that ends after a random number of steps
            campaign, steps, over = Campaign(Record(runs.session, plan(runs=40))), rng.randrange(1, 12), False
            for _ in range(steps):
                stages = campaign.record.stages()
                todo = campaign.tasks(stages[-1]) if stages else []
                missing = [t for t in todo if runs.session.status([t])[t.run_id] != "done"]
                if missing:
                    runs.do(missing[:1])
                elif campaign.decide() is None:
                    over = True
                    break
            if over:
                break
        assert outcome(campaign).json_value() == whole.json_value()
