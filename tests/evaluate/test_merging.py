"""Merged adapters: the exact weighted sum of what each adds, whatever their order; what cannot be exact is refused."""

# ruff: noqa: E402
from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

import tiny_vlm
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.merging import merge_adapters
from tvt.evaluate.scorer import Scorer
from tvt.io.adapter_file import CONFIG, WEIGHTS, verify_adapter
from tvt.model.base import load_base

OPTIONS = EvaluationConfig(mode="options", batch_size=8)
QUESTIONS = tiny_vlm.questions("one", 8)
MODULES = r".*(language_model|text_model).*\.(q_proj|down_proj)"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("llava"))


def config(model: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(model), dtype="float32")


def adapter(model: Path, folder: Path, seed: int, **settings: Any) -> Path:
    """An adapter with random weights in both factors."""
    torch.manual_seed(seed)
    told = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "target_modules": MODULES, **settings}
    tuned = get_peft_model(AutoModelForImageTextToText.from_pretrained(model), LoraConfig(**told))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
    tuned.save_pretrained(folder)
    return folder


def logits(model: Any, loaded: Any) -> Any:
    scorer = Scorer(loaded, OPTIONS)
    with torch.inference_mode():
        return model(**scorer.prepare(QUESTIONS)).logits[:, -1]


def summed(model: Path, adapters: Mapping[Path, float]) -> Any:
    """Logits of the base model whose very weights got the weighted deltas, as PEFT folds one adapter into them."""
    loaded = load_base(config(model))
    base = {name: weight.clone() for name, weight in loaded.model.named_parameters()}
    total = {name: weight.double() for name, weight in base.items()}
    for folder, weight in adapters.items():
        alone = load_base(config(model))
        folded = PeftModel.from_pretrained(alone.model, str(folder)).merge_and_unload()
        for name, value in folded.named_parameters():
            total[name] += weight * (value.double() - base[name].double())
    with torch.no_grad():
        for name, value in loaded.model.named_parameters():
            value.copy_(total[name])
    return logits(loaded.model, loaded)


def merged_logits(model: Path, folder: Path) -> Any:
    loaded = load_base(config(model))
    return logits(PeftModel.from_pretrained(loaded.model, str(folder)).eval(), loaded)


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_merge_equals_weights_with_the_weighted_deltas(family: str, tmp_path: Path) -> None:
    base = tiny_vlm.save(tmp_path / "base", family)
    parts = {
        adapter(base, tmp_path / "a", 1): 0.5,
        adapter(base, tmp_path / "b", 2, r=2, lora_alpha=6): 0.3,
        adapter(base, tmp_path / "c", 3, r=3, use_rslora=True): 0.2,
    }
    folder = merge_adapters(config(base), parts, tmp_path / "m")
    found, wanted = merged_logits(base, folder), summed(base, parts)
    assert json.loads((folder / CONFIG).read_text())["r"] == 4 + 2 + 3
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    plain = logits((loaded := load_base(config(base))).model, loaded)
    assert (found - plain).abs().max() > 100 * (found - wanted).abs().max(), "the adapters do something"


def test_merge_equals_pefts_own(llava: Path, tmp_path: Path) -> None:
    parts = {adapter(llava, tmp_path / "a", 1): 0.7, adapter(llava, tmp_path / "b", 2): 0.3}
    loaded = load_base(config(llava))
    model = PeftModel.from_pretrained(loaded.model, str(tmp_path / "a"), adapter_name="a")
    model.load_adapter(str(tmp_path / "b"), adapter_name="b")
    model.add_weighted_adapter(["a", "b"], [0.7, 0.3], "both", combination_type="cat")
    model.set_adapter("both")
    theirs = logits(model.eval(), loaded)
    ours = merged_logits(llava, merge_adapters(config(llava), parts, tmp_path / "m"))
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_one_adapter_alone_is_that_adapter(llava: Path, tmp_path: Path) -> None:
    one, other = adapter(llava, tmp_path / "a", 1), adapter(llava, tmp_path / "b", 2)
    folder = merge_adapters(config(llava), {one: 1.0, other: 0.0}, tmp_path / "m")
    evaluator = Evaluator(config(llava), OPTIONS, tmp_path / "e")
    mine, theirs = evaluator.evaluate([one, folder], {"one": QUESTIONS})
    assert [item.outcome for item in mine["one"].items] == [item.outcome for item in theirs["one"].items]
    assert mine["one"].digest == theirs["one"].digest
    assert theirs["one"].asked == 0, "known by its digest, so nothing is asked again"


