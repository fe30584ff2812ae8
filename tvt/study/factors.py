"""What a setting costs: the estimate once more with another value of it, and how many device hours lie between.

Both sides are guesses from the model's size, also where runs are finished: these know their own settings alone. So a factor is
given for models that anything is guessed for; what is *measured* is scaled by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.study.estimate import Estimate, Work
from tvt.study.plan import Study
from tvt.study.speed import guessed_speed

LEAST = 0.03
"""Share of the device hours below which a setting is not worth a line."""
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One setting, another value of it, and the device hours with that."""

    setting: str
    """The field's name in the recipe."""
    now: str
    instead: str
    device_hours: float
    """With the other value."""
    times: float
    """Device hours now for each of those."""
    training_times: float
    """Device hours of training alone now for each of those with the other value."""
    changes_results: bool
    """Whether the other value makes other runs."""
    why: str
    """What the present value costs, or where the other one cannot be taken."""


def factors(study: Study, work: Work, cost: Estimate) -> list[Factor]:
    """Settings of a study's recipe that cost device hours, the dearest first; empty where nothing can be guessed.

    Args:
        study: in question.
        work: what is still to do.
        cost: its estimate as the recipe is.
    """
    speed = guessed_speed(study)
    if speed is None or not work.runs or not cost.device_hours:
        return []
    guess = work.at(speed, study.recipe)
    now = guess.device_hours or 0.0
    found = []
    for setting, value, why, changes in _others(study.recipe):
        changed = _with(study.recipe, setting, value)
        with_it = work.at(guessed_speed(study, changed), changed)
        other = with_it.device_hours
        if other and abs(now - other) >= LEAST * now:
            times, trained = now / other, with_it.hours("train")
            found.append(
                Factor(
                    setting=setting,
                    now=_told(_value(study.recipe, setting)),
                    instead=_told(value),
                    device_hours=cost.device_hours / times,
                    times=times,
                    training_times=guess.hours("train") / trained if trained else 1.0,
                    changes_results=changes,
                    why=why,
                )
            )
    return sorted(found, key=lambda factor: -factor.times)


def _others(recipe: Recipe) -> Iterator[tuple[str, Any, str, bool]]:
    """Settings with another value worth a look: name, value, why, whether it changes results."""
    training, processes = recipe.training, recipe.runtime.num_processes
    if processes > 1:
        why = f"{processes} runs at once, where the model fits one device: the model is loaded once a worker, not twice a run"
        yield "runtime.num_processes", 1, why, False
    if training.gradient_checkpointing:
        why = "activations are computed twice, to save memory; left out, only in runs whose rows need it"
        yield "training.gradient_checkpointing", False, why, False
    if recipe.runtime.dataloader_num_workers == 0:
        yield "runtime.dataloader_num_workers", AUTOMATIC_LOADERS, "pictures are decoded while the device waits", False
    each = training.global_batch_size // processes
    if training.per_device_train_batch_size < min(BATCH, each):
        why = "every pass reads all weights, however few its rows; more of them need more memory"
        yield "training.per_device_train_batch_size", min(BATCH, each), why, False
    if recipe.model.dtype == "float32":
        yield "model.dtype", "bfloat16", "32 bits go without the tensor cores", True
    more = training.num_train_epochs + 1
    yield "training.num_train_epochs", more, "one pass over the rows more", True


def _with(recipe: Recipe, setting: str, value: Any) -> Recipe:
    part, name = setting.split(".")
    return recipe.model_copy(update={part: getattr(recipe, part).model_copy(update={name: value})})


def _value(recipe: Recipe, setting: str) -> Any:
    part, name = setting.split(".")
    return getattr(getattr(recipe, part), name)


def _told(value: Any) -> str:
    """As a recipe has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
