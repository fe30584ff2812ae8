"""Settings and surroundings that would end a run after minutes end it at once, in a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tvt.errors import refuse

pytest.importorskip("trl")

from transformers import Trainer
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.training_args import OptimizerNames

import study_world
import tiny_vlm
from commands import PATIENCE, ROOT
from study_world import Tvt, World, done
from tiny_models import write_rows
from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, MissingPackageError
from tvt.io.model_folder import model_folder_faults
from tvt.io.processes import launch_fault
from tvt.io.yaml_files import load_recipe
from tvt.model.families import model_checks
from tvt.study.doctor import StudyChecks
from tvt.train import load_training_record, train
from tvt.train.checks import _UNPACKED, OPTIMIZER_PACKAGES, TRACKERS, UNUSABLE_OPTIMIZERS, machine_checks, training_checks
from tvt.train.probe import stale_locks, watched

ROWS = [1, 0, 1, 0]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4990120184\n"


def of(world: World, **fields: Any) -> Recipe:
    """The world's recipe with fields changed."""
    return load_recipe(study_world.write_recipe(world.folder, "changed.yaml", **fields))


def lines(recipe: Recipe) -> list[str]:
    return [check.line for check in training_checks(recipe) if check.status == "fail"]


# Names of optimizers and trackers


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ("training.optim=adamw_troch", 2, "training.optim: no optimizer 'adamw_troch' (did you mean 'adamw_torch'?); see"),
        ("training.optim=galore_adamw", 2, "training.optim: galore_adamw projects the gradients of whole layers"),
        ("training.optim=adamw_torch_xla", 5, "training.optim: adamw_torch_xla needs torch_xla, which is not installed; pip"),
        (
            "runtime.report_to=[wandbb]",
            2,
            "runtime.report_to: no tracker 'wandbb' (did you mean 'wandb'?); name some of azure_ml",
        ),
        ("runtime.report_to=[none,wandb]", 2, "runtime.report_to: none stands for itself; drop it, or the others"),
        ("evaluation.prompt=nowhere.jinja", 2, "nowhere.jinja"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_every_command(
    change: str, code: int, says: str, world: World, tvt: Tvt, tmp_path: Path
) -> None:
    commands = (["recipe", "check"], ["study", "plan"], ["study", "run"])
    for command in commands:
        where = [] if command[0] == "recipe" else ["-o", tmp_path / "study"]
        told = tvt(*command, world.recipe, *where, "--set", change)
        assert (told.returncode, told.stdout) == (code, ""), told.stderr
        assert all(line.startswith("tvt: ") for line in told.stderr.splitlines())
        assert says in told.stderr.splitlines()[0]
    assert not (tmp_path / "study").exists()


def test_train_refuses_such_settings_before_it_writes_anything(world: World, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows", ROWS)
    changed = of(world, training={"optim": "lomo"}, runtime={"report_to": ["nobody"]})
    with pytest.raises(InputError) as caught:
        train(changed, rows, tmp_path / "run", seed=0)
    assert len(caught.value.faults) == 2
    assert not (tmp_path / "run").exists()


def arguments(name: OptimizerNames) -> Any:
    """As much of TrainingArguments as the choice of an optimizer looks at."""
    more = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "warmup_steps": 0, "weight_decay": 0.0}
    return SimpleNamespace(optim=name, optim_args=None, learning_rate=1e-3, optim_target_modules=None, **more)


@pytest.mark.parametrize("name", list(OptimizerNames))
def test_optimizers_are_judged_as_transformers_does(name: OptimizerNames, world: World) -> None:
    found = [check for check in training_checks(of(world, training={"optim": name.value})) if check.status == "fail"]
    if name.value.startswith(tuple(UNUSABLE_OPTIMIZERS)):
        assert found
        return
    module, _ = OPTIMIZER_PACKAGES.get(name.value, ("torch", "torch"))
    missing = None
    try:
        Trainer.get_optimizer_cls_and_kwargs(arguments(name))
    except (ImportError, ValueError) as error:
        missing = error
    assert [check.package for check in found] == ([module] if missing else []), missing


def test_trackers_are_those_of_transformers() -> None:
    assert {*TRACKERS, *_UNPACKED} == set(INTEGRATION_TO_CALLBACK)


def test_a_missing_tracker_or_attention_is_a_missing_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"wandb", "flash_attn", "kernels", "bitsandbytes"}
    for place in ("tvt.train.checks.find_spec", "tvt.model.families.find_spec"):
        monkeypatch.setattr(place, lambda name: None if name in absent else find_spec(name))
    model = {"attn_implementation": "flash_attention_2", "load_in_4bit": True}
    changed = of(world, model=model, runtime={"report_to": ["wandb"]}, training={"optim": "adamw_8bit"})
    with pytest.raises(MissingPackageError) as caught:
        refuse(training_checks(changed))
    told = str(caught.value).splitlines()
    assert len(told) == 4
    assert told[0] == (
        "model.attn_implementation: flash_attention_2 needs flash-attn, which is not installed; pip install flash-attn "
        "--no-build-isolation, or --set model.attn_implementation=sdpa"
    )
    with pytest.raises(MissingPackageError, match="needs flash-attn"):
        train(changed, write_rows(world.folder / "rows", ROWS), world.folder / "run", seed=0)
    asked = StudyChecks(folder=world.folder / "study", recipe=changed)
    found = {check.name: check.line for check in asked.checks() if check.status == "fail"}
    assert {found["attention"], found["trackers"], found["optimizer"]} < set(told), "the doctor says the same"


