"""Scoring with the frozen-vision cache: the same answers, from features that are computed once."""

# ruff: noqa: E402
from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

import tiny_models
import tiny_vlm
from click.testing import CliRunner

from tvt.cli.evaluate import command
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.data.questions.files import write_parquet
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.loading import Loaded, load_base
from tvt.evaluate.results import CellResult
from tvt.evaluate.scorer import Outcome
from tvt.io.cache import VARIABLE
from tvt.model.vision.cache import VisionSettings, open_cache
from tvt.model.vision.feed import Piece, take_pixels
from tvt.model.vision.picture import decode, undecoded
from tvt.model.vision.probe import Setting

TASKS = {"one": tiny_vlm.questions("one", 6), "mixed": tiny_vlm.questions("mixed", 7, images=(0, 1, 2), options=3)}
TOWERS = ("SiglipVisionModel", "Qwen2_5_VisionTransformerPretrainedModel", "Qwen3VLVisionModel", "Idefics3VisionTransformer")
# Of these, features alone equal those of a batch bit for bit on the CPU; of Qwen in float32 only where sizes are alike.
EXACT = [("llava", "float32"), ("llava", "bfloat16"), ("qwen", "bfloat16"), ("qwen3", "bfloat16"), ("idefics", "bfloat16")]
FULL = "vision cache: no room for more, by its limit (vision_cache_gb) or on its disk; what is new is not kept"
Mode = Literal["off", "exact", "rounding"]


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of vision towers, as often as one of them runs."""
    calls: list[str] = []

    def look(module: Any, *_: Any) -> None:
        if type(module).__name__ in TOWERS:
            calls.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_hook(look)
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny_vlm.save(folder / name, name) for name in tiny_models.FAMILIES}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "vision"


def config(model: Path, dtype: Any = "float32") -> ModelConfig:
    return ModelConfig(model_name_or_path=str(model), dtype=dtype)


def scored(
    model: ModelConfig,
    folder: Path,
    vision: Mode,
    adapters: tuple[Path | None, ...] = (None,),
    notes: list[str] | None = None,
    gigabytes: float = 1.0,
    **settings: Any,
) -> list[dict[str, list[Outcome]]]:
    """Outcomes of all questions, asked anew."""
    evaluator = Evaluator(
        model,
        EvaluationConfig.model_validate({"batch_size": 4, "max_new_tokens": 3, **settings}),
        folder,
        vision=VisionSettings(mode=vision, gigabytes=gigabytes),
        note=(notes if notes is not None else []).append,
    )
    found: list[dict[str, CellResult]] = evaluator.evaluate(adapters, TASKS)
    return [{task: [item.outcome for item in cell.items] for task, cell in cells.items()} for cells in found]


@pytest.mark.parametrize(("family", "dtype"), EXACT)
def test_answers_are_the_same_and_the_tower_runs_once(family: str, dtype: str, models: dict[str, Path], tmp_path: Path) -> None:
    adapter = tiny_vlm.save_adapter(models[family], tmp_path / "adapter", 1)
    model = config(models[family], dtype)
    for mode in ("options", "generate"):
        notes: list[str] = []
        off = scored(model, tmp_path / mode / "off", "off", (None, adapter), mode=mode)
        with counted() as calls:
            cold = scored(model, tmp_path / mode / "cold", "exact", (None, adapter), notes, mode=mode)
        assert bool(calls) == (mode == "options"), "what options mode computed serves generation too"
        with counted() as calls:
            warm = scored(model, tmp_path / mode / "warm", "exact", (None, adapter), notes, mode=mode)
        assert calls == []
        assert cold == off, "bit for bit"
        assert warm == off, "bit for bit"
        assert off[0] != off[1]
        assert notes == []


@pytest.mark.parametrize("family", ["idefics", "qwen", "qwen3"])
def test_where_bits_differ_exact_runs_without_and_rounding_with(
    family: str, models: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    model = config(models[family])
    off = scored(model, tmp_path / "off", "off")
    notes: list[str] = []
    assert scored(model, tmp_path / "exact", "exact", (None,), notes) == off
    assert len(notes) == 1
    assert notes[0].startswith("vision cache not used: alone, images have features that differ by up to ")
    assert not list(cache.rglob("*.safetensors"))
    with counted() as calls:
        scored(model, tmp_path / "again", "exact")
    assert len(calls) == 4, "batches with images: the verdict is remembered"
    rounded = [scored(model, tmp_path / name, "rounding", (None,), notes) for name in ("cold", "warm")]
    assert notes[1].startswith("vision cache: features differ by up to ")
    assert rounded[0] == rounded[1]
    for task, outcomes in rounded[0][0].items():
        for outcome, plain in zip(outcomes, off[0][task], strict=True):
            assert outcome.scores == pytest.approx(plain.scores, abs=1e-4)


def test_adapter_in_the_vision_tower_is_scored_without(models: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    tuned = get_peft_model(
        AutoModelForImageTextToText.from_pretrained(models["llava"]), LoraConfig(target_modules=["q_proj", "fc1"])
    )
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    tuned.save_pretrained(tmp_path / "seeing")
    plain = tiny_vlm.save_adapter(models["llava"], tmp_path / "plain", 1)
    who = (None, tmp_path / "seeing", plain)
    off = scored(config(models["llava"]), tmp_path / "off", "off", who)
    notes: list[str] = []
    assert scored(config(models["llava"]), tmp_path / "exact", "exact", who, notes) == off
    assert notes == [f"{tmp_path / 'seeing'}: vision cache not used: the adapter has layers in the vision tower"]
    assert off[1] != off[0]


def test_damage_changes_no_answer(models: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    model = config(models["llava"])
    off = scored(model, tmp_path / "off", "exact")
    (shard,) = cache.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    for place in range(len(content) // 2, len(content), 3000):
        content[place] ^= 1
    shard.write_bytes(bytes(content))
    with counted() as calls:
        assert scored(model, tmp_path / "damaged", "exact") == off
    assert calls, "what was damaged is computed anew"
    with counted() as calls:
        assert scored(model, tmp_path / "mended", "exact") == off
    assert calls == []


def test_tiny_limit_is_never_exceeded_and_changes_no_answer(models: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    model = config(models["llava"])
    off = scored(model, tmp_path / "off", "off")
    for limit in (100, 6000, 30_000):
        notes: list[str] = []
        assert scored(model, tmp_path / str(limit), "exact", (None,), notes, gigabytes=limit / 1e9) == off
        assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= limit
        assert notes == [FULL]


def test_a_disk_that_is_full_or_not_writable_changes_no_answer(models: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    model = config(models["llava"])
    off = scored(model, tmp_path / "off", "off")
    loaded = load_base(model)
    setting = Setting(name="scoring", batch=4, enter=torch.inference_mode)
    notes: list[str] = []
    kept = open_cache(loaded.model, loaded.processor, VisionSettings(mode="exact"), setting, notes.append)
    assert kept is not None
    piece = Piece(key="0" * 64, content=tiny_vlm.picture(1))
    first = kept.encoder_outputs([piece])["image"].pooler_output[0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        kept.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert notes == [FULL]
    assert torch.equal(kept.encoder_outputs([piece])["image"].pooler_output[0], first)
    shutil.rmtree(cache)
    assert torch.equal(kept.encoder_outputs([piece])["image"].pooler_output[0], first), "somebody emptied the folder"
    cache.write_text("in the way")
    assert scored(model, tmp_path / "on", "exact", (None,), notes) == off
    assert notes[1:] == [f"vision cache not used: {cache} cannot be written (File exists)"]


def test_another_model_processor_or_precision_is_another_namespace(
    models: dict[str, Path], tmp_path: Path, cache: Path
) -> None:
    def spaces() -> int:
        return len(list(cache.glob("*/*.safetensors")))

    def changed(name: str, file: str, **values: Any) -> Path:
        folder = tiny_vlm.save(tmp_path / name)
        path = folder / file
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, **{key: {**told[key], **value} for key, value in values.items()}}))
        return folder

    first = scored(config(models["llava"]), tmp_path / "e1", "exact")
    assert scored(config(tiny_vlm.save(tmp_path / "copy")), tmp_path / "e2", "exact") == first
    assert spaces() == 1, "the same model elsewhere"
    mean = {"image_mean": [0.4, 0.5, 0.5]}
    others = [
        config(models["llava"], "bfloat16"),
        config(changed("processor", "processor_config.json", image_processor=mean)),
        config(changed("settings", "config.json", vision_config={"layer_norm_eps": 1e-3})),
        config(other_weights(tmp_path / "weights")),
    ]
    for count, model in enumerate(others, 2):
        off = scored(model, tmp_path / f"off{count}", "off")
        assert scored(model, tmp_path / f"on{count}", "exact") == off
        assert spaces() == count


def other_weights(folder: Path) -> Path:
    """The tiny LLaVA with one weight of the vision tower changed."""
    from safetensors.torch import load_file, save_file

    path = tiny_vlm.save(folder) / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "vision" in name and "fc1.weight" in name)
    tensors[name][0, 0] += 0.5
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_batch_is_the_same_but_for_its_pixels(family: str, models: dict[str, Path]) -> None:
    loaded: Loaded = load_base(config(models[family], "bfloat16"))
    setting = Setting(name="scoring", batch=4, enter=torch.inference_mode)
    cache = open_cache(loaded.model, loaded.processor, VisionSettings(mode="exact"), setting, pytest.fail)
    assert cache is not None
    marks = {"llava": "<image>", "idefics": "<image>"}
    mark = marks.get(family, "<|vision_start|><|image_pad|><|vision_end|>")
    images = [[tiny_vlm.picture(1)], [], [tiny_vlm.picture(2, 84), tiny_vlm.picture(1)]]
    text = [f"{mark * len(shown)}which?" for shown in images]
    opened: list[bytes] = []

    def later(content: bytes) -> Any:
        def open_it() -> Any:
            opened.append(content)
            return decode(content)

        return undecoded(content, open_it)

    plain = loaded.processor(
        text=text, images=[[decode(content) for content in shown] for shown in images], padding=True, return_tensors="pt"
    )
    take_pixels(plain)
    for turn in range(2):
        opened.clear()
        with cache.feed.standing_in(loaded.processor) as stand_in:
            batch = loaded.processor(
                text=text, images=[[later(content) for content in shown] for shown in images], padding=True, return_tensors="pt"
            )
        take_pixels(batch)
        assert batch.keys() == plain.keys()
        assert all(torch.equal(batch[name], plain[name]) and batch[name].dtype == plain[name].dtype for name in plain)
        assert stand_in.pieces is not None
        assert [piece.content for piece in stand_in.pieces] == [content for shown in images for content in shown]
        assert [piece.inputs is None for piece in stand_in.pieces] == [turn == 1] * 3
        # Idefics needs the images themselves to write their rows and columns.
        assert bool(opened) == (turn == 0 or family == "idefics")
        cache.encoder_outputs(stand_in.pieces)


def test_a_model_that_takes_no_features_runs_without(models: dict[str, Path]) -> None:
    loaded = load_base(config(models["llava"]))
    loaded.model.config.model_type = "unheard-of"
    notes: list[str] = []
    setting = Setting(name="scoring", batch=4, enter=torch.inference_mode)
    assert open_cache(loaded.model, loaded.processor, VisionSettings(mode="exact"), setting, notes.append) is None
    assert notes == [
        "vision cache not used: it is not known how a model of the type 'unheard-of' takes features in place of images"
    ]


def test_the_command(models: dict[str, Path], tmp_path: Path, cache: Path) -> None:
    asked = [replace(question, task="one") for question in TASKS["one"]]
    write_parquet(asked, tmp_path / "one.parquet")
    told = []
    for name, options in {"off": [], "on": ["--vision-cache", "exact", "--vision-cache-gb", "0.5"]}.items():
        fixed = ["--model", str(models["llava"]), "--dtype", "float32", "--questions", f"one={tmp_path / 'one.parquet'}"]
        result = CliRunner().invoke(command, [*fixed, *options, "--json", "-o", str(tmp_path / name)], catch_exceptions=False)
        assert result.exit_code == 0
        told.append(json.loads(result.stdout))
    assert told[0] == told[1]
    assert list(cache.rglob("*.safetensors"))
