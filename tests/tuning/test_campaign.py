"""A tuning campaign on simulated scores: its stages, its budget, its decisions, and that a kill changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from commands import ROOT
from simulated_runs import SimulatedRuns, Truth
from tvt.core.selection import SelectionSpec
from tvt.errors import InputError
from tvt.io.yaml_files import load_recipe
from tvt.study.session import Session, open_session
from tvt.tuning.campaign import TUNED, Campaign
from tvt.tuning.outcome import Tuned, outcome
from tvt.tuning.stages import Plan, Record

SOURCES = ["Relative_Depth", "Visual_Similarity", "Count_Comparison", "Correspondence", "Relative_Reflectance"]


def opened(folder: Path, *, seeds: int = 5, questions: int = 300) -> Session:
    recipe = load_recipe(
        ROOT / "recipes" / "miniature.yaml",
        [
            f"sources={SOURCES}",
            "targets=[Jigsaw, Nearest_Post]",
            f"seeds={list(range(seeds))}",
            f"evaluation.questions={questions}",
        ],
    )
    return open_session(recipe, folder)


def plan(runs: int = 60, **options: object) -> Plan:
    spec = SelectionSpec(targets={"Jigsaw": 1.0, "Nearest_Post": 1.0})
    return Plan.model_validate({"spec": spec.model_dump(mode="json", exclude_defaults=True), "runs": runs, **options})


def peaked(shares: Mapping[str, float]) -> float:
    """Two sources that help above all together, a third that helps alone, and two that harm."""
    a, b, c = (shares.get(name, 0.0) for name in ("Relative_Depth", "Visual_Similarity", "Count_Comparison"))
    return 2 * a * b + 0.2 * (a + b) + 0.3 * c - 0.2 * (1 - a - b - c)


def tuned(runs: SimulatedRuns, asked: Plan) -> tuple[Campaign, Tuned]:
    campaign = Campaign(Record(runs.session, asked))
    campaign.check()
    while (stage := campaign.decide()) is not None:
        runs.do(campaign.tasks(stage))
    return campaign, outcome(campaign)


def simulated(folder: Path, truth: Truth) -> SimulatedRuns:
    return SimulatedRuns(session=opened(folder), truth=truth)


def test_a_clearly_better_mixture_is_found_and_shown(tmp_path: Path) -> None:
    campaign, result = tuned(simulated(tmp_path / "study", peaked), plan())
    assert result.decided, result.sentence
    assert result.runs <= 60
    assert result.mixture.weights["Relative_Depth"] + result.mixture.weights["Visual_Similarity"] > 0.8
    kinds = [stage.kind for stage in result.stages]
    assert kinds[0] == "single sources"
    assert "proposals" in kinds
    assert kinds[-2:] == ["race", "report"]
    assert {run.seed for stage in result.stages if stage.kind == "race" for run in stage.runs}.isdisjoint({0})
    assert campaign.decide() is None


def test_too_few_seeds_or_runs_are_refused_before_the_first_run(tmp_path: Path) -> None:
    few = Campaign(Record(opened(tmp_path / "a", seeds=2), plan(runs=6)))
    with pytest.raises(InputError) as found:
        few.check()
    assert "seeds" in found.value.faults[0]
    assert "--runs 15" in found.value.faults[1]


def test_a_campaign_goes_on_where_it_was_and_ends_the_same(tmp_path: Path) -> None:
    whole = tuned(simulated(tmp_path / "whole", peaked), plan(runs=40))[1]
    runs = simulated(tmp_path / "parts", peaked)
    for _ in range(200):  # a new campaign for each run: nothing is remembered but what is in the folder
        campaign = Campaign(Record(runs.session, plan(runs=40)))
        stages = campaign.record.stages()
        missing = [t for t in (campaign.tasks(stages[-1]) if stages else []) if runs.session.status([t])[t.run_id] != "done"]
        if missing:
            runs.do(missing[:1])
        elif campaign.decide() is None:
            break
    parts = outcome(campaign)
    assert parts.stages == whole.stages
    assert parts.json_value() == whole.json_value()


def test_two_campaigns_of_one_request_share_their_stages(tmp_path: Path) -> None:
    runs = simulated(tmp_path / "study", peaked)
    first, second = (Campaign(Record(runs.session, plan(runs=40))) for _ in range(2))
    while (stage := first.decide()) is not None:
        assert second.record.add(len(first.record.stages()) - 1, stage.model_copy(update={"why": "another"})) == stage
        runs.do(second.tasks(stage))
    assert outcome(second).json_value() == outcome(first).json_value()


def test_another_request_in_the_folder_uses_its_runs(tmp_path: Path) -> None:
    runs = simulated(tmp_path / "study", peaked)
    _, first = tuned(runs, plan(runs=40))
    before = Record(runs.session, plan()).used()
    other = SelectionSpec(targets={"Jigsaw": 1.0}).model_dump(mode="json", exclude_defaults=True)
    _, second = tuned(runs, Plan(spec=other, runs=before + 20))
    assert second.stages[0].runs == ()
    assert before < second.runs <= before + 20
    assert first.arms[0].label == second.arms[0].label == TUNED
