"""Recipes: what is accepted, what is told of faults, and which fields name a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from commands import ROOT, assert_refused, tvt
from recipe_fields import parts
from tvt.core.recipe import LATER, RESULTS, RUNTIME, Recipe, identity
from tvt.errors import InputError
from tvt.io import digest
from tvt.io.yaml_files import load_recipe, model_path, public_model_name

EXAMPLE = ROOT / "recipes" / "example.yaml"


@pytest.mark.parametrize(("name", "part", "field"), parts(Recipe), ids=[name for name, _, _ in parts(Recipe)])
def test_every_field_says_whether_it_changes_results(name: str, part: type[BaseModel], field: str) -> None:
    assert part.model_fields[field].json_schema_extra in (RESULTS, LATER, RUNTIME), f"mark {name} with results() or runtime()"


def digests(recipe: Recipe) -> tuple[str, str]:
    return digest.of_value(recipe.training_identity()), digest.of_value(recipe.evaluation_identity())


@pytest.mark.parametrize(
    "change",
    [
        "name=other",
        "training.per_device_train_batch_size=4",
        "training.save_steps=7",
        "training.logging_steps=1",
        "training.gradient_checkpointing=false",
        "runtime.num_processes=2",
        "runtime.deepspeed=zero2.json",
        "runtime.report_to=[wandb]",
        "training.max_length=4096",
        "runtime.keep=scores",
        "evaluation.batch_size=3",
        "warnings.unread=0.3",
        "targets=[Jigsaw]",
        "datasets={BLINK-Benchmark/BLINK: elsewhere}",
        "data_dir=rows",
    ],
)
def test_runtime_fields_name_no_new_run(change: str) -> None:
    assert digests(load_recipe(EXAMPLE, [change])) == digests(load_recipe(EXAMPLE))


@pytest.mark.parametrize(
    "change",
    [
        "training.learning_rate=2e-4",
        "training.global_batch_size=64",
        "model.dtype=float32",
        "lora.lora_r=4",
        "model.load_in_4bit=true",
        "model.max_pixels=1000000",
        "model.min_pixels=100000",
        "training.method=full",
        "training.parts=[projector]",
        "training.neftune_noise_alpha=5",
        "training.use_liger_kernel=true",
        "lora.use_dora=true",
        "lora.use_rslora=true",
        "lora.modules_to_save=[lm_head]",
    ],
)
def test_fields_that_change_results_do(change: str) -> None:
    assert digests(load_recipe(EXAMPLE, [change]))[0] != digests(load_recipe(EXAMPLE))[0]


def test_a_limit_of_pixels_that_is_not_set_stands_in_no_identity() -> None:
    assert "max_pixels" not in load_recipe(EXAMPLE).training_identity()["model"], "as it was before there was one"


def test_one_tracker_may_be_a_word() -> None:
    assert load_recipe(EXAMPLE).runtime.report_to == ()
    assert load_recipe(EXAMPLE, ["runtime.report_to=wandb"]).runtime.report_to == ("wandb",)
    assert load_recipe(EXAMPLE, ["runtime.report_to=[wandb, mlflow]"]).runtime.report_to == ("wandb", "mlflow")


def test_no_picture_can_have_more_than_the_most_pixels_and_fewer_than_the_least() -> None:
    with pytest.raises(InputError, match="min_pixels 2000 is more than max_pixels 1000; lower it"):
        load_recipe(EXAMPLE, ["model.min_pixels=2000", "model.max_pixels=1000"])


def test_identity_leaves_runtime_out() -> None:
    assert "save_steps" not in identity(load_recipe(EXAMPLE).training)


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: {model_name_or_path: m, dtype: float8}\ntargets: [A]\ntraining: {lerning_rate: 1e-4}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path, ["lora", "training.warmup_ratio=2"])
    text = "\n".join(caught.value.faults)
    for told in (
        "--set lora: write it as FIELD=VALUE",
        "unknown key (did you mean 'learning_rate'?)",
        "sources: missing",
        "model.dtype",
        "warmup_ratio",
    ):
        assert told in text, text


def test_the_prompt_changes_scores_and_not_training() -> None:
    before, after = (digests(load_recipe(EXAMPLE, change)) for change in ((), ("evaluation.prompt=letter",)))
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert "prompt" not in load_recipe(EXAMPLE).evaluation_identity(), "as it was before there were other prompts"


def test_override_is_yaml_and_may_make_a_part() -> None:
    changed = load_recipe(EXAMPLE, ["training.learning_rate=1e-3", "seeds=[3, 4]", "runtime.deepspeed=x.json"])
    assert (changed.training.learning_rate, changed.seeds, changed.runtime.deepspeed) == (1e-3, (3, 4), "x.json")


def test_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match="no multiple of per_device_train_batch_size x num_processes = 24"):
        load_recipe(EXAMPLE, ["runtime.num_processes=3"])


def test_doses_without_the_study_itself_are_refused() -> None:
    with pytest.raises(InputError, match="doses: 1 is missing; the study itself is at the full budget"):
        load_recipe(EXAMPLE, ["doses=[0.25, 0.5]"])


def test_paths_start_at_the_recipe_and_the_miniature_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "tasks").mkdir()
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: {model_name_or_path: base}\nmanifests: [tasks, miniature]\nsources: [A]\ntargets: [A]\n")
    found = load_recipe(path)
    assert found.model.model_name_or_path == str(tmp_path / "base")
    assert found.manifests == (str(tmp_path / "tasks"), "miniature")
    for name in ("copy", "rows", "letter"):
        (tmp_path / name).mkdir()
    (tmp_path / "ask.jinja").write_text("{{ prompt }}")
    found = load_recipe(path, ["datasets={a/b: copy, c/d: /else}", "data_dir=rows", "evaluation.prompt=ask.jinja"])
    assert found.datasets == {"a/b": str(tmp_path / "copy"), "c/d": "/else"}
    assert (found.data_dir, found.evaluation.prompt) == (str(tmp_path / "rows"), str(tmp_path / "ask.jinja"))
    assert load_recipe(path, ["evaluation.prompt=letter"]).evaluation.prompt == "letter"
    bundled = Path(load_recipe(path, ["model.model_name_or_path=tvt/miniature"]).model.model_name_or_path)
    assert (bundled / "model.safetensors").is_file()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_configurations(stage: int) -> None:
    config = json.loads((EXAMPLE.parent / "deepspeed" / f"zero{stage}.json").read_text())
    assert config["zero_optimization"]["stage"] == stage
    assert "optimizer" not in config  # with one, DeepSpeed builds its own
    assert stage < 3 or config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]


def test_recipe_check_command(tmp_path: Path) -> None:
    result = tvt("recipe", "check", str(EXAMPLE), "--json", "--set", "training.learning_rate=2e-4")
    told = json.loads(result.stdout)
    assert told["runs"] == 8
    assert told["recipe"]["training"]["learning_rate"] == 2e-4
    assert_refused(tvt("recipe", "check", str(tmp_path / "none.yaml")))
    launched = tvt("recipe", "check", str(EXAMPLE), WORLD_SIZE="2", RANK="1")
    assert_refused(launched)
    assert "WORLD_SIZE=2, RANK=1: set by torchrun" in launched.stderr
    assert tvt("recipe", "check", str(EXAMPLE), "--set", "runtime.executor=slurm", WORLD_SIZE="2").returncode == 0


def test_folders_near_the_caller_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(EXAMPLE.read_text())
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("recipes/r.yaml"), ["data_dir=data"]).data_dir == str(tmp_path / "data")
    (tmp_path / "recipes" / "data").mkdir()
    assert load_recipe(Path("recipes/r.yaml"), ["data_dir=data"]).data_dir == str(tmp_path / "recipes" / "data")
    assert load_recipe(Path("recipes/r.yaml"), ["data_dir=elsewhere"]).data_dir == "elsewhere"


def test_a_model_is_told_without_the_folders_of_a_machine(tmp_path: Path) -> None:
    assert public_model_name(model_path("tvt/miniature")) == "tvt/miniature"
    assert public_model_name(str(tmp_path / "my-model")) == "my-model"
    assert public_model_name("Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_removed_fields_of_earlier_recipes_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(EXAMPLE.read_text().replace("\nruntime:", "\nruntime:\n  vision_cache: exact\n  vision_cache_gb: 5.0"))
    assert "vision_cache_gb" in path.read_text()
    assert load_recipe(path) == load_recipe(EXAMPLE)