def test_a_deepspeed_file_that_is_none(world: World, tmp_path: Path) -> None:
    for text, says in (("[1]", "is no JSON object"), ("{", "cannot be read as a DeepSpeed configuration")):
        (tmp_path / "zero.json").write_text(text)
        (line,) = lines(of(world, runtime={"deepspeed": str(tmp_path / "zero.json")}))
        assert says in line


def test_a_file_where_a_folder_is_to_be(world: World, tvt: Tvt, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows", ROWS)
    (tmp_path / "file").touch()
    for command in (["train", rows, "--recipe", world.recipe], ["study", "plan", world.recipe], ["study", "run", world.recipe]):
        told = tvt(*command, "-o", tmp_path / "file")
        assert (told.returncode, told.stderr) == (2, f"tvt: {tmp_path}/file: is a file; name a folder with -o DIR\n")


# Base models in folders


@pytest.fixture
def model(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.folder / "model", tmp_path / "model"))


def sharded(model: Path) -> dict[str, str]:
    """The model's weights in two files with an index; returns which tensor is where."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    names = sorted(weights)
    (model / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, model / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def test_whole_models_have_no_faults(model: Path) -> None:
    assert model_folder_faults(model) == []
    sharded(model)
    assert model_folder_faults(model) == []


def test_what_is_wrong_with_a_base_folder(model: Path, tmp_path: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()

    def fault(content: bytes | str, file: Path = weights) -> str:
        kept = file.read_bytes()
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        (found,) = model_folder_faults(model)
        file.write_bytes(kept)
        return found.removeprefix(f"{file}: ")

    assert fault(POINTER) == "is a pointer of Git LFS, not the weights; fetch them with git lfs pull"
    assert fault(POINTER, model / "tokenizer.json") == "is a pointer of Git LFS, not the file; fetch it with git lfs pull"
    assert fault(POINTER, model / "config.json") == "is a pointer of Git LFS, not the file; fetch it with git lfs pull"
    assert fault("{", model / "config.json") == "cannot be read as JSON; get the model's files anew"
    assert "its tensors do not fill its" in fault(whole[:-1])
    assert "cut off or no safetensors file" in fault(whole[:100])
    assert "cut off or no safetensors file" in fault(b"")
    assert model_folder_faults(weights) == [f"{weights}: is a file; name the model's folder"]
    assert model_folder_faults(tmp_path / "no") == [f"{tmp_path}/no: no such folder; check the path"]
    weights.rename(model / "pytorch_model.bin")
    assert model_folder_faults(model) == [
        f"{model}: no .safetensors file; tvt reads no other weights, so convert the model first"
    ]


def test_what_is_wrong_with_shards(model: Path) -> None:
    places = sharded(model)
    second = model / "model-00002-of-00002.safetensors"
    index = model / "model.safetensors.index.json"
    kept = second.read_bytes()
    second.write_bytes((model / "model-00001-of-00002.safetensors").read_bytes())
    (line,) = model_folder_faults(model)
    assert "tensors of the index are not in it, e.g. " in line
    second.write_bytes(kept[:-10])
    assert "do not fill its" in model_folder_faults(model)[0]
    second.unlink()
    step = "are missing, e.g. model-00002-of-00002.safetensors; get the model's files anew"
    assert model_folder_faults(model) == [f"{model}: 1 of the 2 files of its index {step}"]
    index.write_text(json.dumps({"weight_map": {name: f"../{file}" for name, file in places.items()}}))
    assert "which is none of this folder" in model_folder_faults(model)[0]
    index.write_text("[]")
    assert "is no JSON object" in model_folder_faults(model)[0]


def test_a_folder_without_tokenizer_or_of_an_adapter(model: Path, tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(model, tmp_path / "adapter", 1)
    assert model_folder_faults(adapter) == [f"{adapter}: is an adapter, not a model; name its base model, {model}"]
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (model / name).unlink(missing_ok=True)
    (line,) = model_folder_faults(model)
    assert line.startswith(f"{model}: no processor (none of processor_config.json, ")


def test_every_command_refuses_a_pointer_in_place_of_weights(model: Path, world: World, tvt: Tvt, tmp_path: Path) -> None:
    (model / "model.safetensors").write_text(POINTER)
    changed = study_world.write_recipe(world.folder, "pointer.yaml", model={"model_name_or_path": str(model)})
    rows = write_rows(tmp_path / "rows", ROWS)
    questions = world.questions("Alpha")
    commands: list[list[str | Path]] = [
        ["recipe", "check", changed],
        ["study", "plan", changed, "-o", tmp_path / "study"],
        ["study", "run", changed, "-o", tmp_path / "study"],
        ["train", rows, "--recipe", changed, "-o", tmp_path / "run"],
        ["evaluate", "--model", str(model), "--questions", f"Alpha={questions}", "-o", tmp_path / "answers"],
    ]
    line = f"tvt: {model}/model.safetensors: is a pointer of Git LFS, not the weights; fetch them with git lfs pull\n"
    for command in commands:
        told = tvt(*command)
        assert (told.returncode, told.stdout, told.stderr) == (2, "", line), command
    assert not (tmp_path / "study").exists()
    assert not (tmp_path / "run").exists()
    found = [check for check in StudyChecks.read(changed, tmp_path / "study").checks() if check.name == "base model"]
    assert [(check.status, check.line) for check in found] == [("fail", line.removeprefix("tvt: ").strip())]
    with pytest.raises(InputError, match="pointer of Git LFS"):
        refuse(model_checks(ModelConfig(model_name_or_path=str(model))))


# What launchers leave in the environment


@pytest.mark.parametrize(
    ("variables", "machines", "says"),
    [
        ({}, 1, None),
        ({"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a"}, 1, None),
        ({"LOCAL_RANK": "-1", "WORLD_SIZE": "x"}, 1, None),
        ({"RANK": "1"}, 1, "RANK=1: set by torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, 1, "WORLD_SIZE=2: set by torchrun"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, 1, "OMPI_COMM_WORLD_SIZE=4, OMPI_COMM_WORLD_RANK=2: set"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, 1, "SLURM_STEP_NUM_TASKS=2: set by"),
        ({"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "2", "RANK": "1"}, 2, None),
        ({"LOCAL_RANK": "1"}, 2, "LOCAL_RANK=1: set by torchrun, accelerate, mpirun or srun for one of several processes"),
    ],
)
def test_what_a_launchers_variables_mean(variables: dict[str, str], machines: int, says: str | None) -> None:
    fault = launch_fault(variables, machines=machines)
    assert fault is None if says is None else (fault or "").startswith(says)


@pytest.fixture(scope="module")
def plain(world: World, tvt: Tvt, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Rows, and the digest of the adapter that they give."""
    folder = tmp_path_factory.mktemp("plain")
    rows = write_rows(folder / "rows", ROWS)
    done(tvt("train", rows, "--recipe", world.recipe, "-o", folder / "run"))
    return rows, load_training_record(folder / "run").adapter_digest


