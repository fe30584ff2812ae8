"""The frozen-vision cache in a training run: when it is opened, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tvt.core.recipe import Recipe
from tvt.model.vision.cache import VisionCache, VisionSettings, open_cache
from tvt.model.vision.probe import Setting

if TYPE_CHECKING:
    from tvt.train.trainer import GuardedTrainer

_SHARDED = 3


class VisionCaching(TrainerCallback):
    """Gives a trainer its cache once the model is where it is trained.

    Args:
        recipe: says whether there is to be one.
        trainer: whose batches it is for.
        note: told in a sentence what is worth knowing.
    """

    def __init__(self, recipe: Recipe, trainer: GuardedTrainer, note: Callable[[str], None]) -> None:
        self._recipe, self._trainer, self._note = recipe, trainer, note
        self._cache: VisionCache | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        """Open the cache, or say why it is not used."""
        settings = VisionSettings.of(self._recipe.runtime)
        if settings.mode == "off":
            return
        reason = self._objection()
        if reason is not None:
            self._note(f"vision cache not used: {reason}")
            return
        model = self._trainer.model.get_base_model()
        model.train()  # as in every step: the probe is to see what the steps see
        self._cache = open_cache(model, self._trainer.processing_class, settings, self._setting(), self._note)
        if self._cache is not None:
            self._trainer.use_vision_cache(self._cache)

    def close(self) -> None:
        """Write what is new."""
        if self._cache is not None:
            self._cache.close()

    def _objection(self) -> str | None:
        plugin = self._trainer.args.deepspeed_plugin
        if not self._recipe.model.freeze_vision:
            return "the vision tower is trained (model.freeze_vision: false)"
        if plugin is not None and plugin.zero_stage == _SHARDED:
            return "ZeRO-3 divides the vision tower, so all processes must run it together"
        return None

    def _setting(self) -> Setting:
        accelerator = self._trainer.accelerator
        mixed = accelerator.mixed_precision if accelerator.native_amp else "no"
        checkpointing = self._recipe.training.gradient_checkpointing

        @contextmanager
        def enter() -> Iterator[None]:
            with accelerator.autocast(), torch.enable_grad():
                yield

        return Setting(
            name=f"training, mixed precision {mixed}, gradient checkpointing {checkpointing}",
            batch=self._recipe.training.per_device_train_batch_size,
            enter=enter,
        )
