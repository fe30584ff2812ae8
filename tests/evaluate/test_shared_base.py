"""One loaded base model trains and scores all runs of a worker: results are those of a fresh model, bit for bit."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import peft
import torch
import transformers

import tiny_vlm
from commands import tvt
from study_world import World, write_recipe
from tiny_models import FAMILIES, write_rows
from training_runs import StopError, recipe, stop_at
from tvt.core.events import Done
from tvt.core.recipe import EvaluationConfig, ModelConfig, Recipe
from tvt.errors import InputError, TrainingError
from tvt.evaluate.adapters import attached, check_adapter
from tvt.evaluate.asking import compose
from tvt.evaluate.scorer import RawAnswer, Scorer
from tvt.io.yaml_files import load_recipe
from tvt.model.base import Loaded, load_base
from tvt.study.jobs import make_job
from tvt.study.runner import Runner
from tvt.study.session import open_session
from tvt.train import train

ASKED = tiny_vlm.questions("one", 6, images=(1, 2, 0))
MODES = (EvaluationConfig(batch_size=4), EvaluationConfig(mode="generate", max_new_tokens=4, batch_size=4))
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "4 bits": {"dtype": "bfloat16", "load_in_4bit": True},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: build(folder / name) for name, build in FAMILIES.items()}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows", [1, 0, 2, 1, 1, 0, 3, 1])


@dataclass
class Loads:
    """Counts how often a base model is loaded, by whomever."""

    count: int = 0


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    found, original = Loads(), transformers.AutoModelForImageTextToText.from_pretrained

    def counted(*args: Any, **options: Any) -> Any:
        found.count += 1
        return original(*args, **options)

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", counted)
    return found


def scores(loaded: Loaded, adapter: Path | None = None) -> list[RawAnswer]:
    """What options and generation give for all questions."""
    found = []
    with attached(loaded, check_adapter(adapter) if adapter else None) as model:
        for settings in MODES:
            scorer = Scorer(loaded, settings)
            for batch in compose(ASKED, settings.batch_size):
                found += scorer.score(model, [ASKED[k] for k in batch])
    return found


def asked(base: Path, way: str, **training: Any) -> Recipe:
    return recipe(base, {"gradient_checkpointing": True, **training}, model=WAYS[way])


@pytest.mark.parametrize(("family", "way"), [(f, w) for f in FAMILIES for w in WAYS if w != "4 bits" or f in ("qwen", "llava")])
def test_trained_and_scored_on_one_model_as_on_fresh_ones(
    family: str, way: str, models: dict[str, Path], rows: Path, tmp_path: Path, loads: Loads
) -> None:
    if "load_in_4bit" in WAYS[way]:
        pytest.importorskip("bitsandbytes")
    told = asked(models[family], way)
    shared = Loaded(config=told.model)
    before = scores(shared)
    ours = [train(told, rows, tmp_path / f"shared{seed}", seed=seed, base=shared) for seed in (1, 2)]
    after = [scores(shared), *(scores(shared, record.adapter) for record in ours), scores(shared)]
    assert (loads.count, shared.loads) == (1, 1)
    fresh = [train(told, rows, tmp_path / f"fresh{seed}", seed=seed) for seed in (1, 2)]
    assert [record.adapter_digest for record in ours] == [record.adapter_digest for record in fresh]
    expected = scores(load_base(told.model))
    assert before == after[0] == after[3] == expected, "bit for bit"
    assert after[1:3] == [scores(load_base(told.model), record.adapter) for record in fresh]
    assert expected != after[1] != after[2], "else the adapters would do nothing"


def test_a_second_run_is_that_of_a_process_of_its_own(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    told = asked(models["qwen"], "bfloat16")
    shared = Loaded(config=told.model)
    records = [train(told, rows, tmp_path / f"run{seed}", seed=seed, base=shared) for seed in (1, 2)]
    (tmp_path / "recipe.yaml").write_text(json.dumps(told.model_dump(mode="json")))
    alone = tvt(
        *("train", str(rows), "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "alone"), "--seed", "2", "--json")
    )
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["adapter_digest"] == records[1].adapter_digest


def test_nothing_of_a_run_outlives_it(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    """The optimizer's state and the wrapped model would fill a GPU while the adapter is scored."""
    told = asked(models["llava"], "float32")
    shared = Loaded(config=told.model)
    train(told, rows, tmp_path / "run", seed=1, base=shared)
    left = [kind for kind in map(type, gc.get_objects()) if issubclass(kind, torch.optim.Optimizer | peft.PeftModel)]
    assert left == []
    assert not [weight for weight in shared.model.parameters() if weight.grad is not None]


def test_after_a_failure_the_model_is_loaded_anew(
    models: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    told = asked(models["llava"], "float32")
    shared = Loaded(config=told.model)
    expected = scores(shared)
    with pytest.raises(StopError):
        train(told, rows, tmp_path / "stopped", seed=1, progress=stop_at(1), base=shared)
    assert (scores(shared), shared.loads) == (expected, 2)

    with monkeypatch.context() as patch:

        def no_memory(*args: Any, **options: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        patch.setattr(SFTTrainer, "compute_loss", no_memory)
        with pytest.raises(InputError, match="out of memory; lower training"):
            train(told, rows, tmp_path / "large", seed=1, base=shared)
    assert (scores(shared), shared.loads) == (expected, 3)

    with pytest.raises(TrainingError, match="the loss is"):
        train(asked(models["llava"], "float32", learning_rate=1e30), rows, tmp_path / "wild", seed=1, base=shared)
    with_it = train(told, rows, tmp_path / "run", seed=1, base=shared)
    assert shared.loads == 4
    assert with_it.adapter_digest == train(told, rows, tmp_path / "fresh", seed=1).adapter_digest


def test_a_changed_model_is_loaded_anew_with_a_note(models: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    shared = Loaded(config=ModelConfig(model_name_or_path=str(models["llava"]), dtype="float32"), note=notes.append)
    expected = scores(shared)
    with shared.lent("runs/x"), torch.no_grad():
        next(shared.model.parameters()).add_(1)
    assert notes == ["runs/x: changes weights of the base model itself, which is therefore loaded again before the next one"]
    assert (scores(shared), shared.loads) == (expected, 2)


def test_where_four_bits_are_stored_changes_no_score(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed divides weights that are stored in the model's precision; as octets they were stored for scoring alone."""
    pytest.importorskip("bitsandbytes")
    config = ModelConfig(model_name_or_path=str(models["qwen"]), **WAYS["4 bits"])
    stored = load_base(config)
    original = transformers.BitsAndBytesConfig

    def octets(**options: Any) -> Any:
        return original(**{**options, "bnb_4bit_quant_storage": torch.uint8})

    monkeypatch.setattr(transformers, "BitsAndBytesConfig", octets)
    other = load_base(config)
    kinds = [{str(w.dtype) for w in one.model.parameters() if type(w).__name__ == "Params4bit"} for one in (stored, other)]
    assert kinds == [{"torch.bfloat16"}, {"torch.uint8"}]
    assert scores(stored) == scores(other)


def test_a_worker_loads_the_model_once_for_all_its_runs(world: World, tmp_path: Path, loads: Loads) -> None:
    session = open_session(load_recipe(write_recipe(world.folder, f"{tmp_path.name}.yaml")), tmp_path / "study")
    tasks = session.tasks()
    runner = Runner(job=make_job(session.study, session.store.folder, tasks), note=pytest.fail)
    assert [type(runner.do(task, lambda *where: None)) for task in tasks] == [Done] * 3
    assert [run.run.is_base for run in tasks].count(False) == 2, "else little is shown"
    assert loads.count == 1
