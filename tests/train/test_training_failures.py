"""How failures of training processes reach a person: by the exception's own line, and only a signal is a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from safetensors.torch import load_file

import faulty_workers
from commands import ROOT, SUPPORT
from study_world import QUICK, Tvt, World, done, write_recipe
from tiny_models import qwen, write_rows
from training_runs import recipe
from tvt.core.recipe import Recipe
from tvt.errors import InputError, ProcessDiedError, ProcessFailedError
from tvt.train import train
from tvt.train.checks import deepspeed_faults
from tvt.train.probe import gpus_lacking, visible_gpus

TWO = {"num_processes": 2}
BATCHES = {"global_batch_size": 4, "per_device_train_batch_size": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen(tmp_path_factory.mktemp("model") / "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", [1, 0, 1, 0])


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have every second process of a run do something of its own before its first step."""

    head = """
    import os, signal, sys
    import torch
    from trl import SFTTrainer
    original = SFTTrainer.compute_loss
    def compute_loss(self, *args, **options):
        if os.environ["RANK"] == "1":
            CODE
        return original(self, *args, **options)
    SFTTrainer.compute_loss = compute_loss
    """
    return lambda code: faulty_workers.install(monkeypatch, tmp_path / "path", "tvt.train.worker", head.replace("CODE", code))


def test_an_exception_in_one_of_two_processes_is_named(failing: Any, model: Path, rows: Path, tmp_path: Path) -> None:
    failing('raise RuntimeError("the shapes do not fit")')
    with pytest.raises(ProcessFailedError, match="RuntimeError: the shapes do not fit") as error:
        train(recipe(model, BATCHES, runtime=TWO), rows, tmp_path / "run", seed=1)
    assert error.value.cause == "RuntimeError: the shapes do not fit"
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()


def test_a_process_without_memory_is_told_so(failing: Any, model: Path, rows: Path, tmp_path: Path) -> None:
    failing('raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")')
    with pytest.raises(InputError, match=r"out of memory; lower training\.per_device_train_batch_size.*checkpointing=true"):
        train(recipe(model, BATCHES, runtime=TWO), rows, tmp_path / "run", seed=1)


def test_only_a_signal_is_a_kill(failing: Any, model: Path, rows: Path, tmp_path: Path) -> None:
    failing("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ProcessDiedError):
        train(recipe(model, BATCHES, runtime=TWO), rows, tmp_path / "run", seed=1)


@pytest.mark.slow
def test_the_same_exception_in_two_runs_stops_a_study(tvt: Tvt, world: World, tmp_path: Path) -> None:
    """A DeepSpeed file that asks for what is not there fails in every process of every run."""
    config = tmp_path / "ds.json"
    config.write_text(json.dumps({"zero_optimization": {"stage": 7}, "train_batch_size": "auto"}))
    path = write_recipe(
        world.folder,
        "two.yaml",
        training={"per_device_train_batch_size": 2},
        runtime={"num_processes": 2, "deepspeed": str(config)},
        seeds=[0, 1],
    )
    result = tvt("study", "run", path, "-o", tmp_path / "study", "--workers", "1")
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("tvt: ")]
    assert "Alpha, seed 0 and Beta, seed 0 failed alike: " in line
    assert "killed" not in result.stderr
    assert "trying again" not in result.stderr
    status = json.loads(done(tvt("study", "status", tmp_path / "study", "--json")).stdout)
    assert [run["status"] for run in status["runs"] if run["status"] == "failed"] == ["failed", "failed"]


def fitting(config: dict[str, Any], tmp_path: Path, **parts: Any) -> list[str]:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(config))
    asked = {
        "model": {"dtype": "bfloat16"},
        "training": {"global_batch_size": 32, "per_device_train_batch_size": 4, "learning_rate": 1e-4},
        "runtime": {"num_processes": 4, "deepspeed": str(path)},
    }
    whole = Recipe.model_validate(
        {"name": "x", "sources": ["A"], "targets": ["A"], **asked, **parts}
        | {"model": {"model_name_or_path": "m", **asked["model"]}}
    )
    return [fault.removeprefix(f"{path}: ") for fault in deepspeed_faults(whole)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"train_batch_size": 32, "gradient_accumulation_steps": 2, "gradient_clipping": 1}, None),
        ({"bf16": {"enabled": True}, "fp16": {"enabled": False}, "train_micro_batch_size_per_gpu": 4}, None),
        ({"optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": [0.9, 0.999]}}}, None),
        ({"train_batch_size": 64}, "train_batch_size is 64, but the recipe has training.global_batch_size 32"),
        ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu is 8"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps is 1"),
        ({"gradient_clipping": 0.5}, "gradient_clipping is 0.5, but the recipe has training.max_grad_norm 1.0"),
        ({"fp16": {"enabled": True}}, "fp16.enabled is true"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 0.01}}}, "optimizer.params.lr is 0.01"),
        ({"optimizer": {"type": "Lion"}}, "its optimizer block"),
        ({"scheduler": {"type": "WarmupLR"}}, "its scheduler block"),
        ([], "is no JSON object"),
    ],
)
def test_a_deepspeed_file_is_held_against_the_recipe(config: Any, expected: str | None, tmp_path: Path) -> None:
    faults = fitting(config, tmp_path)
    assert len(faults) == (expected is not None)
    assert expected is None or faults[0].startswith(expected)


