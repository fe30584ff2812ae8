"""How much memory training and scoring take on a device, estimated from a model's shape: nothing is loaded.

An estimate, not a measurement: no GPU was at hand when it was written. It counts what is known to be large, layer by layer from
the code of transformers, PEFT and TRL, and leaves a margin (:data:`MARGIN`, :data:`FIXED`) for what is not:

* weights: linear layers in 4 bits or in the model's precision, embeddings and head in its precision;
* the adapter in float32, with its gradient and Adam's two moments;
* activations of the language model, for each token and layer: inputs of the norms in float32, an own copy of its input for each
  linear layer with an adapter, query, key, value and what the MLP multiplies. With gradient checkpointing the input of each
  layer, and one layer whole;
* the vision tower: of a frozen one a layer at a time, since nothing of it is kept;
* no logits: TRL's fused head builds none, and scoring asks for those of the last token.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tvt.core.recipe import ModelConfig, Recipe
from tvt.model.shape import PICTURES, TEXT_TOKENS, Shape, Stack

WIDTHS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""Bytes of a value."""
FOUR_BITS = 0.52
"""Bytes of a weight in nf4, with its scales quantised too."""
MARGIN, FIXED = 1.2, 1.5e9
"""Activations are taken so many times for fragments and short-lived tensors, and so many bytes for CUDA and its libraries."""
USABLE = 0.9
"""The share of a device's memory within which an estimate must stay."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes on one device."""

    weights: float
    adapter: float
    activations: float

    @property
    def total(self) -> float:
        """With the margin."""
        return self.weights + self.adapter + MARGIN * self.activations + FIXED


def training_needs(
    shape: Shape, recipe: Recipe, tokens: float, patches: float, *, checkpointing: bool, divided: int = 1
) -> Needs:
    """What a forward and backward pass takes.

    Args:
        shape: of the model.
        recipe: precision, adapter and whether the vision tower is trained.
        tokens: of all rows of one pass on the device, padding included.
        patches: of their pictures in the vision tower.
        checkpointing: whether activations are computed a second time.
        divided: over how many processes the weights are divided, under ZeRO-3.
    """
    width = WIDTHS[recipe.model.dtype]
    text, vision = shape.text, shape.vision
    activations = tokens * _kept(text, width, checkpointing=checkpointing)
    stacks = [text]
    if vision is not None:
        trained = not recipe.model.freeze_vision
        activations += patches * (_kept(vision, width, checkpointing=checkpointing) if trained else _passing(vision, width))
        stacks += [vision] * trained
    adapter = 16.0 * recipe.lora.lora_r * sum(stack.adapter for stack in stacks)
    return Needs(weights=weights_bytes(shape, recipe.model) / divided, adapter=adapter, activations=activations)


def pass_needs(
    recipe: Recipe, shape: Shape, pixels: float, *, pictures: float = PICTURES, checkpointing: bool | None = None
) -> Needs:
    """What a training pass takes if every row has so many pictures of so many pixels, before ``model.max_pixels``.

    Gradient checkpointing is on unless the recipe or ``checkpointing`` says no, since it is turned on where memory needs it.
    """
    rows = recipe.training.per_device_train_batch_size
    tokens = pictures * shape.picture_tokens(pixels, recipe.model.max_pixels)
    return training_needs(
        shape,
        recipe,
        rows * (TEXT_TOKENS + tokens),
        rows * tokens * shape.merged,
        checkpointing=recipe.training.gradient_checkpointing is not False if checkpointing is None else checkpointing,
        divided=recipe.runtime.num_processes if _stage(recipe) == 3 else 1,
    )


def expected_checkpointing(recipe: Recipe, shape: Shape, memory: float, pixels: float, pictures: float = PICTURES) -> bool:
    """Whether activations will be computed twice: as the recipe says, else where such rows do not fit into ``memory`` bytes."""
    asked = recipe.training.gradient_checkpointing
    if asked is not None:
        return asked
    return _stage(recipe) == 3 or (
        pass_needs(recipe, shape, pixels, pictures=pictures, checkpointing=False).total > USABLE * memory
    )


def scoring_needs(shape: Shape, model: ModelConfig, tokens: float, patches: float) -> Needs:
    """What scoring takes; see :func:`training_needs`."""
    width = WIDTHS[model.dtype]
    passing = tokens * _passing(shape.text, width) + (patches * _passing(shape.vision, width) if shape.vision else 0)
    return Needs(weights=weights_bytes(shape, model), adapter=0.0, activations=passing)


def weights_bytes(shape: Shape, model: ModelConfig) -> float:
    """Bytes of the base model."""
    width = WIDTHS[model.dtype]
    return shape.weights * (FOUR_BITS if model.load_in_4bit else width) + shape.embeddings * width


def _kept(stack: Stack, width: float, *, checkpointing: bool) -> float:
    """Bytes of a token in all layers that the backward pass needs."""
    norms = 2 * 4 * stack.hidden
    inputs = 5 * stack.hidden + stack.heads + stack.inner
    layer = norms + width * (inputs + 4 * stack.heads + 3 * stack.inner)
    return stack.layers * width * stack.hidden + layer if checkpointing else stack.layers * layer


def _passing(stack: Stack, width: float) -> float:
    """Bytes of a token while one layer is computed and nothing is kept."""
    return width * (3 * stack.hidden + 3 * stack.inner) + 4 * stack.hidden


def _stage(recipe: Recipe) -> int:
    """ZeRO's stage by the recipe's file; 0 without one."""
    try:
        told = json.loads(Path(recipe.runtime.deepspeed or "").read_text(encoding="utf-8"))
        return int(told["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
