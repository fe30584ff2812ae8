"""``training.method: full`` for real, on tiny models: which weights change, what is saved, and how it is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from transformers import AutoModelForImageTextToText

import tiny_vlm
from tiny_models import write_rows
from training_runs import StopError, recipe, stop_at
from tvt.core.recipe import PARTS, EvaluationConfig, ModelConfig, Recipe
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.io.adapter_file import drop_weights, dropped_digest, verify_adapter
from tvt.model.base import Loaded
from tvt.model.loading import load_processor
from tvt.train import TrainingRecord, train
from tvt.train.parts import ModelParts

MIXED = [1, 0, 2, 1, 1, 0, 1, 1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny_vlm.save(folder / name, name) for name in ("llava", "qwen")}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "mixed", MIXED)


def full(base: Path, **fields: Any) -> Recipe:
    training = {"method": "full", "learning_rate": 1e-3, "num_train_epochs": 2, **fields.pop("training", {})}
    return recipe(base, training, **fields)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").state_dict())


def changed_parts(model: Path, record: TrainingRecord) -> set[str]:
    base = AutoModelForImageTextToText.from_pretrained(model)
    parts, trained = ModelParts(base), weights_in(record.adapter)
    return {
        parts.of(name, weight) for name, weight in base.named_parameters() if not torch.equal(trained[name].float(), weight)
    }


@pytest.mark.parametrize("family", ["llava", "qwen"])
@pytest.mark.parametrize("parts", [None, ["projector"], ["vision_tower", "language_model"], list(PARTS)])
def test_the_parts_that_are_named_train_and_no_others(family: str, parts: Any, models: Any, rows: Path, tmp_path: Path) -> None:
    record = train(full(models[family], training={"parts": parts}), rows, tmp_path / "run", seed=0)
    assert changed_parts(models[family], record) == set(parts or ["language_model"])
    assert record.losses[-1][1] < record.losses[0][1]
    assert verify_adapter(record.adapter).digest == record.adapter_digest


def test_what_is_saved_is_a_model_in_the_base_models_precision(models: Any, rows: Path, tmp_path: Path) -> None:
    record = train(full(models["qwen"], model={"dtype": "bfloat16"}), rows, tmp_path / "run", seed=0)
    assert {weight.dtype for weight in weights_in(record.adapter).values()} == {torch.bfloat16}
    assert load_processor(ModelConfig(model_name_or_path=str(record.adapter))).chat_template
    left = {path.suffix for path in record.adapter.iterdir()}
    assert not left & {".bin", ".pt", ".pth", ".pkl"}
    card = (record.adapter / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "The projector and the vision tower were left as they are." in card
    again = train(full(models["qwen"], model={"dtype": "bfloat16"}), rows, tmp_path / "again", seed=0)
    assert again.adapter_digest == record.adapter_digest
    base = json.loads((models["qwen"] / "generation_config.json").read_text())
    saved = json.loads((record.adapter / "generation_config.json").read_text())
    assert {name: saved.get(name) for name in base} == base | {"transformers_version": saved["transformers_version"]}


def test_it_is_scored_as_the_model_that_was_trained_and_the_base_stays_what_it_is(
    models: Any, rows: Path, tmp_path: Path
) -> None:
    asked = full(models["qwen"])
    base = Loaded(config=asked.model)
    evaluator = Evaluator(asked.model, EvaluationConfig(), tmp_path / "answers", base=base)
    questions = {"t": tiny_vlm.questions("t", 6, images=(1, 0))}
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    record = train(asked, rows, tmp_path / "run", seed=0, base=base)
    (mine,) = evaluator.evaluate([record.adapter], questions)
    (plain,) = evaluator.evaluate([None], questions)
    assert mine["t"].digest == record.adapter_digest
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.state_dict().items())
    own = Evaluator(
        asked.model.model_copy(update={"model_name_or_path": str(record.adapter)}), EvaluationConfig(), tmp_path / "o"
    )
    (direct,) = own.evaluate([None], questions)
    assert [item.outcome for item in mine["t"].items] == [item.outcome for item in direct["t"].items]
    assert [item.outcome for item in mine["t"].items] != [item.outcome for item in plain["t"].items]


def test_resumed_equals_uninterrupted(models: Any, rows: Path, tmp_path: Path) -> None:
    asked = full(models["llava"], training={"save_steps": 1})
    whole = train(asked, rows, tmp_path / "whole", seed=0)
    with pytest.raises(StopError):
        train(asked, rows, tmp_path / "stopped", seed=0, progress=stop_at(3))
    resumed = train(asked, rows, tmp_path / "stopped", seed=0, resume=True)
    assert resumed.resumed_from in (2, 3)
    assert resumed.adapter_digest == whole.adapter_digest


def test_a_changed_file_is_noticed_and_dropped_weights_say_so(models: Any, rows: Path, tmp_path: Path) -> None:
    record = train(full(models["llava"]), rows, tmp_path / "run", seed=0)
    path = record.adapter / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="content changed"):
        verify_adapter(record.adapter)
    drop_weights(record.adapter)
    assert dropped_digest(record.adapter) == record.adapter_digest
    assert not list(record.adapter.glob("*.safetensors"))
    with pytest.raises(InputError, match="were dropped once they were scored"):
        verify_adapter(record.adapter)


def test_rows_without_images_are_refused_where_the_language_model_does_not_train(models: Any, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows", [0, 0, 0, 0])
    with pytest.raises(InputError, match="no row has an image, and the language model does not train"):
        train(full(models["llava"], training={"parts": ["projector"]}), rows, tmp_path / "run", seed=0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": {"load_in_4bit": True}}, "cannot train weights of 4 bits"),
        ({"lora": {"use_dora": True}}, "lora.use_dora is of adapters"),
        ({"lora": {"modules_to_save": ["lm_head"]}}, "lora.modules_to_save is of adapters"),
        ({"model": {"freeze_vision": False}, "training": {"parts": ["projector"]}}, "leave one of them out"),
    ],
)
def test_contradictions_are_refused(fields: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        full(tmp_path, **fields)


def test_identities(tmp_path: Path) -> None:
    lora, whole = recipe(tmp_path).training_identity(), full(tmp_path).training_identity()
    assert "method" not in lora["training"], "as it was before there was one"
    assert "lora" not in whole, "what an adapter would be is no part of it"
    turned = full(tmp_path, training={"parts": ["vision_tower", "language_model"]}).training_identity()
    assert turned["training"]["parts"] == ["language_model", "vision_tower"]
