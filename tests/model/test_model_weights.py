"""A base model that is not whole is refused: transformers would fill in what is missing at random, anew with every load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from tiny_models import FAMILIES
from tvt.core.recipe import ModelConfig
from tvt.errors import InputError
from tvt.model.base import load_base, load_model
from tvt.model.loading import load_weights


def without(folder: Path, part: str) -> ModelConfig:
    """Take the tensors with ``part`` in their names out of a model's file."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    left = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert 0 < len(left) < len(tensors)
    save_file(left, path, metadata={"format": "pt"})
    return ModelConfig(model_name_or_path=str(folder), dtype="float32")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_model_loads_and_one_without_a_projection_does_not(family: str, tmp_path: Path) -> None:
    folder = FAMILIES[family](tmp_path / "model")
    load_weights(ModelConfig(model_name_or_path=str(folder), dtype="float32"), device="cpu")
    with pytest.raises(InputError, match=r"1 of the model's tensors are in none of its files, e\.g\. \S*layers.1.mlp.up_proj"):
        load_weights(without(folder, "layers.1.mlp.up_proj"), device="cpu")


@pytest.mark.parametrize("part", ["vision", "lm_head"])
def test_a_missing_tower_or_head_is_refused(part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tensors are in none of its files"):
        load_weights(without(FAMILIES["llava"](tmp_path / "model"), part), device="cpu")


def test_weights_of_another_shape_are_refused_in_a_line(tmp_path: Path) -> None:
    folder = FAMILIES["llava"](tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 128
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_weights(ModelConfig(model_name_or_path=str(folder), dtype="float32"), device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tensor_is_in_memory_elsewhere_than_on_the_device(family: str, tmp_path: Path) -> None:
    """The device ``meta`` holds nothing: a model that is first loaded elsewhere would have tensors of its own."""
    folder = FAMILIES[family](tmp_path / "model")
    model = load_weights(ModelConfig(model_name_or_path=str(folder), dtype="float32"), device="meta")
    assert {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]} == {"meta"}


def test_every_load_names_its_device_unless_the_weights_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    folder = FAMILIES["qwen"](tmp_path / "model")
    config = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    load, maps = transformers.AutoModelForImageTextToText.from_pretrained, []

    def counted(*given: object, **options: object) -> object:
        maps.append(options.get("device_map"))
        return load(*given, **options)

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", counted)
    load_model(config, sharded=False)
    load_model(config, sharded=True)
    scored = load_base(config)
    assert maps == [{"": scored.device}, None, {"": scored.device}]
