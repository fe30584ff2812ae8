"""Full finetuning, and adapters with more than low rank, in two processes with DeepSpeed: what one process trains and saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from transformers import AutoModelForImageTextToText

from commands import ROOT
from tiny_models import qwen, write_rows
from training_runs import StopError, farthest, recipe, stop_at, weights
from tvt.core.recipe import Recipe
from tvt.io.adapter_file import verify_adapter
from tvt.train import TrainingRecord, train

pytestmark = pytest.mark.slow

ROWS = [1, 0, 2, 0, 1, 0, 1, 0, 3, 0, 1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen(tmp_path_factory.mktemp("model") / "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", ROWS)


def asked(model: Path, stage: int | None = None, **more: Any) -> Recipe:
    config = str(ROOT / "recipes" / "deepspeed" / f"zero{stage}.json") if stage else None
    training = {"method": "full", "global_batch_size": 4, "per_device_train_batch_size": 2, "optim": "sgd", **more}
    runtime = {"num_processes": 2 if stage else 1, "deepspeed": config}
    return recipe(model, {"save_steps": 1, "learning_rate": 0.1, **training}, runtime=runtime)


def whole(record: TrainingRecord) -> dict[str, Any]:
    """The weights as transformers loads them: under DeepSpeed it saves them under other names."""
    verify_adapter(record.adapter)
    return loaded(record.adapter)


def loaded(folder: Path) -> dict[str, Any]:
    state = AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    return {name: weight.numpy() for name, weight in state.items()}


@pytest.fixture(scope="module")
def alone(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    return train(asked(model), rows, tmp_path_factory.mktemp("alone") / "run", seed=1)


@pytest.mark.parametrize("parts", [["projector"], None])
def test_zero3_gathers_and_saves_all_weights(
    parts: list[str] | None, alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path
) -> None:
    one = alone if parts is None else train(asked(model, parts=parts), rows, tmp_path / "one", seed=1)
    two = train(asked(model, 3, parts=parts), rows, tmp_path / "two", seed=1)
    assert two.num_processes == 2
    assert farthest(whole(two), whole(one)) < 1e-4
    base = loaded(model)
    changed = [name for name, weight in whole(two).items() if not np.array_equal(weight, base[name])]
    assert changed
    assert all(("merger" in name) == (parts is not None) for name in changed)


def test_zero2_goes_on_from_a_checkpoint(alone: TrainingRecord, model: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        train(asked(model, 2), rows, tmp_path / "run", seed=1, progress=stop_at(2))
    record = train(asked(model, 2), rows, tmp_path / "run", seed=1, resume=True)
    assert record.resumed_from
    assert farthest(whole(record), whole(alone)) < 1e-4


@pytest.mark.parametrize("option", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_more_than_low_rank_under_zero3(option: dict[str, Any], model: Path, rows: Path, tmp_path: Path) -> None:
    records = []
    for stage in (None, 3):
        given = asked(model, stage, method="lora").model_dump(mode="json")
        given["lora"] |= option
        records.append(train(Recipe.model_validate(given), rows, tmp_path / str(stage), seed=1))
    assert farthest(weights(records[0]), weights(records[1])) < 1e-4
