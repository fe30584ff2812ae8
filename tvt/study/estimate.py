"""How long a study's missing runs will take, and how much disk: from finished runs where there are any, else a rough guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvt.core.recipe import Recipe
from tvt.data.tasks import TaskManifest
from tvt.study.jobs import Task, Where
from tvt.study.plan import Study
from tvt.study.store import Store
from tvt.study.views import parameters
from tvt.train.record import ADAPTER

IMAGE_TOKENS = 600
"""Tokens of an image: a picture of some 700 x 700 pixels in Qwen2.5-VL's patches."""
TEXT_TOKENS = 100
"""Tokens of a question with its options."""
DEVICE_FLOPS = 3e14
"""What a current data centre GPU reaches in bfloat16 at a third of its peak."""
LAYERS = 36
_SMALL = 0.05
"""Billions of parameters below which nothing is guessed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
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


def estimate(study: Study, store: Store, tasks: Sequence[Task], speed: Store | None = None) -> Estimate:
    """What ``tasks`` will cost.

    Args:
        study: what they are runs of.
        store: of finished runs, which cost nothing.
        tasks: the runs to do.
        speed: finished runs whose speed is taken; default: those of ``store``.
    """
    recipe = study.recipe
    trained = [task for task in tasks if not task.run.is_base and store.training(task.run_id) is None]
    examples = sum(math.ceil(task.run.examples * recipe.training.num_train_epochs) for task in trained)
    missing = [where for task in tasks for where in _missing(store, task)]
    questions = sum(study.sizes[where] for where in missing)
    rate = _measured(speed or store)
    if rate is not None:
        seconds: float | None = examples * rate.example + questions * rate.question
    else:
        rate = _guessed(recipe)
        seconds = None if rate is None else _training(study, trained) * rate.example + _scoring(study, missing) * rate.question
    devices = recipe.runtime.num_processes
    return Estimate(
        training_runs=len(trained),
        examples=examples,
        questions=questions,
        seconds=seconds,
        device_hours=None if seconds is None else seconds * devices / 3600,
        disk_bytes=None if rate is None else rate.disk * len(trained),
        measured=rate is not None and rate.measured,
    )


def _training(study: Study, tasks: Sequence[Task]) -> float:
    """Tokens to train on."""
    counts = [(source, count) for task in tasks for source, count in task.run.counts.items()]
    return study.recipe.training.num_train_epochs * sum(count * _tokens(study.sources[source]) for source, count in counts)


def _scoring(study: Study, cells: Sequence[Where]) -> float:
    """Tokens to score."""
    return sum(study.sizes[where] * _tokens(study.targets[where[0]]) for where in cells)


def _tokens(manifest: TaskManifest) -> int:
    return TEXT_TOKENS + IMAGE_TOKENS * manifest.shown


def _missing(store: Store, task: Task) -> list[Where]:
    """The cells that a run has not yet."""
    cells = store.finished(task.run_id).cells
    return [where for where, key in task.keys.items() if where not in cells or cells[where].key != key]


@dataclass(frozen=True, kw_only=True)
class _Rate:
    example: float
    """Seconds of a training example; where guessed, of one of its tokens."""
    question: float
    """Of a question; where guessed, of one of its tokens."""
    disk: float
    """Bytes that a run leaves behind."""
    measured: bool


def _measured(store: Store) -> _Rate | None:
    """The speed of the runs that are done."""
    seconds, rows, scoring, questions, sizes = 0.0, 0, 0.0, 0, []
    for run_id in store.known():
        done, record = store.finished(run_id), store.training(run_id)
        scoring, questions = scoring + done.scoring_seconds, questions + done.questions
        if record is not None and record.rows_per_second > 0:
            seconds, rows = seconds + record.rows / record.rows_per_second, rows + record.rows
            sizes.append(_size(store.run_folder(run_id) / ADAPTER))
    if not rows or not questions:
        return None
    return _Rate(example=seconds / rows, question=scoring / questions, disk=sum(sizes) / len(sizes), measured=True)


def _guessed(recipe: Recipe) -> _Rate | None:
    """From the model's size: a LoRA step computes forward and backward through the activations, some 4 operations a parameter
    and token; a question is a forward pass, 2 operations.
    """
    billions = parameters(recipe.model.model_name_or_path)
    if billions is None or billions < _SMALL:  # a tiny model's time goes elsewhere
        return None
    per_token = billions * 1e9 / DEVICE_FLOPS
    processes = recipe.runtime.num_processes
    # 12 L h^2 parameters in L layers of width h; LoRA of rank r on all linear layers adds about 22 L h r.
    adapter = 22 * recipe.lora.lora_r * math.sqrt(billions * 1e9 * LAYERS / 12) * 4
    again = 1.33 if recipe.training.gradient_checkpointing else 1.0
    return _Rate(example=4 * again * per_token / processes, question=2 * per_token, disk=adapter, measured=False)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
