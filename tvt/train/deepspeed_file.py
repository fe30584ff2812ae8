"""A DeepSpeed configuration file, held against the recipe: where and how a run happens must not change its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvt.core.recipe import Recipe

AUTO = "auto"
_TOLERANCE = 1e-12
_BETAS, _EPSILON = [0.9, 0.999], 1e-8
"""Of AdamW, as transformers sets them."""


def deepspeed_faults(recipe: Recipe) -> list[str]:
    """What is wrong with the recipe's DeepSpeed file: one line an entry, none where the file fits or none is named.

    Entries that are ``"auto"`` or missing follow the recipe. The others must be what the recipe says: transformers would stop
    at some of them once the model is loaded, and train with the others in silence.
    """
    path = recipe.runtime.deepspeed
    if path is None:
        return []
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path}: cannot be read as a DeepSpeed configuration ({error}); take one of recipes/deepspeed"]
    if not isinstance(given, dict):
        return [f"{path}: is no JSON object; take one of recipes/deepspeed"]
    return [
        f'{path}: {entry} is {json.dumps(value)}, but the recipe {wanted}; write "auto" there, or change one of the two'
        for entry, value, wanted in _mismatches(given, recipe)
    ] + [f"{path}: {fault}" for fault in _foreign_parts(given, recipe)]


def _mismatches(given: Mapping[str, Any], recipe: Recipe) -> Iterator[tuple[str, Any, str]]:
    """Entries that contradict the recipe, with their value and what the recipe says."""
    training, processes = recipe.training, recipe.runtime.num_processes
    expected: dict[str, tuple[Any, str]] = {
        "train_batch_size": (training.global_batch_size, "training.global_batch_size"),
        "train_micro_batch_size_per_gpu": (
            training.per_device_train_batch_size,
            "training.per_device_train_batch_size",
        ),
        "gradient_accumulation_steps": (
            recipe.gradient_accumulation_steps,
            f"gradient accumulation (of training.global_batch_size over {processes} x per_device_train_batch_size)",
        ),
        "gradient_clipping": (training.max_grad_norm, "training.max_grad_norm"),
        "bf16.enabled": (recipe.model.dtype == "bfloat16", f"model.dtype {recipe.model.dtype}, hence bf16.enabled"),
        "fp16.enabled": (recipe.model.dtype == "float16", f"model.dtype {recipe.model.dtype}, hence fp16.enabled"),
        "optimizer.params.lr": (training.learning_rate, "training.learning_rate"),
        "optimizer.params.weight_decay": (training.weight_decay, "training.weight_decay"),
        "optimizer.params.betas": (_BETAS, "betas of AdamW"),
        "optimizer.params.eps": (_EPSILON, "epsilon of AdamW"),
    }
    for entry, (wanted, name) in expected.items():
        value = _entry(given, entry)
        if value not in (None, AUTO) and not _same(value, wanted):
            yield entry, value, f"has {name} {json.dumps(wanted)}"


def _foreign_parts(given: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    """Blocks that would put another optimizer or schedule in the place of the recipe's."""
    optimizer = given.get("optimizer")
    if optimizer is not None:
        kind = optimizer.get("type") if isinstance(optimizer, Mapping) else optimizer
        if kind != "AdamW" or not recipe.training.optim.startswith("adamw_torch"):
            yield (
                f"its optimizer block ({json.dumps(kind)}) would replace the recipe's training.optim "
                f"{recipe.training.optim}; remove the block"
            )
    if given.get("scheduler") is not None:
        yield (
            "its scheduler block would replace the recipe's training.lr_scheduler_type "
            f"{recipe.training.lr_scheduler_type}; remove the block"
        )


def _entry(given: Mapping[str, Any], entry: str) -> Any:
    """The value of a dotted entry; ``None`` where it is missing."""
    value: Any = given
    for name in entry.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(value, int | float):
        return abs(value - wanted) <= _TOLERANCE
    return bool(value == wanted)
