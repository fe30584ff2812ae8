"""Training with the frozen-vision cache: the same adapters, byte for byte, from features that are computed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import pyarrow.parquet as pq
import tiny_models
from test_training import MIXED, Values, farthest, recipe, stop_at, weights
from test_training import StopError as Stopped
from test_vision_cache import EXACT, FULL, counted

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, Recipe
from tvt.errors import InputError
from tvt.evaluate.evaluator import Evaluator
from tvt.io.cache import VARIABLE
from tvt.model.vision.cache import VisionSettings
from tvt.train import TrainingRecord, train


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: build(folder / name) for name, build in tiny_models.FAMILIES.items()}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_rows(tmp_path_factory.mktemp("rows") / "mixed", MIXED)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "vision"


def asked(base: Path, vision: str, dtype: str = "float32", training: Values | None = None, **parts: Any) -> Recipe:
    runtime = {"vision_cache": vision, **parts.pop("runtime", {})}
    loading = {"dtype": dtype, **parts.pop("model", {})}
    return recipe(base, {"num_train_epochs": 2, **(training or {})}, model=loading, runtime=runtime, **parts)


@pytest.mark.parametrize(("family", "dtype"), EXACT)
def test_adapters_are_the_same_and_the_tower_runs_once(
    family: str, dtype: str, models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    settings = {"gradient_checkpointing": family in ("llava", "qwen3")}

    def run(name: str, vision: str) -> TrainingRecord:
        return train(asked(models[family], vision, dtype, settings), rows, tmp_path / name, seed=1, note=notes.append)

    off = run("off", "off")
    with counted() as calls:
        cold = run("cold", "exact")
    assert calls
    with counted() as calls:
        warm = run("warm", "exact")
    assert calls == []
    assert cold.adapter_digest == off.adapter_digest
    assert warm.adapter_digest == off.adapter_digest
    assert warm.losses == off.losses
    assert (cold.identity, notes) == (off.identity, [])


def test_lora_dropout_draws_the_same(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    """The probe and the missing passes of the tower leave torch's random state as it is."""
    digests = {
        train(
            asked(models["llava"], vision, lora={"lora_dropout": 0.3}), rows, tmp_path / f"{vision}{turn}", seed=1
        ).adapter_digest
        for turn, vision in enumerate(("off", "exact", "exact"))
    }
    assert len(digests) == 1


