"""Recipes of small training runs, and how their adapters are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tvt.core.recipe import Recipe
from tvt.io.adapter_file import WEIGHTS
from tvt.train import TrainingProgress, TrainingRecord

Values = dict[str, Any]


def recipe(base: Path, training: Values | None = None, **parts: Values) -> Recipe:
    given = {"learning_rate": 5e-3, "global_batch_size": 4, "per_device_train_batch_size": 4, "logging_steps": 1}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "sources": ["Light"],
            "targets": ["Light"],
            "model": {"model_name_or_path": str(base), "dtype": "float32", **parts.pop("model", {})},
            "training": {**given, "gradient_checkpointing": False, **(training or {})},
            **parts,
        }
    )


def weights(record: TrainingRecord) -> dict[str, Any]:
    return dict(load_file(record.adapter / WEIGHTS))


def farthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


class StopError(Exception):
    pass


def stop_at(step: int) -> Any:
    def progress(told: TrainingProgress) -> None:
        if told.step == step:
            raise StopError

    return progress
