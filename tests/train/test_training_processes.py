"""Two processes with DeepSpeed give the adapter that one gives, and a run that cannot go on ends with its reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

import faulty_workers
from commands import ENVIRONMENT, PATIENCE, ROOT, tvt
from process_list import naming
from tiny_models import llava, qwen, write_rows
from training_runs import StopError, farthest, recipe, stop_at, weights
from tvt.core.recipe import Recipe
from tvt.errors import TrainingError
from tvt.io.adapter_file import verify_adapter
from tvt.train import TrainingRecord, load_training_record, train

pytestmark = pytest.mark.slow

# Rows of like length go together, so that some batches have no picture. The last step has one row, and the second process none.
ROWS = [1, 0, 2, 0, 1, 0, 1, 0, 3, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen(tmp_path_factory.mktemp("model") / "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", ROWS)


def asked(model: Path, processes: int, stage: int | None = None, workers: int = 0, **more: Any) -> Recipe:
    config = str(ROOT / "recipes" / "deepspeed" / f"zero{stage}.json") if stage else None
    training = {"global_batch_size": 8, "per_device_train_batch_size": 2, "num_train_epochs": 2.15, "save_steps": 2, **more}
    runtime = {"num_processes": processes, "deepspeed": config, "dataloader_num_workers": workers}
    return recipe(model, training, runtime=runtime)


@pytest.fixture(scope="module")
def alone(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    return train(asked(model, 1), rows, tmp_path_factory.mktemp("alone") / "run", seed=1)


def test_zero3_through_the_command(alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(asked(model, 1).model_dump(mode="json")))
    result = tvt(
        *("train", str(rows), "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run"), "--seed", "1", "--json"),
        *("--num-processes", "2", "--deepspeed", str(ROOT / "recipes" / "deepspeed" / "zero3.json")),
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["num_processes"], told["steps"], told["identity"]) == (2, 6, alone.identity)
    record = load_training_record(tmp_path / "run")
    assert farthest(weights(record), weights(alone)) < 1e-4
    assert [loss for _, loss in record.losses] == pytest.approx([loss for _, loss in alone.losses], abs=1e-4)
    verify_adapter(record.adapter)


def test_zero1(alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path) -> None:
    record = train(asked(model, 2, 1), rows, tmp_path / "run", seed=1)
    assert record.num_processes == 2
    assert farthest(weights(record), weights(alone)) < 1e-4


def test_zero2_resumed_with_workers_that_prepare_batches(
    alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(StopError):
        train(asked(model, 2, 2), rows, run, seed=1, progress=stop_at(3))
    notes: list[str] = []
    record = train(asked(model, 2, 2, workers=1), rows, run, seed=1, resume=True, note=notes.append)
    assert notes == ["resuming from checkpoint-2"]
    assert record.resumed_from == 2
    assert farthest(weights(record), weights(alone)) < 1e-4
    assert [loss for _, loss in record.losses] == pytest.approx([loss for _, loss in alone.losses], abs=1e-4)


def test_four_bit_under_zero3(model: Path, rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    config = str(ROOT / "recipes" / "deepspeed" / "zero3.json")
    training = {"global_batch_size": 8, "per_device_train_batch_size": 2, "num_train_epochs": 2}
    loading = {"dtype": "bfloat16", "load_in_4bit": True}
    runtime = {"num_processes": 2, "deepspeed": config}
    record = train(recipe(model, training, model=loading, runtime=runtime), rows, tmp_path / "run", seed=1)
    assert record.losses[-1][1] < record.losses[0][1] - 0.3
    verify_adapter(record.adapter)


def test_loss_that_is_not_finite_ends_all_processes(rows: Path, tmp_path: Path) -> None:
    poisoned = llava(tmp_path / "model")
    path = poisoned / "model.safetensors"
    tensors = load_torch(path)
    next(tensor for name, tensor in tensors.items() if "vision" in name and "q_proj.weight" in name)[0, 0] = float("nan")
    save_torch(tensors, path, metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        train(asked(poisoned, 2), rows, tmp_path / "run", seed=1)
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the processes run some lines before tvt's worker, which stand in a module found before it."""

    return lambda lines: faulty_workers.install(monkeypatch, tmp_path / "path", "tvt.train.worker", lines)


def test_zero3_where_the_loss_is_of_the_valid_positions_alone(
    alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path, patched: Callable[[str], None]
) -> None:
    """As on a GPU with Triton; in the last step the second process has none, and still gathers what the first does."""
    patched("import trl.trainer.utils\ntrl.trainer.utils._use_triton = lambda device: True\n")
    record = train(asked(model, 2, 3), rows, tmp_path / "run", seed=1)
    assert farthest(weights(record), weights(alone)) < 1e-4
    assert [loss for _, loss in record.losses] == pytest.approx([loss for _, loss in alone.losses], abs=1e-4)


def test_gradient_that_is_not_finite_stops_deepspeed_before_its_step(
    model: Path, rows: Path, tmp_path: Path, patched: Callable[[str], None]
) -> None:
    """The second step's gradient is NaN and its loss finite."""
    patched(
        """
        import torch
        from trl import SFTTrainer
        original = SFTTrainer.compute_loss
        def compute_loss(self, *args, **options):
            loss = original(self, *args, **options)
            if self.state.global_step == 1:
                weight = next(weight for weight in self.model.parameters() if weight.requires_grad)
                loss = loss + torch.sqrt(weight.sum() * 0)
            return loss
        SFTTrainer.compute_loss = compute_loss
        """
    )
    with pytest.raises(TrainingError, match="step 2: a gradient is not finite"):
        train(asked(model, 2, 2, save_steps=1), rows, tmp_path / "run", seed=1)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-1" / "checkpoint.json").exists()
    assert not (tmp_path / "run" / "adapter").exists()


def test_killed_command_leaves_no_processes(model: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(asked(model, 2, num_train_epochs=200).model_dump(mode="json")))
    command = [sys.executable, "-m", "tvt", "train", str(rows), "--recipe", str(tmp_path / "recipe.yaml")]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "run")], stderr=subprocess.PIPE, env=ENVIRONMENT, text=True
    ) as process:
        assert process.stderr is not None
        assert any("step 1/" in line for line in process.stderr)
        os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while (left := naming(f"{tmp_path}/run/.job")) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == []


def test_messages_of_processes_that_write_at_once_are_told_apart(tmp_path: Path) -> None:
    from tvt.io.processes import MARK, _follow

    line = "".join(f"{MARK}{json.dumps(['error', ['TrainingError', text]])}" for text in ("one", "two"))
    code = f"print('before' + {line!r}); print('after')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        heard = _follow(process, tmp_path / "log", print)
    assert heard.errors == [("TrainingError", "one"), ("TrainingError", "two")]
    assert (tmp_path / "log").read_text().split() == ["beforeafter"]