def test_interrupted_and_resumed(models: dict[str, Path], rows: Path, tmp_path: Path, cache: Path) -> None:
    """What was computed before the interruption is kept."""
    settings = {"save_steps": 2}
    off = train(asked(models["llava"], "off", training=settings), rows, tmp_path / "off", seed=1)
    recipe_on = asked(models["llava"], "exact", training=settings)
    with pytest.raises(Stopped):
        train(recipe_on, rows, tmp_path / "on", seed=1, progress=stop_at(3))
    assert list(cache.rglob("*.safetensors"))
    with counted() as calls:
        resumed = train(recipe_on, rows, tmp_path / "on", seed=1, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.adapter_digest == off.adapter_digest
    assert calls == []


def test_with_workers_that_load_batches(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    off = train(asked(models["qwen"], "off", "bfloat16"), rows, tmp_path / "off", seed=1)
    for name in ("cold", "warm"):
        with counted() as calls:
            on = asked(models["qwen"], "exact", "bfloat16", runtime={"dataloader_num_workers": 2})
            assert train(on, rows, tmp_path / name, seed=1).adapter_digest == off.adapter_digest
        assert bool(calls) == (name == "cold")


def test_evaluation_takes_what_training_kept(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    for family, dtype in (("llava", "float32"), ("qwen", "bfloat16")):
        used = asked(models[family], "exact", dtype)
        record = train(used, rows, tmp_path / family, seed=1)
        questions = [
            Question(id=str(k), task="Light", prompt="?", options=("a", "b"), answer="A", images=(tiny_models.picture(k),))
            for k, count in enumerate(MIXED)
            if count
        ]
        text = [Question(id="0", task="Text", prompt="?", options=("a", "b"), answer="A", images=())]
        settings = EvaluationConfig(batch_size=used.training.per_device_train_batch_size)
        found = []
        for vision in (VisionSettings(mode="exact"), VisionSettings()):
            evaluator = Evaluator(used.model, settings, tmp_path / f"{family} {vision.mode}", vision=vision)
            evaluator.evaluate([None], {"Text": text})  # loads the model, and lets the probe of this setting run the tower
            with counted() as calls:
                found.append(evaluator.evaluate([None, record.adapter], {"Light": questions}))
            assert bool(calls) == (vision.mode == "off")
        on, off = ([[item.outcome for item in cells["Light"].items] for cells in results] for results in found)
        assert on == off


@pytest.mark.parametrize("family", ["idefics", "qwen"])
def test_where_bits_differ_exact_runs_without_and_rounding_with(
    family: str, models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    off, exact, rounding, again = (
        train(asked(models[family], vision), rows, tmp_path / name, seed=1, note=notes.append)
        for name, vision in {"off": "off", "exact": "exact", "rounding": "rounding", "again": "rounding"}.items()
    )
    assert exact.adapter_digest == off.adapter_digest
    assert rounding.adapter_digest == again.adapter_digest
    assert farthest(weights(rounding), weights(off)) < 1e-3
    assert [note.split(":")[0] for note in notes] == ["vision cache not used", "vision cache", "vision cache"]


def test_a_tower_that_is_trained_is_not_cached(models: dict[str, Path], rows: Path, tmp_path: Path, cache: Path) -> None:
    notes: list[str] = []
    seeing = {"freeze_vision": False}
    off = train(asked(models["llava"], "off", model=seeing), rows, tmp_path / "off", seed=1)
    on = train(asked(models["llava"], "rounding", model=seeing), rows, tmp_path / "on", seed=1, note=notes.append)
    assert on.adapter_digest == off.adapter_digest
    assert notes == ["vision cache not used: the vision tower is trained (model.freeze_vision: false)"]
    assert not cache.exists()


def test_a_tower_that_draws_at_random_is_not_cached(rows: Path, tmp_path: Path) -> None:
    """Dropout within the tower: another image of it at every pass, so that nothing can be kept."""
    model = tiny_models.llava(tmp_path / "model")
    told = json.loads((model / "config.json").read_text())
    told["vision_config"]["attention_dropout"] = 0.5
    (model / "config.json").write_text(json.dumps(told))
    notes: list[str] = []
    off = train(asked(model, "off"), rows, tmp_path / "off", seed=1)
    on = train(asked(model, "rounding"), rows, tmp_path / "on", seed=1, note=notes.append)
    assert on.adapter_digest == off.adapter_digest
    assert "more than rounding" in notes[0]


def test_a_tiny_limit_changes_no_adapter(models: dict[str, Path], rows: Path, tmp_path: Path, cache: Path) -> None:
    off = train(asked(models["llava"], "off"), rows, tmp_path / "off", seed=1)
    for limit in (500, 20_000):
        notes: list[str] = []
        on = asked(models["llava"], "exact", runtime={"vision_cache_gb": limit / 1e9})
        assert train(on, rows, tmp_path / str(limit), seed=1, note=notes.append).adapter_digest == off.adapter_digest
        assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= limit
        assert notes == [FULL]


def test_an_image_that_cannot_be_read_is_named(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    table = pq.read_table(rows / "data" / "train-00000-of-00001.parquet")
    told = table.to_pylist()
    told[3]["images"][0]["bytes"] = told[3]["images"][0]["bytes"][:100]
    broken = tmp_path / "broken" / "data"
    broken.mkdir(parents=True)
    pq.write_table(type(table).from_pylist(told, table.schema), broken / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"row 3 \(Light, id 3\): image 1 cannot be read"):
        train(asked(models["llava"], "exact"), broken.parent, tmp_path / "run", seed=1)
