"""Training for real, on tiny models of four families: what it learns, what it refuses, how it goes on."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import numpy as np
import torch
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from commands import tvt
from tiny_models import FAMILIES, write_rows
from training_runs import StopError, farthest, recipe, stop_at, weights
from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, TrainingError
from tvt.io.adapter_file import WEIGHTS, verify_adapter
from tvt.train import TrainingProgress, load_training_record, train

MIXED = [1, 0, 2, 1, 1, 0, 3, 1, 0, 1, 1, 2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: build(folder / name) for name, build in FAMILIES.items()}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "mixed", MIXED)


@pytest.mark.parametrize("family", FAMILIES)
def test_learns_rows_of_all_kinds(family: str, models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    asked = recipe(models[family], {"num_train_epochs": 4, "gradient_checkpointing": True})
    record = train(asked, rows, tmp_path / "run", seed=1, progress=told.append)
    losses = [loss for _, loss in record.losses]
    assert losses[-1] < losses[0] - 0.5
    assert (record.steps, record.rows, len(told), told[-1].step) == (12, 48, 12, 12)
    adapter = verify_adapter(record.adapter)
    assert adapter.digest == record.adapter_digest
    assert not [name for name in adapter.tensors if "vision" in name or "visual" in name or "connector" in name]
    assert any(np.abs(tensor).max() > 0 for name, tensor in weights(record).items() if "lora_B" in name)
    assert load_training_record(tmp_path / "run") == record
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "adapter", "run.json", "training.json"]


def test_the_same_run_is_not_done_twice_and_gives_the_same_bytes(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    first = train(recipe(models["llava"]), rows, tmp_path / "a", seed=1)
    second = train(recipe(models["llava"], {"per_device_train_batch_size": 2}), rows, tmp_path / "b", seed=1)
    third = train(recipe(models["llava"]), rows, tmp_path / "c", seed=1)
    assert first.adapter_digest == third.adapter_digest
    assert first.identity == second.identity
    # The global batch decides, not its division; Adam makes much of the rounding of small gradients.
    assert farthest(weights(first), weights(second)) < 1e-4
    notes: list[str] = []
    assert train(recipe(models["llava"]), rows, tmp_path / "a", seed=1, progress=stop_at(1), note=notes.append) == first
    assert "is done" in notes[0]
    assert train(recipe(models["llava"]), rows, tmp_path / "d", seed=2).adapter_digest != first.adapter_digest
    path = first.adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="cut or changed"):
        train(recipe(models["llava"]), rows, tmp_path / "a", seed=1)


def test_every_answer_weighs_the_same_however_a_batch_is_divided(models: dict[str, Path], tmp_path: Path) -> None:
    """The last step has two of four rows, of which one forward pass at a time sees four, two or one."""
    rows = write_rows(tmp_path / "rows", [1] * 10)
    losses = [
        train(recipe(models["qwen"], {"per_device_train_batch_size": size}), rows, tmp_path / f"run{size}", seed=1).losses
        for size in (4, 2, 1)
    ]
    for divided in losses[1:]:
        assert [loss for _, loss in divided] == pytest.approx([loss for _, loss in losses[0]], abs=1e-5)


def test_loss_is_on_the_answer_alone(models: dict[str, Path], rows: Path) -> None:
    from tvt.model.loading import load_processor
    from tvt.train.batches import Collator
    from tvt.train.rows import Examples, load_rows

    processor = load_processor(ModelConfig(model_name_or_path=str(models["qwen"])))
    examples = Examples(load_rows(rows, rows / "cache"), rows)
    batch = Collator(processor, picture_always=True)(examples.__getitems__(range(6)))
    for k in range(6):
        counted = batch["labels"][k][batch["labels"][k] != -100]
        assert processor.tokenizer.decode(counted) == f"{'A' if k % 2 else 'B'}<|im_end|>\n"
    text_only = Collator(processor, picture_always=True)(examples.__getitems__([1, 5]))
    assert (text_only["labels"] != -100).sum(1).tolist() == [3, 3, 0]
    assert len(text_only["image_grid_thw"]) == 1
    empty = Collator(processor, picture_always=True)([])
    assert (empty["labels"] != -100).sum() == 0
    plain = Collator(processor, picture_always=False)(examples.__getitems__([1, 5]))
    assert len(plain["labels"]) == 2
    assert "pixel_values" not in plain


def test_text_only_dataset(models: dict[str, Path], tmp_path: Path) -> None:
    record = train(recipe(models["qwen"]), write_rows(tmp_path / "text", [0] * 6), tmp_path / "run", seed=1)
    assert record.steps == 2
    assert record.losses[1][1] < record.losses[0][1]


def test_vision_tower_takes_part_on_request(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    record = train(recipe(models["llava"], model={"freeze_vision": False}), rows, tmp_path / "run", seed=1)
    assert any("vision" in name for name in verify_adapter(record.adapter).tensors)


def test_target_modules_by_name(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    asked = recipe(models["llava"], lora={"lora_target_modules": ["q_proj", "v_proj"]})
    names = verify_adapter(train(asked, rows, tmp_path / "run", seed=1).adapter).tensors
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
    assert len(names) == 2 * 2 * 2
    with pytest.raises(InputError, match="nothing in the language model fits"):
        train(recipe(models["llava"], lora={"lora_target_modules": ["c_attn"]}), rows, tmp_path / "other", seed=1)


def test_four_bit(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    asked = recipe(models["qwen"], {"num_train_epochs": 4}, model={"load_in_4bit": True, "dtype": "bfloat16"})
    record = train(asked, rows, tmp_path / "run", seed=1)
    assert record.losses[-1][1] < record.losses[0][1] - 0.5
    verify_adapter(record.adapter)


def test_loss_that_is_not_finite_stops_before_the_step(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    poisoned = FAMILIES["llava"](tmp_path / "model")
    path = poisoned / "model.safetensors"
    tensors = load_torch(path)
    next(tensor for name, tensor in tensors.items() if "q_proj.weight" in name and "language" in name)[0, 0] = float("nan")
    save_torch(tensors, path, metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="step 1: the loss is nan; nothing was changed by it; lower"):
        train(recipe(poisoned), rows, tmp_path / "run", seed=1)
    assert not (tmp_path / "run" / "adapter").exists()


def test_gradient_that_is_not_finite_stops_before_the_step(
    models: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    original, seen = SFTTrainer.compute_loss, []

    def compute_loss(self: Any, *args: Any, **options: Any) -> Any:
        loss = original(self, *args, **options)
        if self.state.global_step < 1:
            return loss
        weight = next(weight for weight in self.model.parameters() if weight.requires_grad)
        seen.append((weight, weight.detach().clone()))
        return loss + torch.sqrt(weight.sum() * 0)  # 0, with a gradient of 0 x infinity

    monkeypatch.setattr(SFTTrainer, "compute_loss", compute_loss)
    with pytest.raises(TrainingError, match="step 2: a gradient is not finite"):
        train(recipe(models["llava"]), rows, tmp_path / "run", seed=1)
    weight, before = seen[0]
    assert torch.equal(weight.detach(), before)
    assert torch.isfinite(weight).all()


def test_saved_adapter_that_is_not_the_trained_one(
    models: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tvt.train.trainer import GuardedTrainer

    original = GuardedTrainer.save_model

    def save_half(self: Any, folder: str, **options: Any) -> None:
        original(self, folder, **options)
        tensors = load_torch(Path(folder) / WEIGHTS)
        save_torch(dict(list(tensors.items())[::2]), Path(folder) / WEIGHTS)

    monkeypatch.setattr(GuardedTrainer, "save_model", save_half)
    with pytest.raises(TrainingError, match="14 of 28 tensors are missing"):
        train(recipe(models["llava"]), rows, tmp_path / "run", seed=1)
    assert not (tmp_path / "run" / "training.json").exists()


def test_resumed_equals_uninterrupted_also_after_damage(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    asked = recipe(models["qwen"], {"num_train_epochs": 3, "save_steps": 2}, lora={"lora_dropout": 0.1})
    whole = train(asked, rows, tmp_path / "whole", seed=1)
    run = tmp_path / "run"
    with pytest.raises(StopError):
        train(asked, rows, run, seed=1, progress=stop_at(6))
    with pytest.raises(InputError, match="holds an unfinished run; go on with --resume"):
        train(asked, rows, run, seed=1)
    newest = run / "checkpoints" / "checkpoint-4"
    (newest / "optimizer.pt").unlink()
    (run / "checkpoints" / "checkpoint-9").mkdir()  # killed while writing
    notes: list[str] = []
    resumed = train(asked, rows, run, seed=1, resume=True, note=notes.append)
    assert resumed.resumed_from == 2
    assert "was not finished" in notes[0]
    assert "optimizer.pt: missing" in notes[1]
    assert notes[2] == "resuming from checkpoint-2"
    assert resumed.adapter_digest == whole.adapter_digest
    assert resumed.losses == whole.losses


@pytest.mark.parametrize("damage", ["record", "weights", "identity"])
def test_damaged_checkpoints_are_not_resumed_from(damage: str, models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    asked = recipe(models["llava"], {"save_steps": 1})
    run = tmp_path / "run"
    with pytest.raises(StopError):
        train(asked, rows, run, seed=1, progress=stop_at(2))
    folder = run / "checkpoints" / "checkpoint-1"
    path = folder / (WEIGHTS if damage == "weights" else "checkpoint.json")
    if damage == "identity":
        path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "another"}))
    else:
        path.write_bytes(path.read_bytes()[:-20])
    notes: list[str] = []
    record = train(asked, rows, run, seed=1, resume=True, note=notes.append)
    assert record.resumed_from is None
    assert notes[-1] == "no whole checkpoint; starting from the beginning"
    assert ("cut or changed" if damage == "weights" else "record is damaged") in notes[0]


def test_another_run_is_not_resumed(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    asked = recipe(models["llava"], {"save_steps": 1})
    run = tmp_path / "run"
    with pytest.raises(StopError):
        train(asked, rows, run, seed=1, progress=stop_at(2))
    other = write_rows(tmp_path / "other", MIXED, start=1)
    with pytest.raises(InputError, match="differs in the dataset's rows"):
        train(asked, other, run, seed=1, resume=True)
    with pytest.raises(InputError, match=r"training.learning_rate \(0.005 before, 0.001 now\); seed \(1 before, 2 now\)"):
        train(recipe(models["llava"], {"save_steps": 1, "learning_rate": 1e-3}), rows, run, seed=2, resume=True)
    with pytest.raises(InputError, match="per_device_train_batch_size 4, not 2: resume with the same"):
        train(recipe(models["llava"], {"per_device_train_batch_size": 2}), rows, run, seed=1, resume=True)


def test_a_base_model_is_known_by_its_content(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    base = FAMILIES["llava"](tmp_path / "base")
    record = train(recipe(base), rows, tmp_path / "run", seed=1)
    base.rename(tmp_path / "moved")
    assert train(recipe(tmp_path / "moved"), rows, tmp_path / "run", seed=1) == record
    other = FAMILIES["llava"](tmp_path / "base", seed=1)
    with pytest.raises(InputError, match=r"differs in model\.model_name_or_path"):
        train(recipe(other), rows, tmp_path / "run", seed=1)


def test_large_files_are_known_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tvt.train.record as base

    monkeypatch.setattr(base, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(base, "_PIECE_BYTES", 100)
    path = tmp_path / "model.safetensors"
    content = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)
    path.write_bytes(content.tobytes())
    before = base.base_digest(str(tmp_path))
    assert base.base_digest(str(tmp_path)) == before
    for place in (0, -1):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed.tobytes())
        assert base.base_digest(str(tmp_path)) != before
    assert base.base_digest("Qwen/Qwen2.5-VL-3B-Instruct") is None


def test_world_size_must_be_as_asked(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    from tvt.train.record import TrainingJob
    from tvt.train.run import run

    asked = recipe(models["llava"], {"per_device_train_batch_size": 2}, runtime={"num_processes": 2})
    job = TrainingJob(recipe=asked, dataset=rows, output=tmp_path / "run", seed=1, dataset_digest="x")
    with pytest.raises(TrainingError, match="requested 2 processes, but 1 train together"):
        run(job, print)


def test_two_at_once_in_one_folder(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another tvt train is at work there"):
            train(recipe(models["llava"]), rows, tmp_path, seed=1)


def test_bad_rows_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_rows(tmp_path / "rows", [1, 1, 1, 1])
    path = next((folder / "data").iterdir())
    table = pq.read_table(path)
    told = table.to_pylist()
    told[2]["images"][0]["bytes"] = b"no picture"
    pq.write_table(pa.Table.from_pylist(told, table.schema), path)
    with pytest.raises(InputError, match=r"row 2 \(Light, id 2\): image 1 cannot be read"):
        train(recipe(models["llava"]), folder, tmp_path / "run", seed=1)
    told[1]["completion"] = [{"role": "assistant", "content": " "}]
    told[3]["prompt"] = []
    pq.write_table(pa.Table.from_pylist(told, table.schema), path)
    with pytest.raises(InputError) as caught:
        train(recipe(models["llava"]), folder, tmp_path / "other", seed=1)
    assert ["row 1" in caught.value.faults[0], "row 3" in caught.value.faults[1]] == [True, True]
    pq.write_table(table.drop_columns(["completion"]), path)
    with pytest.raises(InputError, match="no column completion"):
        train(recipe(models["llava"]), folder, tmp_path / "other", seed=1)
    with pytest.raises(InputError, match=r"no data/\*.parquet there"):
        train(recipe(models["llava"]), tmp_path, tmp_path / "other", seed=1)


@pytest.mark.slow
def test_command(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(models["llava"]).model_dump(mode="json")))
    arguments = ["train", str(rows), "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run")]
    result = tvt(*arguments, "--json", "--set", "training.num_train_epochs=2")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 6
    assert "step 6/6  loss" in result.stderr
    again = tvt(*arguments, "--set", "training.num_train_epochs=1")
    assert again.returncode == 2
    assert "num_train_epochs (2.0 before, 1.0 now)" in again.stderr
    missing = tvt(*arguments, "-o", str(tmp_path / "other"), "--set", "model.model_name_or_path=/no/such/model")
    assert missing.returncode == 2
    assert "/no/such/model: no such folder" in missing.stderr.splitlines()[-1]
