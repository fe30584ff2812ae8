"""PEFT's and transformers' options of a recipe, trained for real and scored: DoRA, rsLoRA, whole modules, NEFTune, parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import tiny_vlm
from tiny_models import write_rows
from training_runs import recipe, weights
from tvt.core.recipe import EvaluationConfig
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.train import TrainingRecord, train
from tvt.train.checks import training_checks

LARGE = {"learning_rate": 2e-2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("model"), "qwen")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "mixed", [1, 0, 2, 1])


@pytest.fixture(scope="module")
def plain(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    return train(recipe(model, LARGE), rows, tmp_path_factory.mktemp("plain"), seed=0)


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "use_rslora": ({"lora": {"use_rslora": True}}, {"use_rslora": True}),
    "use_dora": ({"lora": {"use_dora": True}}, {"use_dora": True}),
    "modules_to_save": ({"lora": {"modules_to_save": ["lm_head"]}}, {"modules_to_save": ["lm_head"]}),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("option", CONFIGS)
def test_an_option_of_peft_is_trained_saved_and_scored(
    option: str, dtype: str, model: Path, rows: Path, plain: TrainingRecord, tmp_path: Path
) -> None:
    given, expected = CONFIGS[option]
    asked = recipe(model, LARGE, model={"dtype": dtype}, **given)
    record = train(asked, rows, tmp_path / "run", seed=0)
    config = json.loads((record.adapter / "adapter_config.json").read_text())
    assert {name: config[name] for name in expected} == expected
    assert record.identity != plain.identity
    assert record.adapter_digest != plain.adapter_digest
    (cell,) = Evaluator(asked.model, EvaluationConfig(), tmp_path / "answers").evaluate(
        [record.adapter], {"t": tiny_vlm.questions("t", 4, images=(1, 0))}
    )
    assert cell["t"].total == 4


def test_noise_on_embeddings_trains_other_weights_and_is_off_afterwards(
    model: Path, rows: Path, plain: TrainingRecord, tmp_path: Path
) -> None:
    noisy = [train(recipe(model, {**LARGE, "neftune_noise_alpha": 5}), rows, tmp_path / name, seed=0) for name in "ab"]
    assert noisy[0].adapter_digest == noisy[1].adapter_digest != plain.adapter_digest
    assert noisy[0].identity != plain.identity


def test_parts_of_an_adapter(model: Path, rows: Path, tmp_path: Path) -> None:
    names = {}
    for part in ("language_model", "projector", "vision_tower"):
        record = train(recipe(model, {**LARGE, "parts": [part]}), rows, tmp_path / part, seed=0)
        names[part] = set(weights(record))
        assert any(abs(tensor).max() > 0 for name, tensor in weights(record).items() if "lora_B" in name)
    assert all("language_model" in name for name in names["language_model"])
    assert all("visual.merger" in name for name in names["projector"])
    assert all("visual.blocks" in name for name in names["vision_tower"])


def test_a_module_that_is_not_there_is_refused(model: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lora.modules_to_save: no module 'lm_haed' is in the model \(did you mean 'lm_head'"):
        train(recipe(model, lora={"modules_to_save": ["lm_haed"]}), rows, tmp_path / "run", seed=0)


def test_kernels_that_are_not_installed_are_refused_before_anything_starts(model: Path) -> None:
    checks = training_checks(recipe(model, {"use_liger_kernel": True}))
    (fault,) = [check for check in checks if check.status == "fail"]
    assert "training.use_liger_kernel needs liger_kernel" in fault.found
