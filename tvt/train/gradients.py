"""Gradients of a fresh adapter's weights on the base model, summed over rows and projected where they are large.

An adapter starts where it changes nothing: of the two factors of LoRA one is 0, so that the gradient of the other one is 0.
It is left out. What is left is as long as the adapter is large; above :data:`EXACT` numbers it is projected to
:data:`DIMENSIONS` by a count sketch (Charikar, Chen and Farach-Colton 2002): every number is added, with a random sign, to a
random one of the sums. The product of two sketches is on average the product of what they are of, with a variance of at most
``2 |a|^2 |b|^2 / DIMENSIONS``. Signs and places are drawn anew from the seed whenever they are needed, a piece at a time, so
that they take no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model

from tvt.core.recipe import Recipe
from tvt.errors import InputError, TrainingError
from tvt.model.base import Loaded
from tvt.model.likelihood import answer_likelihood
from tvt.train.batches import Collator
from tvt.train.parts import lora_config, train_weights
from tvt.train.rows import Examples, load_rows
from tvt.types import Floats

EXACT = 65_536
"""A gradient with so many numbers at the most is taken as it is."""
DIMENSIONS = 8_192
"""Of the projection of a longer one."""
_PIECE = 1 << 22
"""Numbers that are projected at once."""
_SCALE = 1024.0
"""What float16 is differentiated with, so that small gradients do not become 0 on their way back."""

Value = Callable[[Any, Sequence[Any]], tuple[Any, int]]
"""Of the model and some rows or questions: what is differentiated, a tensor summed over them, and how many summands it has."""


class AdapterGradients:
    """Gradients of a model's weights that train.

    Args:
        model: with a fresh adapter on it.
        device: where it is.
        seed: of the projection.
        exact, dimensions: as :data:`EXACT` and :data:`DIMENSIONS`, of which tests take smaller ones.
    """

    def __init__(self, model: Any, device: Any, seed: int, *, exact: int = EXACT, dimensions: int = DIMENSIONS) -> None:
        self.model, self.device, self._seed = model, device, seed
        self.weights = [weight for _, weight in _moving(model)]
        self.numbers = sum(weight.numel() for weight in self.weights)
        """Of a gradient, before it is projected."""
        self.projected = self.numbers > exact
        self.length = dimensions if self.projected else self.numbers
        self._scale = _SCALE if any(p.dtype == torch.float16 for p in model.parameters()) else 1.0

    def of(self, value: Value, batches: Sequence[Sequence[Any]]) -> Floats:
        """The gradient of a value's mean over batches, (length,), in float32.

        A batch that does not fit into the device's memory is divided.

        Raises:
            InputError: a single row does not fit.
            TrainingError: the gradient is not finite.
        """
        total, summands = [torch.zeros_like(weight, dtype=torch.float32) for weight in self.weights], 0
        waiting = list(reversed(batches))
        while waiting:
            batch = waiting.pop()
            try:
                summands += self._add(total, value, batch)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    line = "a row with its gradient does not fit into the GPU's memory even alone"
                    raise InputError(f"{line}; use smaller images (model.max_pixels) or a smaller model") from error
                torch.cuda.empty_cache()
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
        return self._flat(total) / np.float32(max(summands, 1))

    def _add(self, total: list[Any], value: Value, batch: Sequence[Any]) -> int:
        """Add the gradient over one batch, wholly or not at all; returns the number of summands."""
        summed, count = value(self.model, batch)
        if summed.requires_grad:  # not so of rows without pictures where the vision tower alone trains
            parts = torch.autograd.grad(summed * self._scale, self.weights, allow_unused=True)
            for held, part in zip(total, parts, strict=True):
                if part is not None:
                    held.add_(part.float() / self._scale)
        return count

    def _flat(self, total: Sequence[Any]) -> Floats:
        """As one vector, projected where it is long."""
        if not self.projected:
            flat: Floats = torch.cat([part.reshape(-1) for part in total]).cpu().numpy()
        else:
            sums = np.zeros(self.length)
            rng = np.random.default_rng(self._seed)
            for part in total:
                self._project(sums, part.reshape(-1).cpu().numpy(), rng)
            flat = sums.astype(np.float32)
        if not np.isfinite(flat).all():
            raise TrainingError("a gradient of the base model is not finite; take it in bfloat16 or float32 (model.dtype)")
        return flat

    def _project(self, sums: Floats, numbers: Floats, rng: np.random.Generator) -> None:
        for start in range(0, numbers.size, _PIECE):
            piece = numbers[start : start + _PIECE]
            drawn = rng.integers(0, 2 * self.length, piece.size, dtype=np.int32)
            sums += np.bincount(drawn >> 1, weights=np.where(drawn & 1, piece, -piece), minlength=self.length)


def _moving(model: Any) -> Iterator[tuple[str, Any]]:
    """The weights that train and whose gradient is not 0 at the start."""
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        other = weights.get(name.replace(".lora_A.", ".lora_B.")) if ".lora_A." in name else None
        if weight.requires_grad and (other is None or bool(other.any())):
            yield name, weight


@contextmanager
def fresh_adapter(base: Loaded, recipe: Recipe, seed: int) -> Iterator[AdapterGradients]:
    """Put the adapter that a run would begin with on the base model, and take it off again; nothing is trained.

    Args:
        base: the model.
        recipe: says which weights train, of an adapter or the model's own.
        seed: of the adapter's start and of the projection.

    Raises:
        InputError: the recipe's adapter does not fit the model.
    """
    with base.lent("gradients"), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = base.model
        if recipe.training.method == "lora":
            model = get_peft_model(model, lora_config(model, recipe), autocast_adapter_dtype=True)
        else:
            train_weights(model, recipe.trained_parts)
        for weight in model.parameters():
            if weight.requires_grad and recipe.training.method == "lora":
                weight.data = weight.data.float()
        yield AdapterGradients(model.eval(), base.device, seed)


class RowLoss:
    """The training loss on the rows of a mixed dataset.

    Args:
        folder: the dataset.
        cache: for an uncompressed copy.
        base: the model that is trained.
    """

    def __init__(self, folder: Path, cache: Path, base: Loaded) -> None:
        config = base.config
        self.examples = Examples(load_rows(folder, cache), folder, config.max_pixels, config.min_pixels)
        self._collator, self._device = Collator(base.processor, picture_always=False), base.device

    def __call__(self, model: Any, rows: Sequence[Any]) -> tuple[Any, int]:
        """The loss of some rows (their positions), summed over the tokens of their answers, and how many these are."""
        likelihood, tokens = answer_likelihood(model, self._collator([self.examples[row] for row in rows]), self._device)
        return -likelihood, tokens
