"""Windows of vision towers are computed in one call for each length, with the same results."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl")

import peft
import torch
from transformers import AutoModelForImageTextToText

import tiny_families
import tiny_models
from tower_gradients import CHECKPOINTING, Subject, recipe
from tvt.core.recipe import ModelConfig
from tvt.model import attention
from tvt.model.attention import STACKED, stack_windows, windows_at_once
from tvt.model.families import FAMILIES
from tvt.model.loading import load_weights
from tvt.train.parts import lora_config

WINDOWED = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "Qwen3.5", "GLM-4V")
"""Families whose towers transformers 5.24 computes window by window."""
GRIDS = [(1, 8, 12), (1, 4, 6), (1, 8, 12), (1, 10, 10)]
"""Time, height and width of four pictures, in patches; two are of one size."""
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tiny_families.build(family, tmp_path_factory.mktemp("model") / "model")
        return made[family]

    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of queries in calls of scaled_dot_product_attention."""
    found: list[tuple[int, ...]] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def counted(query: torch.Tensor, *told: Any, **options: Any) -> torch.Tensor:
        found.append(tuple(query.shape))
        return original(query, *told, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    return found


def loaded(folder: Path, **more: Any) -> Any:
    return load_weights(ModelConfig(model_name_or_path=str(folder), dtype="float32", **more), device="cpu").eval()


def unstacked(model: Any) -> bool:
    """Compute windows one by one again; whether there were any that were stacked."""
    configs = [
        c for part in model.modules() if getattr(c := getattr(part, "config", None), "_attn_implementation", "") == STACKED
    ]
    for config in configs:
        config._attn_implementation = "sdpa"
    return bool(configs)


def seen(model: Any, grids: list[tuple[int, int, int]] = GRIDS) -> torch.Tensor:
    """What a tower makes of random pictures of these sizes."""
    tower = model.model.visual
    sizes = torch.tensor(grids)
    patch = 3 * tower.config.temporal_patch_size * tower.config.patch_size**2
    pixels = torch.randn(int(sizes.prod(1).sum()), patch, generator=torch.Generator().manual_seed(0))
    told = tower(pixels, sizes)
    return told.pooler_output if isinstance(told.pooler_output, torch.Tensor) else torch.cat(told.pooler_output)


@pytest.mark.parametrize("family", WINDOWED)
def test_results_are_the_same_with_a_call_for_each_length(
    family: str, folders: Callable[[str], Path], calls: list[tuple[int, ...]]
) -> None:
    model = loaded(folders(family))
    with torch.inference_mode():
        stacked = seen(model)
        lengths = [shape[0] * shape[2] for shape in calls]
        many, calls[:] = len(calls), []
        assert unstacked(model)
        one_by_one = seen(model)
    assert (stacked - one_by_one).abs().max() < TOLERANCE
    assert one_by_one.abs().max() > 100 * TOLERANCE
    assert {shape[0] for shape in calls} == {1}
    layers = model.model.visual.config.depth
    assert sum(lengths) == layers * sum(height * width for _, height, width in GRIDS)
    by_layer = _lengths_of_layers(calls, layers)
    assert many == sum(len(set(lengths)) for lengths in by_layer) < len(calls)


def _lengths_of_layers(calls: list[tuple[int, ...]], layers: int) -> list[list[int]]:
    """Lengths of windows, layer after layer: each layer sees every token once."""
    tokens, found = sum(shape[2] for shape in calls) // layers, [[]]  # type: list[list[int]]
    for shape in calls:
        if sum(found[-1]) == tokens:
            found.append([])
        found[-1].append(shape[2])
    assert len(found) == layers
    return found


def test_two_photographs_in_a_tower_of_32_layers(calls: list[tuple[int, ...]]) -> None:
    """1024 x 768 pixels are 54 x 74 patches in 7 x 10 windows of four sizes; four of 32 layers see whole pictures."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as code

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_heads": 1, "out_hidden_size": 16}
    tower = code.Qwen2_5_VisionTransformerPretrainedModel._from_config(code.Qwen2_5_VLVisionConfig(depth=32, **sizes)).eval()
    grid = torch.tensor([(1, 54, 74)] * 2)
    pixels = torch.randn(2 * 54 * 74, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one_by_one = tower(pixels, grid).pooler_output
        assert len(calls) == 28 * 140 + 4 * 2  # 3,928
        calls.clear()
        assert stack_windows(tower)
        assert (tower(pixels, grid).pooler_output - one_by_one).abs().max() < TOLERANCE
    assert len(calls) == 28 * 4 + 4  # 116


def test_lengths_are_asked_for_once_a_forward(monkeypatch: pytest.MonkeyPatch, folders: Callable[[str], Path]) -> None:
    asked: list[Any] = []
    original = attention._Stacks.of
    monkeypatch.setattr(attention._Stacks, "of", lambda ends: asked.append(ends) or original(ends))
    tower = loaded(folders("Qwen3-VL"))
    assert tower.model.visual.config.depth == 2
    seen(tower)
    assert len(asked) == 1
    seen(tower)
    assert len(asked) == 2


@pytest.mark.parametrize("checkpointing", CHECKPOINTING)
@pytest.mark.parametrize("family", ["Qwen2.5-VL", "Qwen3-VL"])
def test_gradients_of_an_adapter_in_the_tower_are_the_same(
    family: str, checkpointing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(family, tmp_path)
    stacked = subject.backward(checkpointing, spared=True, freeze_vision=False)
    monkeypatch.setattr("tvt.model.loading.stack_windows", lambda _model: False)
    one_by_one = subject.backward(checkpointing, spared=True, freeze_vision=False)
    assert any("visual" in name and float(gradient.abs().max()) > 0 for name, gradient in stacked.gradients.items())
    assert stacked.farthest(one_by_one) < TOLERANCE


def test_random_windows_are_the_same(folders: Callable[[str], Path]) -> None:
    """Of one token and more, one after the other and not, and none at all between two ends."""
    layer = loaded(folders("Qwen2-VL")).model.visual.blocks[0].attn
    draw = random.Random(0)
    for _ in range(20):
        lengths = [draw.choice([0, 1, 3, 4, 7]) for _ in range(draw.randint(1, 12))] + [2]
        ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        states = torch.randn(3, 1, 2, int(ends[-1]), 8, generator=torch.Generator().manual_seed(draw.randint(0, 99)))
        found, _ = attention._attend(layer, *states, None, cu_seq_lens_q=ends, is_causal=False)
        wanted = [
            torch.nn.functional.scaled_dot_product_attention(*(part[:, :, start:end] for part in states))
            for start, end in pairwise(ends)
            if end > start
        ]
        torch.testing.assert_close(found, torch.cat(wanted, 2).transpose(1, 2))


@pytest.mark.parametrize("family", tiny_families.BUILDERS)
def test_just_the_towers_with_windows_are_changed(family: str, folders: Callable[[str], Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders(family))
    before = {name: module.config._attn_implementation for name, module in model.named_modules() if hasattr(module, "config")}
    assert stack_windows(model) is (family in WINDOWED)
    after = {name: module.config._attn_implementation for name, module in model.named_modules() if hasattr(module, "config")}
    changed = {name for name in after if after[name] != before[name]}
    assert all(name.startswith("model.visual") and after[name] == STACKED for name in changed)
    assert bool(changed) is (family in WINDOWED)
    assert not stack_windows(model)  # once is enough
    assert unstacked(model) is (family in WINDOWED)
    (kind,) = (known.model_type for known in FAMILIES if known.name == family)
    assert windows_at_once(kind) is (True if family in WINDOWED else None)


def test_another_attention_stays_what_it_is(folders: Callable[[str], Path], calls: list[tuple[int, ...]]) -> None:
    model = loaded(folders("Qwen2.5-VL"), attn_implementation="eager")
    assert model.model.visual.config._attn_implementation == "eager"
    seen(model)
    assert calls == []


def test_a_layer_whose_code_is_not_as_expected_stays_as_it_is(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]
) -> None:
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as code

    original = code.Qwen2_5_VLVisionAttention.forward

    def forward(self: Any, *told: Any, **options: Any) -> Any:
        """As an earlier or later transformers may have it: its attention_interface is called otherwise."""
        return original(self, *told, **options)

    monkeypatch.setattr(code.Qwen2_5_VLVisionAttention, "forward", forward)
    model = loaded(folders("Qwen2.5-VL"))
    assert model.model.visual.config._attn_implementation == "sdpa"
    seen(model)
    assert {shape[0] for shape in calls} == {1}


def test_training_and_scoring_stack_alike(tmp_path: Path) -> None:
    from tvt.model.base import load_base, load_model

    config = ModelConfig(model_name_or_path=str(tiny_models.qwen(tmp_path / "model")), dtype="float32")
    trained = load_model(config, sharded=False)
    assert trained.model.visual.config._attn_implementation == STACKED
    assert load_base(config).model.model.visual.config._attn_implementation == STACKED
    assert "tvt" not in trained.config.to_json_string()
    whole = peft.get_peft_model(trained, lora_config(trained, recipe(tmp_path / "model")))
    assert unstacked(whole)
    assert stack_windows(whole)


def doctor_of(folder: Path, **model: Any) -> list[tuple[str, str]]:
    from tvt.study.doctor import tower_checks

    return [(check.status, check.found) for check in tower_checks(recipe(folder, **model))]


def test_doctor_says_which_attention_the_tower_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def model(kind: str) -> Path:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_text(json.dumps({"model_type": kind}))
        return tmp_path / kind

    qwen, llava = model("qwen2_5_vl"), model("llava")
    assert doctor_of(qwen) == [("ok", "its attention: sdpa, windows of equal length stacked into one call")]
    assert doctor_of(llava) == [("ok", "its attention: sdpa, all at once")]
    assert doctor_of(qwen, attn_implementation="flash_attention_2") == [("ok", "its attention: flash_attention_2, all at once")]
    (slow,) = doctor_of(qwen, attn_implementation="eager")
    assert slow == ("warn", "its attention: eager, window by window, which is slow")
    assert doctor_of(tmp_path / "absent") == []
    other = tmp_path / "transformers"
    (other / "models" / "qwen2_5_vl").mkdir(parents=True)
    (other / "models" / "qwen2_5_vl" / "modeling_qwen2_5_vl.py").write_text("lengths = cu_seqlens[1:] - cu_seqlens[:-1]\n")
    monkeypatch.setattr(attention, "find_spec", lambda _name: SimpleNamespace(origin=str(other / "__init__.py")))
    ((status, found),) = doctor_of(qwen)
    assert (status, "window by window" in found, "other code than tvt expects" in found) == ("warn", True, True)
