"""What tvt study plan says of time: by phase, by what is known of finished runs, and what settings cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from test_study import first as first  # noqa: PLC0414
from test_study import study as study  # noqa: PLC0414 - a fixture

import study_world
from commands import ROOT
from study_world import Tvt, World, done
from tvt.io.yaml_files import load_recipe
from tvt.study.estimate import CostEstimate, RemainingWork, estimate, factors
from tvt.study.session import Session, open_session
from tvt.study.speed import guessed_speed, measured_speed

RECIPES = ROOT / "recipes"
LARGE = RECIPES / "blink-qwen2.5-vl-7b.yaml"
EIGHT = ("runtime.num_processes=8", "runtime.deepspeed=null")
ALONE = ("runtime.num_processes=1", "runtime.deepspeed=null", "runtime.dataloader_num_workers=0")


def planned(folder: Path, *overrides: str) -> Session:
    return open_session(load_recipe(LARGE, overrides), folder, planning=True)


def guess(folder: Path, *overrides: str) -> CostEstimate:
    session = planned(folder, *overrides)
    return estimate(session.study, session.store, session.tasks())


def test_phases_add_up(tmp_path: Path) -> None:
    cost = guess(tmp_path, *EIGHT)
    assert cost.phases is not None
    assert cost.seconds == pytest.approx(sum(cost.phases.values()))
    assert cost.device_hours == pytest.approx(sum(cost.hours(phase) for phase in cost.phases))
    assert all(cost.hours(phase) > 0 for phase in cost.phases)
    assert cost.assumed


def test_passes_of_a_step_are_those_of_a_frozen_base(tmp_path: Path) -> None:
    """Forward and backward through the activations: 2 passes of the language model; with checkpointing 3. The tower: 1."""

    def trained(*overrides: str) -> float:
        return guess(tmp_path, *ALONE, "training.per_device_train_batch_size=1000000", *big, *overrides).hours("train")

    big = ("training.global_batch_size=1000000", "runtime.dataloader_num_workers=4")  # no pass, no picture costs on top
    plain, twice = trained("training.gradient_checkpointing=false"), trained("training.gradient_checkpointing=true")
    unfrozen = trained("training.gradient_checkpointing=false", "model.freeze_vision=false")
    text = twice - plain
    tower = plain - 2 * text
    assert 0 < tower < text
    assert unfrozen == pytest.approx(2 * text + 2 * tower)


def test_left_open_memory_decides_for_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one picture fit into 80 GB with all their activations, those of three do not; the plan says so."""

    def hours(memory: float, asked: str) -> tuple[float, str]:
        monkeypatch.setattr("tvt.study.speed.device_memory", lambda: memory)
        cost = guess(tmp_path, *ALONE, f"training.gradient_checkpointing={asked}")
        return cost.hours("train"), " ".join(line for line in cost.assumed if "checkpointing" in line)

    off, on = hours(80e9, "false"), hours(80e9, "true")
    assert off[1] == on[1] == ""
    assert hours(1e12, "null")[0] == pytest.approx(off[0])
    assert hours(10e9, "null")[0] == pytest.approx(on[0])
    assert off[0] < hours(80e9, "null")[0] < on[0]
    assert "none of 13 sources" in hours(1e12, "null")[1]
    assert re.search(r"for \d+ of 13 sources.* into 80 GB", hours(80e9, "null")[1])


def test_rounds_of_runs_take_whole_runs(tmp_path: Path) -> None:
    cost = guess(tmp_path, *ALONE)
    assert cost.runs == 53
    assert cost.seconds is not None
    mean = (cost.seconds - cost.start) / 53
    assert cost.wall(8) == pytest.approx(cost.start + 7 * mean)
    assert cost.wall(1) == pytest.approx(cost.seconds)


def costs(folder: Path, *overrides: str) -> dict[str, Any]:
    session = planned(folder, *overrides)
    tasks = session.tasks()
    work = RemainingWork.of(session.study, session.store, tasks)
    found = factors(session.study, work, estimate(session.study, session.store, tasks))
    assert [f.times for f in found] == sorted((f.times for f in found), reverse=True)
    return {factor.setting: factor for factor in found}


def test_settings_that_cost_are_named(tmp_path: Path) -> None:
    slow = ("training.gradient_checkpointing=true", "training.per_device_train_batch_size=1", "model.dtype=float32")
    found = costs(tmp_path, *ALONE, *slow)
    assert {"training.gradient_checkpointing", "training.per_device_train_batch_size"} < found.keys()
    assert [name for name, factor in found.items() if factor.changes_results] == ["model.dtype", "training.num_train_epochs"]
    assert (found["model.dtype"].now, found["model.dtype"].instead) == ("float32", "bfloat16")
    assert 1.3 < found["training.gradient_checkpointing"].training_times < 1.5
    assert found["training.num_train_epochs"].times < 1
    fast = costs(tmp_path, *ALONE)
    assert fast["runtime.dataloader_num_workers"].instead == "4"
    assert "runtime.num_processes" not in fast
    assert costs(tmp_path, *EIGHT)["runtime.num_processes"].times > 1.5


