"""What reaches the vision tower of a tiny model of each family in a backward pass, and the gradients of its adapter.

``python tower_gradients.py FAMILY...`` prints them as JSON, for a process with another environment.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch

import tiny_families
import tiny_models
from tvt.core.recipe import ModelConfig, Recipe
from tvt.model.base import load_model
from tvt.model.loading import load_processor
from tvt.train.batches import Collator
from tvt.train.parts import lora_config, spare_frozen_parts
from tvt.train.rows import Examples, load_rows

TOWER = re.compile(r"(visual|vision)")
CHECKPOINTING: dict[str, dict[str, Any] | None] = {
    "none": None,
    "reentrant": {"use_reentrant": True},
    "not reentrant": {"use_reentrant": False},
}


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A forward and a backward pass."""

    reached: int
    """Outputs of layers of the vision tower that the backward pass reached."""
    gradients: dict[str, Any]
    """Of every weight that is trained."""

    def same_gradients(self, other: Pass) -> bool:
        """Whether all gradients are there, and the same, bit for bit."""
        return self.farthest(other) == 0

    def farthest(self, other: Pass) -> float:
        """The largest difference between gradients; infinite where one is missing."""
        if self.gradients.keys() != other.gradients.keys() or any(
            gradient is None for gradient in (*self.gradients.values(), *other.gradients.values())
        ):
            return float("inf")
        return max(float((one - other.gradients[name]).abs().max()) for name, one in self.gradients.items())


class Subject:
    """A tiny model of a family, and a batch of two rows with three pictures."""

    def __init__(self, family: str, folder: Path) -> None:
        self.model = tiny_families.build(family, folder / "model")
        config = ModelConfig(model_name_or_path=str(self.model), dtype="float32")
        rows = tiny_models.write_rows(folder / "rows", [1, 2])
        examples = Examples(load_rows(rows, folder / "cache"), rows)
        self.batch = Collator(load_processor(config), picture_always=False)(examples.__getitems__([0, 1]))

    def backward(self, checkpointing: str, *, spared: bool, where: str | None = None, **model: Any) -> Pass:
        """Pass through a fresh adapter, prepared in the order in which TRL and transformers do it.

        Args:
            checkpointing: a name in :data:`CHECKPOINTING`.
            spared: whether gradients stay out of parts in which nothing is trained.
            where: ``lora.lora_target_modules``; default: the language model.
            model: more of the recipe's ``model``.
        """
        settings = recipe(self.model, where, **model)
        base = load_model(settings.model, sharded=False)
        adapter = lora_config(base, settings)
        if spared:
            spare_frozen_parts(base, adapter.target_modules)
        torch.manual_seed(0)
        whole: Any = peft.get_peft_model(base, adapter)
        for name, weight in whole.named_parameters():
            if "lora_B" in name:  # they start at zero, and would let no gradient into the rest
                torch.nn.init.normal_(weight, std=0.1)
        if (options := CHECKPOINTING[checkpointing]) is not None:
            whole.enable_input_require_grads()
            whole.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
        reached: list[str] = []
        watch(whole, reached)
        whole.train()(**self.batch).loss.backward()
        gradients = {name: weight.grad for name, weight in whole.named_parameters() if weight.requires_grad}
        return Pass(reached=len(reached), gradients=gradients)


def recipe(model: Path, where: str | None = None, **loading: Any) -> Recipe:
    """A recipe on a tiny model, with an adapter of rank 2."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "sources": ["Light"],
            "targets": ["Light"],
            "model": {"model_name_or_path": str(model), "dtype": "float32", **loading},
            "lora": {"lora_r": 2, "lora_alpha": 4, "lora_target_modules": where},
        }
    )


def watch(model: Any, reached: list[str]) -> None:
    """From now on, name each layer of the vision tower whose output a backward pass reaches."""

    def watched(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.register_hook(lambda _gradient: reached.append(name))

        return hook

    layers = [
        (name, module)
        for name, module in model.named_modules()
        if TOWER.search(name) and isinstance(module, torch.nn.Linear | torch.nn.LayerNorm)
    ]
    assert layers
    for name, module in layers:
        module.register_forward_hook(watched(name))


def compared(family: str, folder: Path) -> dict[str, dict[str, Any]]:
    """For each way of checkpointing: layers reached before and after, and whether the gradients are the same."""
    subject = Subject(family, folder)
    found = {}
    for name in CHECKPOINTING:
        before, after = (subject.backward(name, spared=spared) for spared in (False, True))
        found[name] = {"before": before.reached, "after": after.reached, "same": after.same_gradients(before)}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        told = {family: compared(family, Path(place) / f"family-{k}") for k, family in enumerate(sys.argv[1:])}
    print(json.dumps(told))
