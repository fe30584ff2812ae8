"""Workers beside the training process: the same batches in the same order, the same errors, and nothing left when it ends."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import pyarrow as pa
import pyarrow.parquet as pq
import torch

import tiny_families
from commands import ENVIRONMENT, PATIENCE
from process_list import of_session
from tiny_models import FAMILIES, write_rows
from training_runs import StopError, recipe, stop_at
from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, TrainingError
from tvt.io import machine
from tvt.model.loading import load_processor
from tvt.train import train
from tvt.train.batches import Collator, Order
from tvt.train.loader import Prepare, checked, end_workers, loader, worker_count
from tvt.train.rows import Examples, load_rows
from tvt.train.trainer import Batches

MIXED = [1, 0, 2, 1, 1, 0, 3, 1, 0, 1, 1, 2]
TRAVELLING = ("Qwen2.5-VL", "Qwen3-VL", "InternVL", "GLM-4V", "LLaVA-OneVision", "SmolVLM", "LLaVA", "Idefics3")
"""Families with a processor of transformers, and with one that lacks its video part where torchvision is missing."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["qwen"](tmp_path_factory.mktemp("model") / "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", MIXED)


def beside(workers: int, model: Path, **training: Any) -> Recipe:
    given = {"per_device_train_batch_size": 2, "num_train_epochs": 3, "save_steps": 2, **training}
    return recipe(model, given, runtime={"dataloader_num_workers": workers}, lora={"lora_dropout": 0.1})


def prepare(model: Path, rows: Path) -> Prepare:
    processor = load_processor(ModelConfig(model_name_or_path=str(model)))
    return Prepare(Examples(load_rows(rows, rows / "cache"), rows), Collator(processor, picture_always=True))


def test_batches_are_the_same_and_in_order(model: Path, rows: Path) -> None:
    made = prepare(model, rows)
    order = Order(rows=12, epochs=1.2, seed=1, global_batch=8, per_device=2, processes=1)
    sampler = Batches(order, 0, list(range(12)))
    alone, two = (loader(made, 12, sampler, workers=n, ahead=4, pinned=False) for n in (0, 2))
    compared = 0
    for one, other in zip(checked(iter(alone)), checked(iter(two)), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        compared += 1
    assert compared == len(order.batches(0)) == 8  # the last of them without a row


@pytest.mark.parametrize("family", TRAVELLING)
def test_a_processor_is_the_same_in_a_worker(family: str, rows: Path, tmp_path: Path) -> None:
    made = prepare(tiny_families.build(family, tmp_path / "model"), rows)
    one, other = (get([0, 2, 1]) for get in (made, pickle.loads(pickle.dumps(made))))
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_workers_change_no_adapter_and_a_run_goes_on_with_them(model: Path, rows: Path, tmp_path: Path) -> None:
    alone = train(beside(0, model), rows, tmp_path / "alone", seed=1)
    with pytest.raises(StopError):
        train(beside(0, model), rows, tmp_path / "run", seed=1, progress=stop_at(5))
    resumed = train(beside(2, model), rows, tmp_path / "run", seed=1, resume=True)
    assert resumed.resumed_from == 4
    assert (resumed.adapter_digest, resumed.losses) == (alone.adapter_digest, alone.losses)


def with_picture(rows: Path, folder: Path, place: int, content: bytes) -> Path:
    (path,) = (rows / "data").glob("*.parquet")
    table = pq.read_table(path)
    told = table.to_pylist()
    told[place]["images"][0]["bytes"] = content
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(told, table.schema), folder / "data" / path.name)
    return folder


def test_a_broken_picture_is_named_as_it_is_without_workers(model: Path, rows: Path, tmp_path: Path) -> None:
    """Its header is whole, so that only whoever decodes it finds out."""
    (path,) = (rows / "data").glob("*.parquet")
    whole = pq.read_table(path).to_pylist()[7]["images"][0]["bytes"]
    broken = with_picture(rows, tmp_path / "rows", 7, whole[:200])
    said = []
    for workers in (0, 2):
        with pytest.raises(InputError) as caught:
            train(beside(workers, model), broken, tmp_path / f"run-{workers}", seed=1)
        said.append(caught.value.faults)
    assert said[0] == said[1]
    assert "row 7 (Light, id 7): image 1 cannot be read" in said[0][0]


class Failing:
    """Stands where the collator does."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, examples: list[Any]) -> Any:
        if self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "uncopied":
            raise UncopiedError("a", "b")
        raise LookupError("no such thing")


class UncopiedError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one}{other}")


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("raised", LookupError, "no such thing"),
        ("uncopied", RuntimeError, "UncopiedError: ab"),
        ("killed", TrainingError, "a data loader's worker was killed .*; its memory may not have sufficed: lower runtime"),
    ],
)
def test_what_fails_in_a_worker_fails_as_itself(kind: str, error: type[Exception], says: str, rows: Path) -> None:
    made = Prepare(Examples(load_rows(rows, rows / "cache"), rows), Failing(kind))  # type: ignore[arg-type]
    order = Order(rows=12, epochs=1, seed=1, global_batch=4, per_device=2)
    batches = iter(loader(made, 12, Batches(order, 0, [0] * 12), workers=1, ahead=2, pinned=False))
    with pytest.raises(error, match=f"^{says}") as caught:
        next(checked(batches))
    end_workers(batches)
    assert kind != "raised" or "in __call__" in "".join(caught.value.__notes__), "where it was raised"


def _takes_ctrl_c() -> None:
    """Tests that run in the background of a shell ignore it, and so would what they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def running(model: Path, rows: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``tvt train`` with workers, after its first step, in a session of its own."""
    (tmp_path / "recipe.yaml").write_text(json.dumps(beside(2, model, num_train_epochs=500).model_dump(mode="json")))
    command = [sys.executable, "-m", "tvt", "train", str(rows), "--recipe", str(tmp_path / "recipe.yaml")]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
        start_new_session=True,
        preexec_fn=_takes_ctrl_c,  # noqa: PLW1509 - no thread holds locks that it needs
    ) as process:
        assert process.stderr is not None
        assert any("step 1/" in line for line in process.stderr)
        assert len(of_session(process.pid)) >= 4, "itself, the fork server, and two workers"
        yield process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.slow
def test_however_it_ends_no_process_is_left(how: signal.Signals, running: subprocess.Popen[str]) -> None:
    if how == signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does
    else:
        running.send_signal(how)
    running.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while (left := of_session(running.pid)) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == []
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


def test_by_default_there_are_workers_on_a_gpu_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(gpu: bool, cores: int, shared: float | None = None, **runtime: Any) -> int:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(machine, "cores", lambda: cores)
        monkeypatch.setattr(machine, "shared_memory", lambda: shared)
        return worker_count(recipe(model, {"per_device_train_batch_size": 1}, runtime=runtime))

    assert counted(False, 64) == 0
    assert counted(True, 64) == 4
    assert counted(True, 3) == 2
    assert counted(True, 1) == 0
    assert counted(True, 8, num_processes=4) == 1
    monkeypatch.setenv(machine.RUNS_AT_ONCE, "8")
    assert counted(True, 24) == 2, "eight runs at once share the machine"
    monkeypatch.delenv(machine.RUNS_AT_ONCE)
    assert counted(True, 64, shared=64 * 2**20) == 0, "a container's default"
    assert counted(False, 1, dataloader_num_workers=3) == 3
