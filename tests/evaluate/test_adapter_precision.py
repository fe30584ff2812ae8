"""In what precision adapters are scored: plain LoRA in the model's, in which training computes it; others as PEFT has them."""

# ruff: noqa: E402
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model

import adapter_kinds
import tiny_vlm
from tvt.core.recipe import ModelConfig
from tvt.evaluate.adapters import attached, check_adapter
from tvt.evaluate.scorer import RawAnswer
from tvt.model.base import Loaded, load_base

BASES = ["llava", "qwen", "4bit"]


@pytest.fixture(scope="module", params=BASES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    if request.param == "4bit":
        pytest.importorskip("bitsandbytes")
    folder = tiny_vlm.save(tmp_path_factory.mktemp("base"), "qwen" if request.param == "qwen" else "llava")
    return load_base(ModelConfig(model_name_or_path=str(folder), dtype="bfloat16", load_in_4bit=request.param == "4bit"))


def adapter(loaded: Loaded, folder: Path, **settings: Any) -> Path:
    """An adapter with weights in float32, all moved at random."""
    torch.manual_seed(1)
    tuned = get_peft_model(load_base(loaded.config).model, LoraConfig(r=4, target_modules=adapter_kinds.LAYERS, **settings))
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float() + torch.randn(weight.shape) * 0.05
    tuned.save_pretrained(folder)
    return folder


def types(model: Any) -> set[Any]:
    return {weight.dtype for name, weight in model.named_parameters() if "lora_" in name}


def plain(loaded: Loaded, folder: Path, **options: Any) -> list[RawAnswer]:
    """The scores on a fresh base model, without tvt's own ways of loading an adapter."""
    fresh = load_base(loaded.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(fresh.model, str(folder), **options)
    if not options.get("autocast_adapter_dtype", True) and loaded.config.load_in_4bit:
        for name, weight in model.named_parameters():  # PEFT leaves them in float32 here
            weight.data = weight.data.to(torch.bfloat16) if "lora_" in name else weight.data
    return adapter_kinds.score(fresh, model.eval())


def scores(outcomes: list[RawAnswer]) -> Any:
    return torch.tensor([outcome.scores for outcome in outcomes])


def test_plain_lora_is_scored_in_the_precision_of_the_model(loaded: Loaded, tmp_path: Path) -> None:
    folder = adapter(loaded, tmp_path / "plain")
    with attached(loaded, check_adapter(folder)) as model:
        assert types(model) == {torch.bfloat16}
        told = adapter_kinds.score(loaded, model)
    assert told == plain(loaded, folder, autocast_adapter_dtype=False)
    in_float32, base = plain(loaded, folder), adapter_kinds.score(loaded, loaded.model)
    apart = (scores(told) - scores(in_float32)).abs().max().item()
    assert apart < 0.1 * (scores(base) - scores(in_float32)).abs().max().item()


def test_a_layer_gives_what_it_gives_in_training(loaded: Loaded, tmp_path: Path) -> None:
    """There its weights are float32, and autocast rounds them for every product; bit for bit the same."""
    folder = adapter(loaded, tmp_path / "plain")
    inputs = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    def outputs(model: Any) -> list[Any]:
        layers = [m for name, m in model.named_modules() if name.endswith(("q_proj", "v_proj")) and hasattr(m, "lora_A")]
        assert len(layers) == 4
        return [layer(inputs) for layer in layers]

    with torch.no_grad():
        with attached(loaded, check_adapter(folder)) as model:
            scored = outputs(model)
        training = PeftModel.from_pretrained(load_base(loaded.config).model, str(folder))
        assert types(training) == {torch.float32}
        with torch.autocast("cpu", torch.bfloat16):
            trained = outputs(training)
    assert all(torch.equal(one, other) for one, other in zip(scored, trained, strict=True))


def test_other_kinds_keep_the_precision_that_peft_gives_them(loaded: Loaded, tmp_path: Path) -> None:
    folder = adapter(loaded, tmp_path / "dora", use_dora=True)
    with attached(loaded, check_adapter(folder)) as model:
        assert types(model) == {torch.float32}
        assert adapter_kinds.score(loaded, model) == plain(loaded, folder)