def test_a_factor_is_the_other_plan(tmp_path: Path) -> None:
    """What a setting would come to is what the plan of that setting says."""
    named = costs(tmp_path, *EIGHT)["runtime.num_processes"]
    assert guess(tmp_path, "runtime.num_processes=1", "runtime.deepspeed=null").device_hours == pytest.approx(
        named.device_hours
    )


def test_pictures_at_hand_and_config_json_are_looked_at(world: World, tmp_path: Path) -> None:
    """Of a large model whose config.json is here, with rows of small pictures: nothing is assumed about either."""
    (tmp_path / "model").mkdir()
    text = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "intermediate_size": 18944}
    vision = {"depth": 32, "hidden_size": 1280, "patch_size": 14, "spatial_merge_size": 2}
    told = {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": vision}
    (tmp_path / "model" / "config.json").write_text(json.dumps(told))
    model = {"model_name_or_path": str(tmp_path / "model"), "dtype": "bfloat16"}
    recipe = load_recipe(study_world.write_recipe(world.folder, "large.yaml", model=model))
    session = open_session(recipe, tmp_path / "s", planning=True)
    speed = guessed_speed(session.study)
    assert speed is not None
    assert not any("pictures" in line or "config.json" in line for line in speed.assumed)
    assert speed.examples["Alpha"] < 0.1


def test_finished_runs_are_the_measure(study: Path, world: World, tvt: Tvt) -> None:
    """One run more of each source takes what theirs took, phase by phase."""
    recipe = study_world.write_recipe(world.folder, "more.yaml", targets=["Alpha", "Beta"], seeds=[0, 1])
    told = json.loads(done(tvt("study", "plan", recipe, "-o", study, "--json")).stdout)["estimate"]
    session = open_session(load_recipe(recipe), study)
    store = session.store
    trained = {run_id: store.training(run_id) for run_id in store.known()}
    rates = {run_id: record.rows / record.rows_per_second for run_id, record in trained.items() if record is not None}
    assert told["measured"] is True
    assert told["phases"]["train"]["seconds"] == pytest.approx(sum(rates.values()))
    scored = [store.finished(run_id) for run_id in store.known()]
    rate = sum(done.scoring_seconds for done in scored) / sum(done.questions for done in scored)
    assert told["phases"]["score"]["seconds"] == pytest.approx(rate * told["questions"])
    assert told["phases"]["load"]["seconds"] > 0
    assert told["seconds"] == pytest.approx(sum(phase["seconds"] for phase in told["phases"].values()))
    assert told["factors"] == [], "of a tiny model nothing is guessed"
    text = done(tvt("study", "plan", recipe, "-o", study)).stdout
    assert re.search(r"^load, set up +\d+ s", text, re.MULTILINE)
    assert "by the speed of this study's finished runs" in " ".join(text.split())


def test_records_without_loading_count_it_as_scoring(study: Path, world: World) -> None:
    for path in study.glob("runs/*/scores.json"):
        told = json.loads(path.read_text())
        del told["load_seconds"]
        path.write_text(json.dumps(told))
    recipe = study_world.write_recipe(world.folder, "older.yaml", targets=["Alpha", "Beta"], seeds=[0, 1])
    session = open_session(load_recipe(recipe), study)
    speed = measured_speed(session.study, session.store)
    assert speed is not None
    assert speed.load is None
    cost = estimate(session.study, session.store, session.tasks())
    assert cost.phases is not None
    assert cost.phases["load"] == 0
    assert cost.phases["score"] > 0


@pytest.mark.parametrize("width", ["80", "120"])
def test_tables_fit_the_terminal(width: str, tvt: Tvt, tmp_path: Path) -> None:
    slow = [
        f"--set={item}" for item in (*EIGHT, "training.per_device_train_batch_size=1", "training.gradient_checkpointing=true")
    ]
    told = done(tvt("study", "plan", LARGE, "-o", tmp_path / "s", *slow, COLUMNS=width)).stdout
    assert max(map(len, told.splitlines())) <= int(width)
    for words in (
        "Where the time goes",
        "Guessed with",
        "What settings cost, guessed",
        "runtime.num_processes=1",
        "%",
    ):
        assert words in told
