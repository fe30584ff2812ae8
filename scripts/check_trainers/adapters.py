"""Adapters across: what a trainer saved is scored by ``tvt evaluate``, and what tvt saved opens where the trainer is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from check_trainers.environment import INSIDE, Environment

RECIPE = {
    "name": "check-trainers",
    "lora": {"lora_r": 8, "lora_alpha": 16},
    "training": {"learning_rate": 0.01, "num_train_epochs": 1, "global_batch_size": 8, "per_device_train_batch_size": 4},
}
FEW = 4
"""Rows of tvt's own adapter."""


def train_with_tvt(mixture: Path, data: dict[str, Path], model: Path, folder: Path) -> Path:
    """An adapter of tvt's own, trained on a few rows of the first source."""
    from tvt import mix, train
    from tvt.core.recipe import Recipe
    from tvt.io.yaml_files import load_mixture

    base = {"model_name_or_path": str(model), "dtype": "float32"}
    recipe = Recipe.model_validate({**RECIPE, "model": base, "sources": ["x"], "targets": ["x"]})
    (first, path), *_ = data.items()
    few = {"counts": {first: FEW}, "weights": {first: 1.0}, "budget": FEW}
    mixed = mix(load_mixture(mixture).model_copy(update=few), folder / "mixed", {first: path}).folder
    train(mixed, recipe, folder / "run")
    (found,) = {path.parent for path in folder.rglob("adapter_config.json") if "checkpoint" not in str(path)}
    return found


def score_with_tvt(adapter: Path, model: Path, questions: Path, folder: Path) -> str:
    """Score a trainer's adapter beside the base; returns what is wrong, or nothing."""
    from click.testing import CliRunner

    from tvt.cli.main import cli

    asked = ["--model", str(model), "--questions", f"Counting={questions}", "--limit", "4", "--dtype", "float32"]
    given = ["evaluate", str(adapter), *asked, "-o", str(folder), "--json"]
    done = CliRunner().invoke(cli, given)
    if done.exit_code:
        return f"tvt evaluate does not score it: {done.exception or done.output[-300:]}"
    document: dict[str, Any] = json.loads(done.stdout)
    return "" if str(adapter) in json.dumps(document, ensure_ascii=False) else "tvt evaluate does not name it"


def open_elsewhere(environment: Environment, adapter: Path, model: Path, log: Path) -> str:
    """Open tvt's adapter with the PEFT and transformers of a trainer; returns what is wrong, or nothing."""
    environment.run(["python", str(INSIDE / "open_adapter.py"), str(model), str(adapter)], adapter, log)
    moved = re.findall(r"moved (\S+)", log.read_text(errors="replace"))
    return "" if moved and float(moved[-1]) > 0 else "tvt's adapter opens, and changes nothing"


def merge_with_llamafactory(environment: Environment, adapter: Path, model: Path, folder: Path, log: Path) -> str:
    """Merge tvt's adapter with LLaMA-Factory's export; returns what is wrong, or nothing."""
    folder.mkdir()
    settings = {
        "model_name_or_path": str(model),
        "adapter_name_or_path": str(adapter),
        "template": "qwen2_vl",
        "export_dir": str(folder / "merged"),
        "export_device": "cpu",
    }
    (folder / "merge.yaml").write_text(json.dumps(settings))
    environment.run(["llamafactory-cli", "export", "merge.yaml"], folder, log)
    return "" if list((folder / "merged").glob("*.safetensors")) else "llamafactory-cli export wrote no weights"