@pytest.mark.parametrize(
    "left",
    [
        {"LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1"},
        {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true"},
    ],
    ids=["stray", "of one", "accelerate"],
)
def test_what_a_launcher_left_changes_nothing(
    left: dict[str, str], plain: tuple[Path, str], world: World, tvt: Tvt, tmp_path: Path
) -> None:
    rows, expected = plain
    told = done(tvt("train", rows, "--recipe", world.recipe, "-o", tmp_path / "run", **left))
    assert f"note: not used, since the recipe decides: {', '.join(sorted(left))}, which the environment sets\n" in told.stderr
    assert load_training_record(tmp_path / "run").adapter_digest == expected


def test_one_of_several_processes_is_refused(plain: tuple[Path, str], world: World, tvt: Tvt, tmp_path: Path) -> None:
    variables = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for command in (["train", plain[0], "--recipe", world.recipe], ["study", "run", world.recipe]):
        told = tvt(*command, "-o", tmp_path / "out", **variables)
        assert told.returncode == 2
        assert told.stderr == (
            "tvt: WORLD_SIZE=2, RANK=1, LOCAL_RANK=1: set by torchrun, accelerate, mpirun or srun for one of several "
            "processes; start tvt itself, once: it starts its processes by --num-processes or runtime.num_processes. "
            "If nothing launched it, unset WORLD_SIZE RANK LOCAL_RANK\n"
        )
        assert not (tmp_path / "out").exists()


# Locks of extensions


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a killed build leaves, an hour ago."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    path = tmp_path / "extensions" / "deepspeed_shm_comm" / "lock"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (time.time() - 3660,) * 2)
    return path


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock open, as one that builds has."""
    program = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_left_over_lock_stops_a_start_with_deepspeed(lock: Path, world: World, tmp_path: Path) -> None:
    changed = of(world, runtime={"deepspeed": str(ROOT / "recipes" / "deepspeed" / "zero2.json")})
    with pytest.raises(InputError) as caught:
        train(changed, write_rows(tmp_path / "rows", ROWS), tmp_path / "run", seed=0)
    assert caught.value.faults == (
        f"{lock}: a lock, 61 min old, that no process of this machine holds: a killed build left it, and training would wait "
        f"for it without end; delete it (rm '{lock}'), unless another machine builds there",
    )
    assert lock.exists(), "it is not ours to delete"
    found = {check.status: check.line for check in StudyChecks(folder=tmp_path, recipe=changed).lock_checks()}
    assert found == {"fail": caught.value.faults[0]}
    assert [check.status for check in StudyChecks(folder=tmp_path).lock_checks()] == ["warn"]
    assert list(machine_checks(of(world))) == [], "without DeepSpeed nobody waits for it"


def test_a_lock_that_is_young_or_held_is_none(lock: Path, holder: subprocess.Popen[bytes]) -> None:
    assert stale_locks() == []
    holder.communicate()
    assert [found.path for found in stale_locks()] == [lock]
    os.utime(lock)
    assert stale_locks() == []


def test_a_lock_that_appears_meanwhile_is_told_once(lock: Path) -> None:
    told: list[str] = []
    with watched(told.append, seconds=0.01):
        end = time.monotonic() + PATIENCE
        while not told and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
    assert len(told) == 1
    assert told[0].startswith(f"{lock}: a lock, 61 min old")
