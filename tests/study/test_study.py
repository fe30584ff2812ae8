"""Studies from end to end: planned, run, extended, looked at; what names a run, and what a failed run does to the rest."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

pytest.importorskip("trl")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import study_world
import tiny_vlm
from recipe_fields import parts
from study_folders import id_of
from study_world import TASKS, Tvt, World, done, specs
from tvt.core.recipe import RUNTIME, Recipe
from tvt.data.questions.files import open_questions, write_jsonl, write_parquet
from tvt.data.studies.load import load_study
from tvt.errors import InputError
from tvt.io.yaml_files import load_recipe
from tvt.study.plan import Study, load_study_plan
from tvt.study.session import open_session
from tvt.study.store import Store


@pytest.fixture(scope="module")
def first(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two sources and two targets."""
    study = tmp_path_factory.mktemp("studies") / "first"
    recipe = study_world.write_recipe(world.folder, "first.yaml", targets=["Alpha", "Beta"])
    done(tvt("study", "run", recipe, "-o", study, "--workers", "2"))
    return study


@pytest.fixture
def study(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(first, tmp_path / "study"))


def rows_of(study: Path, name: str = "scores.csv") -> list[dict[str, str]]:
    with (study / name).open() as stream:
        return list(csv.DictReader(stream))


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of everything that a run leaves."""
    found = {}
    for part in ("runs", "answers"):
        for path in sorted((folder / part).rglob("*")):
            state = path.stat()
            if path.is_file():
                found[str(path.relative_to(folder))] = state.st_ino, state.st_mtime_ns
    return found


def test_plan_shows_the_grid_and_writes_nothing(world: World, tvt: Tvt, tmp_path: Path) -> None:
    recipe = study_world.write_recipe(world.folder, "grid.yaml", seeds=[0, 3], doses=[1.0, 0.5])
    told = done(tvt("study", "plan", recipe, "-o", tmp_path / "s"))
    assert "small: 9 runs, 12 examples a run, 3 targets" in told.stdout
    assert "· 9 missing" in told.stdout
    assert "seed 3 at 50%" in told.stdout
    assert "8 runs to train, 72 examples, 270 questions to ask" in told.stdout
    whole = json.loads(done(tvt("study", "plan", recipe, "-o", tmp_path / "s", "--json")).stdout)
    assert [run["status"] for run in whole["runs"]] == ["missing"] * 9
    assert whole["runs"][0]["counts"] == {}
    grid = {(source, count, seed) for source in ("Alpha", "Beta") for count in (12, 6) for seed in (0, 3)}
    assert {(*next(iter(run["counts"].items())), run["seed"]) for run in whole["runs"][1:]} == grid
    assert whole["estimate"]["questions"] == 270
    assert not whole["estimate"]["measured"]
    assert not (tmp_path / "s").exists()


def test_the_matrix_is_the_counts_of_the_answers(first: Path) -> None:
    found = rows_of(first)
    assert len(found) == 6
    answers = {}
    for path in first.glob("answers/*/identity.json"):
        adapter = json.loads(path.read_text())["about"]["adapter"]
        answers[Path(adapter).parent.name if adapter else "base"] = path.parent
    ids = {next(iter(told["counts"]), "base"): run if told["counts"] else "base" for run, told in specs(first).items()}
    right = {
        (source, target): [json.loads(line)["correct"] for line in (answers[run] / f"{target}.items.jsonl").open()]
        for source, run in ids.items()
        for target in ("Alpha", "Beta")
    }
    for row in found:
        mine, base = right[row["source"], row["target"]], right["base", row["target"]]
        assert (int(row["correct"]), int(row["total"])) == (sum(mine), 10)
        if row["source"] == "base":
            assert row["both_correct"] == ""
        else:
            assert int(row["both_correct"]) == sum(a and b for a, b in zip(mine, base, strict=True))
    matrix = load_study(str(first))
    for row, source in enumerate(matrix.sources):
        for column, target in enumerate(matrix.targets):
            base, after = sum(right["base", target]) / 10, sum(right[source, target]) / 10
            assert matrix.mean[row, column] == pytest.approx((after - base) / (1 - base))


def test_records_tell_loading_from_scoring(first: Path) -> None:
    for path in first.glob("runs/*/scores.json"):
        told = json.loads(path.read_text())
        assert told["scoring_seconds"] > 0
        trained = (path.parent / "training.json").is_file()
        assert told["load_seconds"] > 0 or not trained


def test_records_of_the_first_version_know_no_loading(study: Path) -> None:
    store = Store(study)
    for run_id in store.known():
        path = store.run_folder(run_id) / "scores.json"
        told = json.loads(path.read_text())
        del told["load_seconds"]
        path.write_text(json.dumps(told))
        finished = store.finished(run_id)
        assert finished.load_seconds is None
        before = path.read_text()
        store.save(run_id, finished)
        assert json.loads(path.read_text()) == json.loads(before)


def test_status_of_a_finished_study(first: Path, tvt: Tvt) -> None:
    told = done(tvt("study", "status", first))
    assert "✓ 3 done" in told.stdout
    assert "to train" not in told.stdout
    whole = json.loads(done(tvt("study", "status", first, "--json")).stdout)
    assert whole["failures"] == {}
    assert {run["id"] for run in whole["runs"]} == set(map(id_of, (first / "runs").iterdir()))


def test_running_again_does_nothing(study: Path, tvt: Tvt) -> None:
    before, scores = stamps(study), (study / "scores.csv").read_bytes()
    told = done(tvt("study", "run", study / "recipe.yaml", "-o", study, "--json"))
    assert {run["status"] for run in json.loads(told.stdout)["runs"]} == {"done"}
    assert stamps(study) == before
    assert (study / "scores.csv").read_bytes() == scores
    assert study_world.leftovers(study) == []


def test_more_sources_targets_seeds_and_doses_only_add(study: Path, world: World, tvt: Tvt) -> None:
    before = stamps(study)
    old = {row["source"] + row["target"]: row for row in rows_of(study)}
    recipe = study_world.write_recipe(world.folder, "more.yaml", sources=["Gamma", "Beta", "Alpha"], doses=[0.5, 1.0])
    plan = json.loads(done(tvt("study", "plan", recipe, "-o", study, "--json")).stdout)
    # Gamma at both doses, two half doses; one more target for the three runs that were done, three for the four new ones.
    assert plan["estimate"]["examples"] == 12 + 3 * 6
    assert plan["estimate"]["questions"] == 3 * 10 + 4 * 30
    told = done(tvt("study", "run", recipe, "-o", study, "--workers", "2"))
    assert "changed" not in told.stderr
    assert len(specs(study)) == 7
    after = stamps(study)
    kept = [name for name in before if "training" in name or "adapter" in name or "chunk" in name]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked)) == 7 * 30
    new = {row["source"] + row["target"]: row for row in rows_of(study)}
    assert {name: new[name] for name in old} == old
    assert len(new) == 12
    doses = rows_of(study, "mixtures.csv")
    assert len({row["mixture"] for row in doses}) == 3
    assert load_study(str(study)).evidence is not None
    # Back at one dose, the table of doses would contradict study.yaml.
    done(
        tvt("study", "run", world.folder / "first.yaml", "-o", study, "--set", "training.learning_rate=0.02", "--workers", "2")
    )
    assert load_study(str(study)).evidence is None


def ids(study: Study) -> dict[tuple[Any, ...], str]:
    return {(*sorted(run.counts.items()), run.seed): study.run_id(run) for run in study.runs()}


OTHER: dict[str, Any] = {
    "model.revision": "abc",
    "lora.lora_target_modules": "q_proj",
    "lora.lora_dropout": 0.1,
    "training.optim": "sgd",
    "training.global_batch_size": 8,
    "training.per_device_train_batch_size": 4,
    "training.warmup_ratio": 0.5,
    "training.weight_decay": 0.1,
    "evaluation.questions": 5,
    "evaluation.prompt": "letter",
    "datasets": {"BLINK-Benchmark/BLINK": "blink"},
    "data_dir": "data",
    "runtime.deepspeed": "zero.json",
    "model.max_pixels": 100_000,
    "model.min_pixels": 1000,
    "training.max_length": 100_000,
    "training.parts": ["projector"],
    "training.neftune_noise_alpha": 5,
    "lora.modules_to_save": ["lm_head"],
    "runtime.executor": "slurm",
    "runtime.lmms_eval_python": "/opt/lmms/bin/python",
    "runtime.endpoint.address": "http://127.0.0.1:1/v1",
    "runtime.endpoint.models": {"m": "served"},
    "runtime.dataloader_num_workers": 1,
    "runtime.report_to": ["wandb"],
    "runtime.main_process_ip": "10.0.0.1",
    "runtime.main_process_port": 29500,
    "runtime.slurm.partition": "gpu",
    "runtime.slurm.account": "lab",
    "runtime.slurm.qos": "high",
    "runtime.slurm.gpus_per_node": 4,
    "runtime.slurm.cpus_per_task": 8,
    "runtime.slurm.mem_gb": 64,
    "runtime.slurm.setup": ["module load cuda"],
    "runtime.slurm.additional_parameters": {"constraint": "h100"},
    "runtime.ray.address": "auto",
    "runtime.ray.gpus_per_run": 2,
    "runtime.ray.cpus_per_run": 4,
    "name": "another",
    "seeds": [0, 1, 2],
    "doses": [1.0, 0.5],
    "sources": ["Beta", "Gamma", "Alpha"],
    "targets": ["Gamma", "Alpha"],
    "placebo": ["shuffled"],
}
PLACES = ("model.model_name_or_path", "manifests")
FIELDS = {name: model.model_fields[field].json_schema_extra for name, model, field in parts(Recipe) if name not in PLACES}


def changed(recipe: Recipe, name: str) -> Recipe:
    """The recipe with another value in one field."""
    part, _, field = name.rpartition(".")
    told = recipe.model_dump(mode="json")
    owner: Any = recipe
    place = told
    for name_of_part in filter(None, part.split(".")):
        owner, place = getattr(owner, name_of_part), place[name_of_part]
    value, annotation = getattr(owner, field), type(owner).model_fields[field].annotation
    if name in OTHER:
        other = OTHER[name]
    elif get_origin(annotation) is Literal:
        other = next(choice for choice in get_args(annotation) if choice != value)
    else:
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value / 2
    if name == "evaluation.backend":
        told["evaluation"]["mode"] = "generate"
        told["runtime"]["endpoint"]["address"] = "http://127.0.0.1:1/v1"
    if name == "runtime.num_machines":
        told["runtime"]["num_processes"] = other
    place[field] = other
    return Recipe.model_validate(told)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_changes_ids_if_and_only_if_it_changes_results(name: str, world: World) -> None:
    recipe = load_recipe(world.recipe, ["training.per_device_train_batch_size=2"])
    before, after = load_study_plan(recipe), load_study_plan(changed(recipe, name))
    part = name.rpartition(".")[0]
    old, new = ids(before), ids(after)
    common = old.keys() & new.keys()
    assert (0,) in common, "the base"
    keys = before.questions.keys() & after.questions.keys()
    same_keys = all(before.questions[where] == after.questions[where] for where in keys)
    if FIELDS[name] == RUNTIME:
        assert {key: old[key] for key in common} == {key: new[key] for key in common}
        assert same_keys
    elif part == "evaluation":  # adapters stay, and are scored anew
        assert old == new
        assert not same_keys
    elif name == "budget":
        assert old.keys() ^ new.keys(), "other examples"
    else:
        assert not set(old.values()) - {old[0,]} & set(new.values())
        assert (old[0,] == new[0,]) == (part != "model"), "how it would be trained is no part of what the base is"
        assert same_keys


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sources=st.lists(st.sampled_from(TASKS), min_size=1, unique=True),
    targets=st.lists(st.sampled_from(TASKS), min_size=1, unique=True),
    seeds=st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
    doses=st.lists(st.sampled_from([1.0, 0.5, 0.25, 0.26]), min_size=1, unique=True),
)
def test_which_other_runs_there_are_changes_no_run(
    world: World, sources: list[str], targets: list[str], seeds: list[int], doses: list[float]
) -> None:
    whole = load_recipe(world.recipe).model_copy(
        update={"sources": TASKS, "targets": TASKS, "seeds": tuple(range(6)), "doses": (1.0, 0.5, 0.25)}
    )
    some = whole.model_copy(
        update={"sources": tuple(sources), "targets": tuple(targets), "seeds": tuple(seeds), "doses": tuple(doses)}
    )
    everything, found = load_study_plan(whole), load_study_plan(some)
    assert ids(found).items() <= ids(everything).items()
    assert found.questions.items() <= everything.questions.items()
    labels = [found.run_id(run) for run in found.runs()]
    assert len(labels) == len(set(labels)), "0.25 and 0.26 of 12 examples are the same three"


def test_what_a_run_is_does_not_depend_on_where_things_lie(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.folder, tmp_path / "elsewhere")
    moved = study_world.write_recipe(tmp_path / "elsewhere")
    here, there = load_study_plan(load_recipe(world.recipe)), load_study_plan(load_recipe(moved))
    assert ids(here) == ids(there)
    assert here.questions == there.questions
    # The same rows in another format are the same rows; and a task's name or label is no part of them.
    tasks = tmp_path / "elsewhere" / "tasks"
    write_parquet(open_questions(tasks / "alpha-train.jsonl").questions(), tasks / "other.parquet")
    manifest = (tasks / "alpha.yaml").read_text()
    (tasks / "alpha.yaml").write_text(manifest.replace("alpha-train.jsonl", "other.parquet") + "ceiling: 0.9\n")
    assert ids(load_study_plan(load_recipe(moved))) == ids(here)
    # Other rows make other runs of that source, other questions another key of that target; nothing else changes.
    write_jsonl(study_world.drawn("Alpha", 17, 0), tasks / "alpha-train.jsonl")
    (tasks / "alpha.yaml").write_text(manifest)
    write_parquet(study_world.drawn("Beta", 10, 9), tasks / "beta-select.parquet")
    other = load_study_plan(load_recipe(moved))
    assert {key for key in ids(here) if ids(here)[key] != ids(other)[key]} == {(("Alpha", 12), 0)}
    assert {key for key in here.questions if here.questions[key] != other.questions[key]} == {("Beta", "evaluation")}
    # Another model at the same place is another model.
    config = tmp_path / "elsewhere" / "model" / "config.json"
    config.write_text(config.read_text().replace("{", '{"more": 1,', 1))
    assert not set(ids(load_study_plan(load_recipe(moved))).values()) & set(ids(other).values())


def test_every_question_set_has_its_own_key(world: World) -> None:
    found = load_study_plan(load_recipe(world.recipe)).questions
    assert len(found) == 6
    assert len(set(found.values())) == 6


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model that cannot see: a NaN in its vision tower. Words is a task without images; Pictures is trained with them."""
    world = study_world.build(tmp_path_factory.mktemp("blind"))
    path = world.folder / "model" / "model.safetensors"
    tensors = load_file(path)
    next(tensor for name, tensor in tensors.items() if "vision" in name and "q_proj.weight" in name)[0, 0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    for task in TASKS:
        write_parquet(tiny_vlm.questions(task, 10, images=(0,)), world.questions(task))
    write_jsonl(tiny_vlm.questions("Alpha", 26, images=(0,))[10:], world.rows("Alpha"))  # others than are scored
    return world


def test_a_diverging_run_masks_its_cells_and_the_rest_goes_on(blind: World, tvt: Tvt, tmp_path: Path) -> None:
    study = tmp_path / "study"
    recipe = study_world.write_recipe(blind.folder, "two.yaml", targets=["Alpha", "Beta"])
    told = done(tvt("study", "run", recipe, "-o", study, "--workers", "1"))
    assert "FAILED 3/3  Beta, seed 0: step 1: the loss is nan; nothing was changed by it; lower training.learn" in told.stderr
    assert "2 runs done, 1 run failed" in told.stdout
    masked = [row for row in rows_of(study) if row["source"] == "Beta"]
    assert [(row["target"], row["correct"]) for row in masked] == [("Alpha", ""), ("Beta", "")]
    assert all(row["reason"].startswith("step 1: the loss is nan") for row in masked)
    assert (load_study(str(study)).reason("Beta", "Alpha") or "").startswith("step 1: the loss is nan")
    (failed,) = (run for run, spec in specs(study).items() if "Beta" in spec["counts"])
    left = sorted(path.name for path in (study / "runs" / failed).iterdir())
    assert left == [".claim", ".id", ".lock", "failure.json", "spec.json"]
    shown = done(tvt("study", "status", study))
    assert "✗ 1 failed" in shown.stdout
    assert "the loss is nan" in shown.stdout
    assert "--retry-failed" in shown.stdout

    before = stamps(study)
    done(tvt("study", "run", recipe, "-o", study))
    assert stamps(study) == before, "a failed run is not tried again by itself"
    # More targets: the failed run stays failed, the others are asked what is new.
    more = study_world.write_recipe(blind.folder, "more.yaml")
    told = done(tvt("study", "run", more, "-o", study, "--retry-failed", "--workers", "2", "--json"))
    whole = json.loads(told.stdout)
    assert {run["label"]: run["status"] for run in whole["runs"]} == {"base": "done", "Alpha": "done", "Beta": "failed"}
    assert list(whole["failures"]) == ["Beta, seed 0"]
    after = stamps(study)
    assert after[f"runs/{failed}/failure.json"] != before[f"runs/{failed}/failure.json"], "tried again"
    asked = list(study_world.chunks(study))
    assert len(asked) == len(set(asked)) == 2 * 30
    assert [row["reason"][:6] for row in rows_of(study) if row["source"] == "Beta"] == ["step 1"] * 3


def test_all_runs_failed(blind: World, tvt: Tvt, tmp_path: Path) -> None:
    recipe = study_world.write_recipe(blind.folder, "one.yaml", sources=["Beta"], targets=["Alpha"])
    told = tvt("study", "run", recipe, "-o", tmp_path / "s")
    assert told.returncode == 6
    assert "tvt: the only run failed: step 1: the loss is nan" in told.stderr
    assert [row["source"] for row in rows_of(tmp_path / "s")] == ["base", "Beta"]


def test_refusals(world: World, tvt: Tvt, tmp_path: Path) -> None:
    told = tvt("study", "plan", world.recipe, "--set", "sources=[Alhpa, Beta]", "--set", "targets=[Delta]")
    assert told.returncode == 2
    assert "sources: unknown task 'Alhpa' (did you mean 'Alpha'?)" in told.stderr
    assert "targets: unknown task 'Delta'" in told.stderr
    told = tvt("study", "status", tmp_path)
    assert told.returncode == 2
    assert f"{tmp_path}: no study with runs (recipe.yaml is missing); make one with tvt study run" in told.stderr


def test_a_mixture_of_a_foreign_source_is_refused(world: World, tmp_path: Path) -> None:
    from tvt.core.scores import Run

    session = open_session(load_recipe(world.recipe), tmp_path)
    with pytest.raises(InputError, match="mix: source Gamma is none of the study; add it to 'sources:'"):
        session.study.run_id(Run(label="mix", counts={"Alpha": 6, "Gamma": 6}))
