"""Updates of LoRA adapters read with numpy are those that PEFT computes; what is no plain LoRA is refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_weights import Tensors, write_weights
from tvt.errors import InputError
from tvt.io.adapter_file import CONFIG, WEIGHTS
from tvt.io.lora_file import open_lora
from tvt.transfer.adapter_similarity import adapter_similarity

NAME = "base_model.model.{}.lora_{}.weight"
PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "bias": "none", "target_modules": ["q"]}


def tensors(dtype: str = "float32", modules: tuple[str, ...] = ("layers.0.q",), rank: int = 2) -> Tensors:
    """Small whole numbers, which every format holds exactly."""
    found: Tensors = {}
    for k, module in enumerate(modules):
        a = np.arange(rank * 3, dtype=dtype).reshape(rank, 3) - k
        b = np.arange(4 * rank, dtype=dtype).reshape(4, rank) * -0.5
        found |= {NAME.format(module, "A"): a, NAME.format(module, "B"): b.astype(dtype)}
    return found


def write(folder: Path, what: Tensors, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_weights(folder / WEIGHTS, what)
    (folder / CONFIG).write_text(json.dumps({**PLAIN, **config}))
    return folder


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits of a bfloat16: the upper half of a float32."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_float_type_is_read(tmp_path: Path, dtype: str) -> None:
    wanted = tensors()
    stored = {k: bfloat16(v) if dtype == "bfloat16" else v.astype(dtype) for k, v in wanted.items()}
    file = open_lora(write(tmp_path / "adapter", stored))
    assert file.modules == ("layers.0.q",)
    found = file.read("layers.0.q")
    assert found is not None
    assert found.a.dtype == found.b.dtype == np.float64
    assert found.a.tolist() == wanted[NAME.format("layers.0.q", "A")].tolist()
    assert found.b.tolist() == wanted[NAME.format("layers.0.q", "B")].tolist()
    assert found.scale == 3
    assert file.read("layers.1.q") is None


def test_bfloat16_of_torch_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder = write(tmp_path / "adapter", tensors())
    torch.manual_seed(0)
    a, b = torch.randn(2, 3).bfloat16(), torch.randn(4, 2).bfloat16()
    save_file({NAME.format("q", "A"): a, NAME.format("q", "B"): b}, folder / WEIGHTS)
    found = open_lora(folder).read("q")
    assert found is not None
    assert found.a.tolist() == a.double().tolist()
    assert found.b.tolist() == b.double().tolist()


@pytest.mark.parametrize("rslora", [False, True])
def test_updates_are_those_of_peft(tmp_path: Path, rslora: bool) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            sizes = {"q_proj": 5, "up_proj": 7}
            layers = [{name: torch.nn.Linear(6, size) for name, size in sizes.items()} for _ in range(2)]
            self.layers = torch.nn.ModuleList([torch.nn.ModuleDict(layer) for layer in layers])

    patterns = {"rank_pattern": {"up_proj": 2, r"layers\.1\.q_proj": 4}, "alpha_pattern": {"0.q_proj": 5, "up_.*": 9}}
    config = peft.LoraConfig(r=3, lora_alpha=7, use_rslora=rslora, target_modules=["q_proj", "up_proj"], **patterns)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(Model(), config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    tuned.save_pretrained(tmp_path / "adapter")
    file = open_lora(tmp_path / "adapter")
    layers = {name: layer for name, layer in tuned.base_model.model.named_modules() if hasattr(layer, "get_delta_weight")}
    assert set(file.modules) == set(layers)
    for name, layer in layers.items():
        found = file.read(name)
        assert found is not None
        assert found.scale * found.b @ found.a == pytest.approx(layer.get_delta_weight("default").detach().numpy(), abs=1e-6)
    ranks = {name: len(found.a) for name in file.modules if (found := file.read(name)) is not None}
    assert ranks == {"layers.0.q_proj": 3, "layers.1.q_proj": 4, "layers.0.up_proj": 2, "layers.1.up_proj": 2}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "is a DoRA adapter (use_dora=true); only plain LoRA adapters can be compared or merged"),
        ({"modules_to_save": ["lm_head"]}, 'trains whole modules beside the LoRA ones (modules_to_save=["lm_head"])'),
        ({"peft_type": "IA3"}, "is a IA3 adapter"),
        ({"bias": "all"}, "trains biases (bias=all)"),
        ({"init_lora_weights": "pissa"}, "changes the base model itself (init_lora_weights=pissa)"),
        ({"layer_replication": [[0, 2]]}, "is no plain LoRA (layer_replication=[[0, 2]])"),
        ({"a_field_of_next_year": True}, "is no plain LoRA (a_field_of_next_year=true)"),
        ({"r": 3}, "says rank 3 of layers.0.q, whose matrices have 2"),
        ({"rank_pattern": {"q": 4}}, "says rank 4 of layers.0.q"),
        ({"r": None}, "r, lora_alpha or their patterns are damaged"),
        ({"alpha_pattern": {"(": 4}}, "r, lora_alpha or their patterns are damaged"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        open_lora(write(tmp_path / "adapter", tensors(), **config))
    (fault,) = error.value.faults
    assert str(tmp_path / "adapter") in fault
    assert said in fault


def test_every_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        open_lora(write(tmp_path / "adapter", tensors(), use_dora=True, bias="all"))
    assert len(error.value.faults) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base_model.model.embed.lora_embedding_A": np.ones((2, 3), np.float32)}, r"1 of 3 tensors are no LoRA matrices"),
        ({NAME.format("conv", "A"): np.ones((2, 3, 1), np.float32)}, r"1 of 3 tensors are no LoRA matrices"),
        ({NAME.format("layers.1.q", "A"): np.ones((2, 3), np.float32)}, "layers.1.q: lora_B is missing"),
        ({NAME.format("layers.0.q", "B"): np.ones((4, 3), np.float32)}, "layers.0.q: lora_A has rank 2 and lora_B 3"),
    ],
)
def test_tensors_that_are_no_pairs_are_refused(tmp_path: Path, changed: Tensors, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_lora(write(tmp_path / "adapter", {**tensors(), **changed}))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tensor"):
        open_lora(write(tmp_path / "adapter", {}))


def test_modules_without_any_pattern_have_the_common_rank(tmp_path: Path) -> None:
    what = tensors(modules=("layers.0.q", "layers.10.q"))
    file = open_lora(write(tmp_path / "adapter", what, alpha_pattern={"layers.0.q": 2}))
    assert dict(file.scales) == {"layers.0.q": 1.0, "layers.10.q": 3.0}


def test_memory_does_not_grow_with_the_adapters(tmp_path: Path) -> None:
    """Ten times the modules, which are ten times the bytes on the disk, take no more at once."""
    rng = np.random.default_rng(0)

    def peak(modules: int) -> int:
        names = [f"layers.{k}.q" for k in range(modules)]
        shapes = {NAME.format(name, half): (2, 4000) if half == "A" else (4000, 2) for name in names for half in "AB"}
        files = []
        for k in range(3):
            what = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
            files.append(open_lora(write(tmp_path / f"{modules}-{k}", what)))
        tracemalloc.start()
        try:
            streamed = ((name, [file.read(name) for file in files]) for name in files[0].modules)
            adapter_similarity([(f"T{k}", "seed_0") for k in range(3)], streamed)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40) < 1.5 * peak(4)
