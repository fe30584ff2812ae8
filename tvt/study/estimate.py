"""How long a study's missing runs will take, phase by phase, and how much disk; :mod:`tvt.study.speed` says what is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.study.jobs import RunTask, Where
from tvt.study.plan import Study
from tvt.study.speed import Speed, guessed_speed, measured_speed
from tvt.study.store import Store

PHASES = ("load", "train", "score")


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What is still to be done."""

    training_runs: int
    examples: int
    questions: int
    seconds: float | None
    """Of one worker after the other."""
    device_hours: float | None
    disk_bytes: float | None
    measured: bool
    """From finished runs of this study, not from the model's size."""
    runs: int = 0
    """Runs with anything to do, the base model's among them."""
    phases: Mapping[str, float] | None = None
    """Seconds by phase (:data:`PHASES`), of one worker after the other; *load* is all but training steps and scoring. Where
    finished runs do not separate it, *score* holds it and *load* is 0.
    """
    devices: int = 1
    """That a run holds."""
    start: float = 0.0
    """Seconds of loading that each further worker adds to ``phases``."""
    assumed: tuple[str, ...] = ()
    """What a guess rests on, in plain words."""

    def hours(self, phase: str) -> float:
        """Device hours of a phase."""
        return 0.0 if self.phases is None else self.phases[phase] * self.devices / 3600

    def wall(self, slots: int) -> float | None:
        """Seconds with so many runs at once, which are done in rounds."""
        if self.seconds is None or not self.runs:
            return None
        return self.start + math.ceil(self.runs / slots) * max(self.seconds - self.start, 0.0) / self.runs

    def plain(self) -> dict[str, Any]:
        """As plain values: of phases their seconds and device hours."""
        values = {name: value for name, value in vars(self).items() if name not in ("phases", "start", "assumed")}
        by_phase = (
            None if self.phases is None else {p: {"seconds": self.phases[p], "device_hours": self.hours(p)} for p in PHASES}
        )
        return {**values, "phases": by_phase, "assumed": list(self.assumed)}


def estimate(study: Study, store: Store, tasks: Sequence[RunTask], speed: Store | None = None) -> CostEstimate:
    """What ``tasks`` will cost.

    Args:
        study: what they are runs of.
        store: of finished runs, which cost nothing.
        tasks: the runs to do.
        speed: finished runs whose speed is taken; default: those of ``store``.
    """
    result = measured_speed(study, speed or store) or guessed_speed(study)
    return RemainingWork.of(study, store, tasks).at(result, study.recipe)


@dataclass(frozen=True, kw_only=True)
class RemainingWork:
    """What is to be done, whatever the speed."""

    runs: int
    trained: Sequence[RunTask]
    sizes: Mapping[str, int]
    """Questions to ask, by target."""

    @classmethod
    def of(cls, study: Study, store: Store, tasks: Sequence[RunTask]) -> RemainingWork:
        """What is missing of ``tasks``."""
        trained = [task for task in tasks if not task.run.is_base and store.training(task.run_id) is None]
        sizes = dict.fromkeys(study.targets, 0)
        runs = 0
        for task in tasks:
            missing = _missing(store, task)
            runs += bool(missing) or task in trained
            for where in missing:
                sizes[where[0]] += study.sizes[where]
        return cls(runs=runs, trained=trained, sizes=sizes)

    def at(self, speed: Speed | None, recipe: Recipe) -> CostEstimate:
        """What it takes at a speed, with a recipe's epochs and processes."""
        epochs = recipe.training.num_train_epochs
        devices = recipe.runtime.num_processes
        phases = None
        if speed is not None:
            rows = [(source, count) for task in self.trained for source, count in task.run.counts.items()]
            phases = {
                "load": self.runs * (speed.load or 0.0) + (speed.start if self.runs else 0.0),
                "train": epochs * sum(count * speed.examples[source] for source, count in rows),
                "score": sum(count * speed.questions[target] for target, count in self.sizes.items()),
            }
        seconds = None if phases is None else sum(phases.values())
        return CostEstimate(
            training_runs=len(self.trained),
            examples=sum(math.ceil(task.run.examples * epochs) for task in self.trained),
            questions=sum(self.sizes.values()),
            seconds=seconds,
            device_hours=None if seconds is None else seconds * devices / 3600,
            disk_bytes=None if speed is None else speed.disk * len(self.trained),
            measured=speed is not None and speed.measured,
            runs=self.runs,
            phases=phases,
            devices=devices,
            start=0.0 if speed is None else speed.start,
            assumed=() if speed is None else speed.assumed,
        )


def _missing(store: Store, task: RunTask) -> list[Where]:
    """The cells that a run has not yet."""
    cells = store.finished(task.run_id).cells
    return [where for where, key in task.keys.items() if where not in cells or cells[where].key != key]


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


def factors(study: Study, work: RemainingWork, cost: CostEstimate) -> list[Factor]:
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
    result = []
    for setting, value, why, changes in _others(study.recipe):
        changed = _with(study.recipe, setting, value)
        with_it = work.at(guessed_speed(study, changed), changed)
        other = with_it.device_hours
        if other and abs(now - other) >= LEAST * now:
            times, trained = now / other, with_it.hours("train")
            result.append(
                Factor(
                    setting=setting,
                    now=_text(_value(study.recipe, setting)),
                    instead=_text(value),
                    device_hours=cost.device_hours / times,
                    times=times,
                    training_times=guess.hours("train") / trained if trained else 1.0,
                    changes_results=changes,
                    why=why,
                )
            )
    return sorted(result, key=lambda factor: -factor.times)


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


def _text(value: Any) -> str:
    """As a recipe has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
