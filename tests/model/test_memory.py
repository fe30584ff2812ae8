"""The estimate of memory: known models' shapes, what is counted, and what follows for checkpointing, advice and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands import ROOT
from published_models import BILLIONS, CONFIGS
from tvt.core.recipe import ModelConfig, Recipe
from tvt.io.yaml_files import load_recipe
from tvt.model.needs import (
    ORDINARY_PIXELS,
    USABLE,
    Shape,
    expected_checkpointing,
    pass_needs,
    read_shape,
    shape_of,
    training_needs,
    usual_shape,
    weights_bytes,
)

RECIPES = ROOT / "recipes"


def shape(name: str) -> Shape:
    found = read_shape(CONFIGS[name])
    assert found is not None
    return found


def recipe(name: str = "Qwen/Qwen2.5-VL-7B-Instruct", **parts: Any) -> Recipe:
    model = {"model_name_or_path": name, "load_in_4bit": True, **parts.pop("model", {})}
    return Recipe.model_validate({"name": "n", "model": model, "sources": ["t"], "targets": ["t"], **parts})


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_published_models(name: str) -> None:
    told = next(count for part, count in BILLIONS.items() if part in name)
    found = shape(name)
    assert (found.weights + found.embeddings) / 1e9 == pytest.approx(told, rel=0.02)


@pytest.mark.parametrize("name", ["3B", "7B", "32B"])
def test_a_model_by_its_name_is_as_large_as_the_published_one(name: str) -> None:
    found = usual_shape(float(name[:-1]))
    assert not found.known
    assert (found.weights + found.embeddings) / 1e9 == pytest.approx(BILLIONS[name], rel=0.02)


def test_pictures_take_the_tokens_of_their_family() -> None:
    qwen, idefics = shape("Qwen/Qwen2.5-VL-7B-Instruct"), shape("HuggingFaceM4/Idefics3-8B-Llama3")
    assert qwen.picture_tokens(12_845_056) == 16_384
    assert qwen.picture_tokens(12_845_056, 1_003_520) == 1280
    assert qwen.picture_tokens(640 * 480, 1_003_520) == 392
    assert idefics.picture_tokens(640 * 480) == 17 * 169
    assert idefics.picture_tokens(640 * 480, 1_003_520) == 5 * 169
    assert idefics.picture_tokens(12_000_000, 1) == 169
    fixed = {"image_size": 336, "patch_size": 14, "hidden_size": 1024, "num_hidden_layers": 24}
    text = CONFIGS["HuggingFaceM4/Idefics3-8B-Llama3"]["text_config"]
    for kind, tiles in {"llava": 1, "llava_next": 5, "internvl": 13}.items():
        found = read_shape({"model_type": kind, "text_config": text, "vision_config": fixed})
        assert found is not None
        assert found.picture_tokens(12_000_000) == tiles * 576
        assert found.picture_tokens(12_000_000, 1) == 576


def test_what_a_pass_takes_grows_with_what_it_holds() -> None:
    of, model = shape("Qwen/Qwen2.5-VL-7B-Instruct"), recipe()
    kept = training_needs(of, model, 4000, 16_000, checkpointing=False)
    twice = training_needs(of, model, 8000, 32_000, checkpointing=False)
    again = training_needs(of, model, 4000, 16_000, checkpointing=True)
    tower = training_needs(of, recipe(model={"freeze_vision": False}), 4000, 16_000, checkpointing=False)
    assert twice.activations == pytest.approx(2 * kept.activations)
    assert kept.activations > 5 * again.activations
    assert tower.activations > 2 * kept.activations
    assert tower.adapter > kept.adapter > 0
    whole = recipe(model={"load_in_4bit": False})
    assert weights_bytes(of, whole.model) == pytest.approx(16.6e9, rel=0.02)
    assert training_needs(of, whole, 1, 1, checkpointing=True, divided=8).weights == weights_bytes(of, whole.model) / 8


def test_a_full_finetuning_takes_sixteen_bytes_a_weight_and_zero_divides_them(tmp_path: Path) -> None:
    of = shape("Qwen/Qwen2.5-VL-7B-Instruct")
    for stage in (1, 2, 3):
        (tmp_path / f"{stage}.json").write_text(f'{{"zero_optimization": {{"stage": {stage}}}}}')

    def state(processes: int = 1, stage: int = 0, parts: list[str] | None = None) -> float:
        runtime = {"num_processes": processes, "deepspeed": str(tmp_path / f"{stage}.json") if stage else None}
        batch = {"global_batch_size": 64, "per_device_train_batch_size": 8}
        asked = recipe(training={"method": "full", "parts": parts, **batch}, runtime=runtime, model={"load_in_4bit": False})
        found = training_needs(of, asked, 1, 1, checkpointing=True)
        return found.weights + found.adapter

    text = of.text.weights + of.embeddings
    frozen = 2 * (of.weights + of.embeddings - text)
    assert state() == pytest.approx(frozen + 16 * text)
    assert state(8) == pytest.approx(frozen + 20 * text), "each process has all of it, and buffers to exchange gradients"
    assert state(8, 1) == pytest.approx(frozen + 4 * text + 12 * text / 8)
    assert state(8, 2) == pytest.approx(frozen + 2 * text + 14 * text / 8)
    assert state(8, 3) == pytest.approx((frozen + 16 * text) / 8)
    assert state(parts=["vision_tower"]) == pytest.approx(2 * text + 16 * (of.weights + of.embeddings - text))


def test_a_config_that_leaves_values_out_is_filled_up_by_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    import json

    told = CONFIGS["HuggingFaceM4/Idefics3-8B-Llama3"]
    short = {key: value for key, value in told["text_config"].items() if key not in ("hidden_size", "num_hidden_layers")}
    (tmp_path / "config.json").write_text(json.dumps({**told, "text_config": {"model_type": "llama", **short}}))
    found = shape_of(ModelConfig(model_name_or_path=str(tmp_path)))
    assert found is not None
    assert found.text == shape("HuggingFaceM4/Idefics3-8B-Llama3").text


def test_of_an_unknown_model_nothing_is_said() -> None:
    assert shape_of(ModelConfig(model_name_or_path="some/unknown")) is None
    assert read_shape({"model_type": "other", "hidden_size": 12}) is None


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(RECIPES.glob("*.yaml")) if path.stem not in ("miniature", "world")],
    ids=lambda path: path.stem,
)
def test_recipes_fit_a_gpu_of_80_gb(path: Path) -> None:
    found = load_recipe(path)
    of = shape(found.model.model_name_or_path)
    for pixels in (ORDINARY_PIXELS, 12_000_000 if found.model.max_pixels else ORDINARY_PIXELS):
        assert pass_needs(found, of, pixels).total < 0.6 * 80e9
    assert USABLE < 1


def test_left_open_activations_are_kept_where_large_rows_fit() -> None:
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    told = {asked: recipe(name, training={"gradient_checkpointing": asked}) for asked in (None, True, False)}
    needs = pass_needs(told[None], shape(name), ORDINARY_PIXELS, checkpointing=False).total / USABLE
    for memory in (1e9, 1e15):
        assert expected_checkpointing(told[True], shape(name), memory, ORDINARY_PIXELS)
        assert not expected_checkpointing(told[False], shape(name), memory, ORDINARY_PIXELS)
    assert expected_checkpointing(told[None], shape(name), 0.99 * needs, ORDINARY_PIXELS)
    assert not expected_checkpointing(told[None], shape(name), 1.01 * needs, ORDINARY_PIXELS)
    zero = {"num_processes": 8, "deepspeed": str(RECIPES / "deepspeed" / "zero3.json")}
    divided = recipe(name, runtime=zero, training={"per_device_train_batch_size": 1})
    assert expected_checkpointing(divided, shape(name), 1e15, ORDINARY_PIXELS)


def test_of_experts_all_are_held_and_a_few_passed() -> None:
    """Qwen3-VL-30B-A3B, as published: 31 billion weights, of which 3 are those of a token."""
    of = CONFIGS["Qwen/Qwen3-VL-8B-Instruct"]
    text = {**of["text_config"], "hidden_size": 2048, "num_hidden_layers": 48, "num_key_value_heads": 4}
    text |= {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    found = read_shape({**of, "text_config": text})
    assert found is not None
    assert (found.weights + found.embeddings) / 1e9 == pytest.approx(31.1, rel=0.02)
    assert 2.5 < found.text.passed / 1e9 < 3.3


def test_idefics3_with_eight_rows_and_all_its_tiles_is_too_much_for_80_gb() -> None:
    before = recipe("HuggingFaceM4/Idefics3-8B-Llama3", training={"per_device_train_batch_size": 8})
    assert pass_needs(before, shape("HuggingFaceM4/Idefics3-8B-Llama3"), ORDINARY_PIXELS).total > 0.7 * 80e9


class TestCheckpointing:
    @pytest.fixture(scope="class")
    def parts(self, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Rows of different sizes with their collator, and a model's configuration."""
        pytest.importorskip("torch")
        from dataclasses import replace

        import tiny_models
        import tiny_vlm
        from pictures import picture
        from tvt.core.mixture import Mixture
        from tvt.data.mixing.dataset import write_mix
        from tvt.data.mixing.plan import plan_mix
        from tvt.data.questions.files import write_parquet
        from tvt.model.loading import load_config, load_processor
        from tvt.train.batches import Collator, row_lengths
        from tvt.train.rows import Examples, load_rows

        folder = tmp_path_factory.mktemp("rows")
        sizes = [(60, 60), (112, 112), (90, 60), (56, 28), (300, 200)]
        asked = [replace(q, images=(picture(*s),)) for q, s in zip(tiny_vlm.questions("t", 5), sizes, strict=True)]
        write_parquet(asked, folder / "t.parquet")
        write_mix(plan_mix(Mixture.of_counts({"t": 5}), {"t": folder / "t.parquet"}, seed=0), folder / "mixed")
        model = ModelConfig(model_name_or_path=str(tiny_models.qwen(folder / "model")), dtype="float32")
        examples = Examples(load_rows(folder / "mixed", folder / "cache"), folder / "mixed")
        processor = load_processor(model)
        lengths = row_lengths(examples, processor)
        return model, examples, lengths, Collator(processor, picture_always=False), load_config(model)

    def test_it_is_on_where_the_largest_rows_do_not_fit(self, parts: Any) -> None:
        from tvt.train.trainer import fits, patches_of

        model, examples, lengths, collator, config = parts
        told = recipe(model=model.model_dump(), training={"per_device_train_batch_size": 2})
        batch = collator([examples[index] for index in (4, 1)])
        assert patches_of(batch, read_shape(config.to_dict())) == int(batch["image_grid_thw"].prod(1).sum())  # type: ignore[arg-type]
        needs = training_needs(
            read_shape(config.to_dict()),  # type: ignore[arg-type]
            told,
            batch["input_ids"].numel(),
            int(batch["image_grid_thw"].prod(1).sum()),
            checkpointing=False,
        )
        assert fits(told, examples, lengths, collator, config, 1.01 * needs.total / USABLE)
        assert not fits(told, examples, lengths, collator, config, 0.99 * needs.total / USABLE)

    @pytest.mark.parametrize(("asked", "divided", "on"), [(True, False, True), (False, True, False), (None, True, True)])
    def test_what_the_recipe_says_is_done_and_zero_3_takes_no_chance(
        self, asked: bool | None, divided: bool, on: bool, parts: Any
    ) -> None:
        from tvt.train.trainer import needs_checkpointing

        told = recipe(training={"gradient_checkpointing": asked})
        assert needs_checkpointing(told, *parts[1:], divided=divided) is on

    @pytest.mark.parametrize(("free", "on"), [(1e12, False), (1.6e9, True)])
    def test_on_a_gpu_its_free_memory_decides(self, free: float, on: bool, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        from tvt.train.trainer import needs_checkpointing

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
        assert needs_checkpointing(recipe(model=parts[0].model_dump()), *parts[1:], divided=False) is on

    @pytest.mark.parametrize("on", [False, True])
    def test_the_decision_reaches_the_layers(
        self, on: bool, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tvt.train import train
        from tvt.train.trainer import GuardedTrainer

        loss, seen = GuardedTrainer.compute_loss, set()

        def looked(self: Any, *given: Any, **options: Any) -> Any:
            layers = self.model.get_base_model().model.language_model.layers
            seen.add((self.args.activation_checkpointing, *(layer.gradient_checkpointing for layer in layers)))
            return loss(self, *given, **options)

        monkeypatch.setattr(GuardedTrainer, "compute_loss", looked)
        monkeypatch.setattr("tvt.train.run.needs_checkpointing", lambda *_, **__: on)
        model, examples, _, _, _ = parts
        told = recipe(model=model.model_dump(), training={"per_device_train_batch_size": 4, "global_batch_size": 4})
        train(told, examples._folder, tmp_path / "run", seed=0)
        assert {flag for flags in seen for flag in flags} == {on}

    def test_on_a_cpu_it_is_off(self, parts: Any) -> None:
        from tvt.train.trainer import needs_checkpointing

        assert not needs_checkpointing(recipe(), *parts[1:], divided=False)
