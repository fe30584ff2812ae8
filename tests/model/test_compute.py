"""How much models compute, by their config.json, against what torch counts in a forward pass of the real code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

import tiny_families
import tiny_vlm
from published_models import CONFIGS, TOWER
from tvt.core.recipe import ModelConfig
from tvt.model.chat import Chat
from tvt.model.inputs import prompt_inputs
from tvt.model.loading import load_processor, load_weights
from tvt.model.needs import Shape, forward, read_shape, text_forward, tower_forward, usual_shape
from tvt.model.picture import decode

_PUBLISHED = CONFIGS["Qwen/Qwen2.5-VL-7B-Instruct"]
QWEN_7B = {
    "model_type": "qwen2_5_vl",
    "text_config": {name: value for name, value in _PUBLISHED.items() if name not in ("model_type", "vision_config")},
    "vision_config": {"model_type": "qwen2_5_vl", **TOWER, "out_hidden_size": 3584},
}


def shape(config: dict[str, Any]) -> Shape:
    found = read_shape(config)
    assert found is not None
    assert found.known
    return found


def counted(call: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def test_qwen_7b_is_counted_as_torch_counts_it() -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    tokens = 700
    with torch.device("meta"):
        model = Qwen2_5_VLModel(Qwen2_5_VLConfig(**QWEN_7B))
        found = counted(lambda: model.language_model(inputs_embeds=torch.empty(1, tokens, 3584), use_cache=False))
    of = shape(QWEN_7B)
    assert of.vision is not None
    # torch counts the half of attention that a causal mask hides, too
    assert forward(of.text, tokens, tokens) == pytest.approx(found, rel=0.01)
    assert text_forward(of, tokens) == pytest.approx(found, rel=0.03)
    linear = sum(m.weight.numel() for m in model.language_model.modules() if isinstance(m, torch.nn.Linear))
    assert of.text.weights == of.text.passed == linear
    tower = sum(m.weight.numel() for m in model.visual.blocks.modules() if isinstance(m, torch.nn.Linear))
    assert of.vision.weights == tower
    assert of.picture_tokens(28 * 28 * 600) == 600
    assert of.text.adapter == sum(
        m.in_features + m.out_features for m in model.language_model.modules() if isinstance(m, torch.nn.Linear)
    )
    rest = sum(p.numel() for p in model.parameters()) - of.text.weights - of.vision.weights
    assert of.embeddings == pytest.approx(rest + 152064 * 3584, rel=0.01), "the model has no head"


@pytest.mark.parametrize(
    "family", ["Qwen2.5-VL", "Qwen3-VL", "GLM-4V", "InternVL", "LLaVA", "LLaVA-NeXT", "Idefics3", "Gemma3"]
)
def test_tiny_models_are_counted_within_a_quarter(family: str, tmp_path: Path) -> None:
    """Embeddings of patches, projectors and output layers are left out, which are large in models of two narrow layers."""
    folder = tiny_families.build(family, tmp_path / "model")
    config = ModelConfig(model_name_or_path=str(folder), dtype="float32", attn_implementation="eager")
    processor, model = load_processor(config), load_weights(config, device="cpu")
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which? " * 20}]}]
    inputs = prompt_inputs(processor, [Chat(processor).prompt(asked).text], [[decode(tiny_vlm.picture(0, 112, 112))]])
    found = counted(lambda: model(**inputs, logits_to_keep=1, use_cache=False))
    of = shape(json.loads((folder / "config.json").read_text()))
    tokens = inputs["input_ids"].shape[1]
    assert forward(of.text, tokens, tokens) + tower_forward(of, 112 * 112) == pytest.approx(found, rel=0.25)


@pytest.mark.parametrize("family", list(tiny_families.BUILDERS))
def test_weights_of_every_family_of_the_table_are_those_of_its_code(family: str, tmp_path: Path) -> None:
    """Linear layers of language model and tower; Qwen3.5 and LFM2 have layers without attention, which are guessed."""
    folder = tiny_families.build(family, tmp_path / "model")
    of = shape(json.loads((folder / "config.json").read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    found = {"text": 0, "tower": 0}
    for name, module in model.named_modules():
        tower = re.search(r"visi|visual", name) is not None
        if isinstance(module, torch.nn.Linear) and re.search(r"\.(layers?|blocks)\.", name) and "perceiver" not in name:
            found["tower" if tower else "text"] += module.weight.numel()
    assert of.vision is not None
    assert of.vision.weights == found["tower"]
    assert of.text.weights == pytest.approx(found["text"], rel=0.16 if family in ("Qwen3.5", "LFM2-VL") else 0)
    assert of.picture_tokens(56 * 56) > 0


def test_a_model_of_which_a_name_is_known_alone() -> None:
    """Guessed by its billions, Qwen2.5-VL 7B comes out as its config.json says it."""
    guess, real = usual_shape(7.0), shape(QWEN_7B)
    assert text_forward(guess, 700) == pytest.approx(text_forward(real, 700), rel=0.05)
    assert tower_forward(guess, 490_000) == pytest.approx(tower_forward(real, 490_000), rel=0.05)
    assert guess.text.adapter == pytest.approx(real.text.adapter, rel=0.1)
    assert read_shape({"model_type": "x"}) is None
    assert read_shape({"text_config": 5, "vision_config": {"patch_size": "a"}}) is None
