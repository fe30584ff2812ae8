"""Scores that are no finite numbers name no answer: they are refused with the question and the model, in either mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from safetensors.torch import load_file, save_file

import study_world
import tiny_vlm
from study_world import Tvt, World
from tiny_models import qwen
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import NotFiniteScoreError
from tvt.evaluate.evaluator import Evaluator

SEEN, READ = tiny_vlm.questions("Seen", 3, images=(1,)), tiny_vlm.questions("Read", 3, images=(0,))


@pytest.mark.parametrize("mode", ["options", "generate"])
def test_a_base_model_with_a_nan_is_refused_where_the_nan_is_met(mode: str, tmp_path: Path) -> None:
    folder = qwen(tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    next(tensor for name, tensor in tensors.items() if "visual" in name and "qkv.weight" in name)[0, 0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    model = ModelConfig(model_name_or_path=str(folder), dtype="float32")
    evaluator = Evaluator(model, EvaluationConfig(mode=mode, max_new_tokens=2), tmp_path / "answers")
    (cells,) = evaluator.evaluate([None], {"Read": READ})  # without a picture the tower is not asked
    assert cells["Read"].total == 3
    with pytest.raises(NotFiniteScoreError, match=r"^the base model: Seen, question \S+: the scores are not finite .* float32"):
        evaluator.evaluate([None], {"Seen": SEEN})


def test_a_run_whose_scores_are_not_finite_fails_with_its_reason(tvt: Tvt, world: World, tmp_path: Path) -> None:
    """One step at a rate of 1e30 leaves an adapter whose values are finite and whose products are not."""
    step = {"learning_rate": 1e30, "global_batch_size": 4, "per_device_train_batch_size": 4}
    recipe = study_world.write_recipe(world.folder, "steep.yaml", budget=4, sources=["Alpha"], training=step)
    ran = tvt("study", "run", recipe, "-o", tmp_path / "study", "--workers", "1")
    assert ran.returncode == 6
    assert "done 1/2  base" in ran.stderr
    assert "the only run failed: " in ran.stderr
    (reason,) = (json.loads(path.read_text())["reason"] for path in (tmp_path / "study").glob("runs/*/failure.json"))
    assert "the scores are not finite numbers, in float32" in reason
    assert "/adapter: Alpha, question " in reason
