"""Placebo runs and doses of small sources as a study plans them: which runs, on how many examples, under which ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import ROOT, tvt
from study_world import ROWS, World, build, write_recipe, write_task
from tvt.core.recipe import Recipe
from tvt.data.questions.files import read_questions, write_jsonl
from tvt.errors import InputError
from tvt.io.yaml_files import load_recipe
from tvt.study.plan import Study, load_study_plan
from tvt.study.session import changes, open_session, save_recipe, stored_recipe


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


def planned(world: World, **fields: Any) -> Study:
    return load_study_plan(load_recipe(write_recipe(world.folder, f"{abs(hash(str(fields)))}.yaml", **fields)))


def test_placebos_are_a_run_per_kind_and_seed_on_all_sources_in_equal_shares(world: World) -> None:
    study = planned(world, placebo=["shuffled", "format"], budget=13, seeds=[0, 3])
    placebos = [run for run in study.runs() if run.placebo is not None]
    assert [(run.label, run.seed) for run in placebos] == [
        ("placebo-shuffled", 0), ("placebo-shuffled", 3), ("placebo-format", 0), ("placebo-format", 3)
    ]  # fmt: skip
    assert {tuple(run.counts.items()) for run in placebos} == {(("Alpha", 7), ("Beta", 6))}
    assert len({study.run_id(run) for run in study.runs()}) == len(study.runs())


def test_a_placebo_is_another_run_than_the_same_mixture_and_leaves_other_runs_ids_alone(world: World) -> None:
    plain, study = planned(world), planned(world, placebo=["shuffled", "format"])
    ids = [plain.run_id(run) for run in plain.runs()]
    assert [study.run_id(run) for run in study.runs()][: len(ids)] == ids
    placebo = study.placebo_run("shuffled", 0)
    assert study.run_id(placebo) != study.run_id(replace(placebo, placebo=None))
    assert study.run_id(placebo) != study.run_id(study.placebo_run("format", 0))
    assert not any(study.is_cell(run) for run in study.runs() if run.placebo)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"placebo": ["format"], "sources": ["Alpha"]}, "format takes the prompts of another task, and there is one source"),
        ({"placebo": ["shuffled"], "budget": 1}, "the budget of 1 is less than an example of each of the 2 sources"),
        ({"placebo": ["shuffled", "shuffled"]}, "placebo: 'shuffled' stands twice"),
        ({"placebo": ["random"]}, "placebo"),
        ({"max_source_epochs": 0}, "max_source_epochs"),
    ],
)
def test_impossible_placebos_are_refused_when_the_recipe_is_read(world: World, fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        planned(world, **fields)
    assert fault in "\n".join(error.value.faults)


def test_sources_that_ask_alike_or_have_one_option_are_refused_when_rows_are_read(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    for name in ("Alpha", "Beta"):
        write_task(folder, name)
        rows = [replace(q, prompt="Which?", question=None) for q in read_questions(folder / f"{name.lower()}-train.jsonl")]
        write_jsonl(rows, folder / f"{name.lower()}-train.jsonl")
    recipe = {"manifests": [str(folder)], "targets": ["Alpha"], "placebo": ["format"]}
    with pytest.raises(InputError, match="all sources ask the same"):
        planned(world, **recipe)
    single = [replace(q, prompt="Which one?", options=q.options[:1], answer="A") for q in rows]
    write_jsonl(single, folder / "beta-train.jsonl")
    with pytest.raises(InputError, match="rows of Beta have one option"):
        planned(world, **{**recipe, "placebo": ["shuffled"]})


def test_a_small_source_takes_as_many_examples_as_its_passes_allow(world: World) -> None:
    study = planned(world, budget=100, max_source_epochs=2, doses=[1, 0.5, 0.25])
    assert study.whole("Alpha") == 2 * ROWS == 32
    assert study.limited == {"Alpha": 0.32, "Beta": 0.32}
    runs = [(run.label, dict(run.counts)) for run in study.runs() if "Alpha" in run.counts]
    # Half of the budget is more than the rows allow, too: it is the same run.
    assert runs == [("Alpha at 0.32 of the budget", {"Alpha": 32}), ("Alpha at 0.25 of the budget", {"Alpha": 25})]
    assert [study.is_cell(run) for run in study.runs()] == [False, True, True, False, False]


def test_epochs_of_training_count_as_passes_and_never_limit_below_themselves(world: World) -> None:
    assert planned(world, budget=100, max_source_epochs=4, training={"num_train_epochs": 2}).whole("Alpha") == 32
    assert planned(world, budget=10, max_source_epochs=4, training={"num_train_epochs": 8}).limited == {}
    assert planned(world, budget=100, max_source_epochs=4, training={"num_train_epochs": 8}).whole("Alpha") == 16
    assert planned(world, budget=100, max_source_epochs=None).limited == {}


def test_the_limit_leaves_the_ids_of_sources_with_enough_rows_alone(world: World) -> None:
    free, bound = (planned(world, budget=20, max_source_epochs=most) for most in (None, 2))
    assert [free.run_id(run) for run in free.runs()] == [bound.run_id(run) for run in bound.runs()]


def test_a_folder_of_an_earlier_version_has_no_limit_and_a_new_one_says_what_it_changes(world: World, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(world.folder, "early.yaml", budget=400))
    session = open_session(recipe, tmp_path)
    assert session.study.limited == {"Alpha": 0.4, "Beta": 0.4}
    save_recipe(recipe, tmp_path)
    assert changes(session).remade == ()
    stored = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert stored.pop("max_source_epochs") == 10
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(stored))
    assert stored_recipe(tmp_path / "recipe.yaml").max_source_epochs is None
    (line,) = changes(session).remade
    assert "Alpha takes 160 examples, 400 before" in line


def test_plans_count_placebos_and_name_small_sources(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(world.folder, "shown.yaml", placebo=["shuffled", "format"], budget=200, seeds=[0, 1])
    told = json.loads(tvt("study", "plan", str(recipe), "-o", str(tmp_path / "s"), "--json").stdout)
    assert [run["label"] for run in told["runs"] if run.get("placebo")] == ["placebo-shuffled"] * 2 + ["placebo-format"] * 2
    assert told["doses"] == {"Alpha": 0.8, "Beta": 0.8}
    assert told["estimate"]["training_runs"] == 8
    assert told["estimate"]["examples"] == 4 * 160 + 4 * 200
    shown = tvt("study", "plan", str(recipe), "-o", str(tmp_path / "s"), COLUMNS="80").stdout
    assert "placebo-shuffled" in shown
    assert "Alpha: 16 rows, 10 passes over them, 160 examples a run" in shown
    assert max(map(len, shown.splitlines())) <= 80
    checked = tvt("recipe", "check", str(recipe)).stdout
    assert "8 training runs: 2 sources x 2 seeds x 1 dose, and 4 of placebos" in checked


def test_the_world_of_mixed_sources_has_placebos_and_doses() -> None:
    study = load_study_plan(Recipe.model_validate(load_recipe(ROOT / "recipes" / "world.yaml").model_dump()))
    assert study.recipe.placebo == ("shuffled", "format")
    assert study.limited == {"Jigsaw": 0.1, "Correspondence": 0.2, "Nearest_Post": 0.5}
    assert sum(run.placebo is not None for run in study.runs()) == 6