def test_bundled_deepspeed_files_fit_every_recipe(tmp_path: Path) -> None:
    for stage in (1, 2, 3):
        assert fitting(json.loads((ROOT / "recipes" / "deepspeed" / f"zero{stage}.json").read_text()), tmp_path) == []


def test_all_entries_that_do_not_fit_are_named_before_anything_starts(model: Path, rows: Path, tmp_path: Path) -> None:
    config = tmp_path / "ds.json"
    config.write_text(json.dumps({"train_batch_size": 64, "scheduler": {"type": "WarmupLR"}}))
    with pytest.raises(InputError) as error:
        train(recipe(model, BATCHES, runtime={**TWO, "deepspeed": str(config)}), rows, tmp_path / "run", seed=1)
    assert len(error.value.faults) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_four_bits_train_alike_with_and_without_deepspeed(model: Path, rows: Path, tmp_path: Path) -> None:
    """Without DeepSpeed TRL would leave the adapter and its moments in bfloat16, which loses small steps."""
    pytest.importorskip("bitsandbytes")
    training = {"global_batch_size": 4, "per_device_train_batch_size": 4, "num_train_epochs": 24, "learning_rate": 1e-4}
    loading = {"dtype": "bfloat16", "load_in_4bit": True}
    zero2 = {"deepspeed": str(ROOT / "recipes" / "deepspeed" / "zero2.json")}
    alone = train(recipe(model, training, model=loading), rows, tmp_path / "alone", seed=1)
    sharded = train(recipe(model, training, model=loading, runtime=zero2), rows, tmp_path / "sharded", seed=1)
    mine, theirs = (load_file(record.adapter / "adapter_model.safetensors") for record in (alone, sharded))
    assert {str(tensor.dtype) for tensor in mine.values()} == {"torch.float32"}
    learnt = [name for name in mine if "lora_B" in name]  # they start at 0
    apart = sum(float((mine[name] - theirs[name].float()).square().sum()) for name in learnt) ** 0.5
    size = sum(float(mine[name].square().sum()) for name in learnt) ** 0.5
    assert apart < 0.015 * size  # 0.039 where the adapter was trained in bfloat16


@pytest.mark.parametrize(
    ("listed", "expected"), [("0,1", ("0", "1")), ("", ()), ("-1", ()), ("1,-1,0", ("1",)), ("GPU-abc, 2", ("GPU-abc", "2"))]
)
def test_visible_gpus_follow_cudas_rule(listed: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == expected


def test_too_many_processes_are_refused_with_the_number_that_fits(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    asked = recipe(model, {"global_batch_size": 8, "per_device_train_batch_size": 1}, runtime={"num_processes": 8})
    with pytest.raises(InputError, match=r"8 processes need as many GPUs, but there are 4; lower runtime.num_processes to 4"):
        train(asked, rows, tmp_path / "run", seed=1)
    assert gpus_lacking(16, 2, 4).endswith("lower runtime.num_processes to 8")


def test_a_process_alone_takes_one_of_four_gpus(model: Path) -> None:
    """In a process of its own, whose torch says that there are four GPUs."""
    code = f"""
    from pathlib import Path
    import torch
    from training_runs import recipe
    from tvt.train.batches import Order
    from tvt.train.record import TrainingJob
    from tvt.train.run import training_arguments
    four = dict(is_available=True, device_count=4, set_device=None, current_device=0, is_bf16_supported=True)
    for name, value in four.items():
        setattr(torch.cuda, name, lambda *args, value=value, **options: value)
    folder = Path({str(model)!r})
    order = Order(rows=4, epochs=1, seed=1, global_batch=4, per_device=2, processes=1)
    job = TrainingJob(recipe=recipe(folder), dataset=folder, output=folder, seed=1, dataset_digest="x")
    print(training_arguments(job, order).n_gpu)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False,
        capture_output=True,
        text=True,
        env={**QUICK, "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)])},
    )
    assert result.stdout.split() == ["1"], result.stderr
