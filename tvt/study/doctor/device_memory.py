"""Whether a recipe's model and its passes fit into the memory of the GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tvt.core.health import Check, Status
from tvt.core.recipe import Recipe
from tvt.model.memory import USABLE, pass_needs
from tvt.model.shape import ORDINARY_PIXELS, PHOTOGRAPH_PIXELS, PICTURES, shape_of
from tvt.study.views import parameters

_TIGHT = 0.85
"""The share of the memory from which on an estimate may be wrong the other way."""
_LIMIT = f"--set model.max_pixels={ORDINARY_PIXELS}"


def memory_checks(recipe: Recipe, devices: Sequence[dict[str, Any]]) -> Iterator[Check]:
    """The estimate of :mod:`tvt.model.memory` against the smallest GPU, for ordinary pictures and for photographs."""
    shape = shape_of(recipe.model, parameters(recipe.model.model_name_or_path))
    if shape is None or not devices:
        return
    memory = min(float(device["memory"]) for device in devices)
    needs = pass_needs(recipe, shape, ORDINARY_PIXELS)
    tokens = shape.picture_tokens(ORDINARY_PIXELS, recipe.model.max_pixels)
    found = (
        f"weights of about {needs.weights / 1e9:.0f} GB on GPUs of {memory / 1e9:.0f} GB, some {needs.total / 1e9:.0f} GB with "
        f"passes of {recipe.training.per_device_train_batch_size} rows of {PICTURES} pictures of {tokens:,} tokens"
    )
    status: Status = "ok"
    step = ""
    if needs.weights > USABLE * memory:
        status, step = "fail", "--set model.load_in_4bit=true, or ZeRO-3 over several GPUs (recipes/deepspeed/zero3.json)"
    elif needs.total > _TIGHT * memory:
        status, step = "warn", f"if memory runs out, {_less(recipe)}; the result stays the same"
    yield Check(group="recipe", name="memory", status=status, found=found, step=step)
    photographs = pass_needs(recipe, shape, PHOTOGRAPH_PIXELS)
    if status != "fail" and photographs.total > USABLE * memory >= needs.total:
        taken = shape.picture_tokens(PHOTOGRAPH_PIXELS)
        told = f"photographs of 12 megapixels would take {taken:,} tokens each, some {photographs.total / 1e9:.0f} GB in all"
        yield Check(group="recipe", name="pictures", status="warn", found=told, step=f"where yours are large: {_LIMIT}")


def _less(recipe: Recipe) -> str:
    if recipe.training.gradient_checkpointing is False:
        return "set training.gradient_checkpointing=true"
    return "lower training.per_device_train_batch_size"
