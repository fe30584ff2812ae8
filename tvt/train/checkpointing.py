"""Whether activations are computed a second time, where the recipe leaves it open: only if the device's memory needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tvt.core.recipe import Recipe
from tvt.model.memory import USABLE, training_needs
from tvt.model.shape import Shape, read_shape
from tvt.train.collate import Collator
from tvt.train.rows import Examples


def needs_checkpointing(
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, *, divided: bool
) -> bool:
    """Decide by the longest rows of the run, put through the processor: they are what one pass may have to hold.

    Args:
        recipe: what it asks for is done.
        examples: the rows.
        lengths: of the rows, in tokens.
        collator: makes tensors of them.
        config: the model's.
        divided: whether ZeRO-3 divides the weights; then it is always on, since all processes must do alike.
    """
    asked = recipe.training.gradient_checkpointing
    if asked is not None or divided:
        return bool(asked or (asked is None and divided))
    if not torch.cuda.is_available():
        return False
    free, _ = torch.cuda.mem_get_info()
    return not fits(recipe, examples, lengths, collator, config, free + torch.cuda.memory_reserved())


def fits(  # noqa: PLR0917
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, memory: float
) -> bool:
    """Whether a pass of the longest rows keeps all its activations within ``memory`` bytes, by a cautious estimate."""
    shape = read_shape(config.to_dict())
    if shape is None:
        return False
    longest = sorted(range(len(lengths)), key=lambda index: -lengths[index])[: recipe.training.per_device_train_batch_size]
    batch = collator([examples[index] for index in longest])
    tokens, patches = batch["input_ids"].numel(), patches_of(batch, shape)
    return training_needs(shape, recipe, tokens, patches, checkpointing=False).total <= USABLE * memory


def patches_of(batch: dict[str, Any], shape: Shape) -> int:
    """How many patches of pictures a batch holds; of three colours, Qwen-VL's twice, as for two frames."""
    pixels = batch.get("pixel_values")
    if pixels is None:
        return 0
    if pixels.ndim == 2:
        return int(pixels.shape[0])
    return int(pixels.numel()) // (3 * shape.patch**2)