def test_order_and_names_do_not_matter(llava: Path, tmp_path: Path) -> None:
    one, other = adapter(llava, tmp_path / "a", 1), adapter(llava, tmp_path / "b", 2)
    forward = merge_adapters(config(llava), {one: 0.25, other: 0.75}, tmp_path / "m")
    shutil.copytree(one, tmp_path / "z")
    backward = merge_adapters(config(llava), {other: 0.75, tmp_path / "z": 0.25}, tmp_path / "n")
    assert (forward / WEIGHTS).read_bytes() == (backward / WEIGHTS).read_bytes()
    assert verify_adapter(forward).digest == verify_adapter(backward).digest
    twice = merge_adapters(config(llava), {one: 0.125, tmp_path / "z": 0.125, other: 0.75}, tmp_path / "o")
    assert verify_adapter(twice).digest == verify_adapter(forward).digest, "equal adapters count as one"


def test_half_a_delta_is_linear_in_the_weight(llava: Path, tmp_path: Path) -> None:
    one = adapter(llava, tmp_path / "a", 1)
    folder = merge_adapters(config(llava), {one: 0.5}, tmp_path / "m")
    wanted = summed(llava, {one: 0.5})
    assert torch.allclose(merged_logits(llava, folder), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_dora": True}, "use_dora=true"),
        ({"bias": "lora_only"}, "trains biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "changes the base model itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_plain_lora_is_refused(llava: Path, tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    plain, odd = adapter(llava, tmp_path / "plain", 1), adapter(llava, tmp_path / "odd", 2, **settings)
    with pytest.raises(InputError) as caught:
        merge_adapters(config(llava), {plain: 0.5, odd: 0.5}, tmp_path / "m")
    assert told in str(caught.value)
    assert all(str(odd) in fault and "\n" not in fault for fault in caught.value.faults)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "plain"], "nothing half-made is left"


def test_ranks_and_scales_of_single_layers_are_kept(llava: Path, tmp_path: Path) -> None:
    one = adapter(llava, tmp_path / "a", 1, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 7})
    other = adapter(llava, tmp_path / "b", 2)
    folder = merge_adapters(config(llava), {one: 0.5, other: 0.5}, tmp_path / "m")
    wanted = summed(llava, {one: 0.5, other: 0.5})
    assert torch.allclose(merged_logits(llava, folder), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_other_layers_are_refused(llava: Path, tmp_path: Path) -> None:
    one = adapter(llava, tmp_path / "a", 1)
    other = adapter(llava, tmp_path / "b", 2, target_modules=r".*(language_model|text_model).*\.q_proj")
    with pytest.raises(InputError, match="adapts other layers"):
        merge_adapters(config(llava), {one: 0.5, other: 0.5}, tmp_path / "m")


def test_damage_is_found_before_anything_is_merged(llava: Path, tmp_path: Path) -> None:
    one, other = adapter(llava, tmp_path / "a", 1), adapter(llava, tmp_path / "b", 2)
    tensors = load_file(other / WEIGHTS)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, other / WEIGHTS)
    with pytest.raises(InputError, match="not finite"):
        merge_adapters(config(llava), {one: 0.5, other: 0.5}, tmp_path / "m")


@pytest.mark.parametrize("weights", [(-0.5, 1.5), (float("nan"), 1.0), (0.0, 0.0)])
def test_weights_must_make_sense(llava: Path, tmp_path: Path, weights: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="weight"):
        merge_adapters(config(llava), dict(zip((tmp_path / "a", tmp_path / "b"), weights, strict=True)), tmp_path / "m")


def test_an_existing_folder_is_not_overwritten(llava: Path, tmp_path: Path) -> None:
    one = adapter(llava, tmp_path / "a", 1)
    with pytest.raises(InputError, match="exists already"):
        merge_adapters(config(llava), {one: 0.5}, one)
