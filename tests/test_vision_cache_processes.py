"""The frozen-vision cache in runs of two processes: they fill it together, and train the same adapter byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from test_cli import ROOT
from test_training import recipe
from tiny_models import llava, qwen, write_rows

from tvt.io.cache import VARIABLE
from tvt.train import TrainingRecord, train

ROWS = [1, 0, 2, 1, 0, 1, 1, 1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", ROWS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "vision"


def run(model: Path, rows: Path, output: Path, vision: str, notes: list[str], **more: Any) -> TrainingRecord:
    stage, dtype = more.get("stage"), more.get("dtype", "float32")
    config = str(ROOT / "recipes" / "deepspeed" / f"zero{stage}.json") if stage else None
    asked = recipe(
        model,
        {"per_device_train_batch_size": 2},
        model={"dtype": dtype},
        runtime={"num_processes": 2, "deepspeed": config, "vision_cache": vision},
    )
    return train(asked, rows, output, seed=1, note=notes.append)


@pytest.mark.parametrize(("stage", "build", "dtype"), [(None, llava, "float32"), (2, qwen, "bfloat16")])
def test_two_processes(stage: int | None, build: Any, dtype: str, rows: Path, tmp_path: Path, cache: Path) -> None:
    model = build(tmp_path / "model")
    notes: list[str] = []
    records = [
        run(model, rows, tmp_path / name, vision, notes, stage=stage, dtype=dtype)
        for name, vision in {"off": "off", "cold": "exact"}.items()
    ]
    assert records[0].adapter_digest == records[1].adapter_digest
    assert (records[1].num_processes, notes) == (2, [])
    assert len(list(cache.glob("*/*.safetensors"))) == 2, "each process wrote what it computed, to one namespace"
    assert len(list(cache.glob("*/probe-*.json"))) == 1, "one looked for both"


def test_zero3_runs_without(rows: Path, tmp_path: Path, cache: Path) -> None:
    notes: list[str] = []
    run(llava(tmp_path / "model"), rows, tmp_path / "run", "exact", notes, stage=3)
    assert notes == ["vision cache not used: ZeRO-3 divides the vision tower, so all processes must run it together"]
    assert not cache.exists()
