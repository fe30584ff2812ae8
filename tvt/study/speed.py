"""How fast a study's runs are: by the runs that are done, else a guess from the model's size.

A guess says what it assumes. Devices are those of a data centre: nothing is guessed for tiny models, whose time goes elsewhere.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.data.task_questions import Part, absent, locate, read
from tvt.data.tasks import TaskManifest
from tvt.errors import InputError
from tvt.model.needs import (
    MEAN_PIXELS,
    ORDINARY_PIXELS,
    TEXT_TOKENS,
    WIDTHS,
    Shape,
    expected_checkpointing,
    forward,
    shape_of,
    text_forward,
    tower_forward,
)
from tvt.model.picture import PictureError, shown_size
from tvt.study.plan import Study
from tvt.study.store import Store
from tvt.study.views import parameters
from tvt.train.record import ADAPTER

SAMPLED = 8
"""Rows of a task whose pictures are looked at."""
DEVICE_FLOPS = {"bfloat16": 3e14, "float16": 3e14, "float32": 5e13}
"""What a current data centre GPU reaches: in 16 bits a third of its peak, in 32 bits without its tensor cores."""
DEVICE_MEMORY = 80e9
"""Bytes of such a GPU, where none is here."""
PASS_TOKENS = {False: 250, True: 500}
"""Tokens that a forward pass costs on top, whatever its rows: weights are read, kernels started; with 4 bits also unpacked."""
PREPARING = 1e-7
"""Seconds of a core for a pixel: decoded, scaled, cut into patches. Measured on one core of a small machine, with a processor
that stands on Pillow: 1.6e-7; faster ones should reach less.
"""
READING = 1e9
"""Bytes of weights a second, from a disk."""
STARTING, SETTING_UP = 20.0, 5.0
"""Seconds of starting a process that trains or scores, and of a run's rows, trainer and adapter file."""
_SMALL = 0.05
"""Billions of parameters below which nothing is guessed."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What runs take, as seconds of a run."""

    load: float | None
    """Of a run: all but training steps and scoring; ``None`` where the finished runs do not separate it from scoring."""
    start: float
    """Of a worker's first run, on top."""
    examples: Mapping[str, float]
    """Of a training example, by source."""
    questions: Mapping[str, float]
    """Of a question, by target."""
    disk: float
    """Bytes that a run leaves behind."""
    measured: bool
    assumed: tuple[str, ...] = ()
    """What a guess rests on, in plain words."""


def measured_speed(study: Study, store: Store) -> Speed | None:
    """The speed of the runs that are done; ``None`` before one is trained and scored.

    A source without a finished run takes what an example takes in all others. Seconds of training are divided by processes as
    if these lost nothing to each other.
    """
    took: dict[str | None, list[float]] = defaultdict(lambda: [0.0, 0.0])
    scoring, questions, sizes, loads = 0.0, 0, [], []
    separate = True
    for run_id, spec in store.known().items():
        done, record = store.finished(run_id), store.training(run_id)
        scoring, questions = scoring + done.scoring_seconds, questions + done.questions
        separate = separate and done.load_seconds is not None
        if record is None or record.rows_per_second <= 0:
            continue
        if done.cells:
            loads.append(done.load_seconds or 0.0)
        sizes.append(_size(store.run_folder(run_id) / ADAPTER))
        seconds = record.rows / record.rows_per_second * record.num_processes / study.recipe.runtime.num_processes
        sources = [source for source, count in spec.run.counts.items() if count]
        for of in (None, *(sources if len(sources) == 1 else ())):
            took[of] = [took[of][0] + seconds, took[of][1] + record.rows]
    if not took or not questions or not loads:
        return None
    rates = {of: seconds / rows for of, (seconds, rows) in took.items()}
    return Speed(
        load=median(loads) if separate else None,
        start=max(loads) - median(loads) if separate else 0.0,
        examples={source: rates.get(source, rates[None]) for source in study.sources},
        questions=dict.fromkeys(study.targets, scoring / questions),
        disk=fmean(sizes),
        measured=True,
    )


def guessed_speed(study: Study, recipe: Recipe | None = None) -> Speed | None:
    """A guess from the model's size; ``None`` for tiny models and those of unknown size.

    The base model is frozen, so that a training step computes forward, and backward through the activations of the language
    model alone; with gradient checkpointing it computes these forward once more. A vision tower that is trained as well
    (``training.parts``) counts like the language model. A full finetuning computes the gradients of the weights on top, and
    loads the base model anew for each run, and what it trained for scoring.

    Args:
        study: whose tasks are meant.
        recipe: with other settings than the study's; default: its own.
    """
    recipe = recipe or study.recipe
    name = recipe.model.model_name_or_path
    billions = parameters(name)
    shape = None if billions is not None and billions < _SMALL else shape_of(recipe.model, billions)
    if shape is None or (held := shape.weights + shape.embeddings) < _SMALL * 1e9:
        return None
    pictures = _Pictures(recipe)
    guess = _Guess(recipe, shape)
    rows = {source: pictures.of(manifest, "training") for source, manifest in study.sources.items()}
    twice = {source: guess.checkpointing(shown) for source, shown in rows.items()}
    processes = recipe.runtime.num_processes
    loading = STARTING + held * 2 / READING
    alone, full = processes == 1, recipe.training.method == "full"
    return Speed(
        load=SETTING_UP + (0.0 if alone and not full else 2 * loading),
        start=loading if alone and not full else 0.0,
        examples={s: guess.training(shown, checkpointing=twice[s]) / processes for s, shown in rows.items()},
        questions={t: guess.scoring(pictures.of(m, "evaluation")) / processes for t, m in study.targets.items()},
        disk=_left_behind(recipe, shape),
        measured=False,
        assumed=tuple(_assumed(recipe, shape, list(twice.values()), here=not pictures.assumed)),
    )


def _left_behind(recipe: Recipe, shape: Shape) -> float:
    """Bytes of what a run trained, as far as it stays."""
    if recipe.drops_weights:
        return 0.0
    if recipe.training.method == "full":
        return (shape.weights + shape.embeddings) * WIDTHS[recipe.model.dtype]
    return 4.0 * recipe.lora.lora_r * shape.text.adapter


@cache
def device_memory() -> float:
    """Bytes of the smallest GPU here, else of the GPU that a guess assumes."""
    from tvt.study.this_machine import listed_gpus  # the doctor asks for estimates itself

    return min((gpu.memory for gpu in listed_gpus()), default=0.0) or DEVICE_MEMORY


def _assumed(recipe: Recipe, shape: Shape, twice: Sequence[bool], *, here: bool) -> Iterator[str]:
    flops = DEVICE_FLOPS[recipe.model.dtype]
    yield f"{flops / 1e12:,.0f} teraflops a device in {recipe.model.dtype} (an H100 reaches about that)"
    if not shape.known:
        yield "a model made like Qwen2.5-VL with as many parameters as its name says, since its config.json is not here"
    if not here:
        tokens, side = (
            shape.picture_tokens(recipe.model.shown_pixels(MEAN_PIXELS), recipe.model.max_pixels),
            math.isqrt(MEAN_PIXELS),
        )
        yield f"pictures of {side} x {side} pixels, {tokens:,} tokens each, where no rows are here"
    if recipe.training.gradient_checkpointing is None:
        share = f"for {sum(twice) or 'none'} of {len(twice)} sources"
        yield f"gradient checkpointing {share}, where large rows would not fit into {device_memory() / 1e9:.0f} GB without"
    yield f"{TEXT_TOKENS} tokens of text a row, {READING / 1e9:.0f} GB/s for reading weights"


class ShownPictures(NamedTuple):
    """Pictures of rows; pixels are those after ``model.min_pixels`` and ``model.max_pixels``."""

    pictures: float
    """Of a row, on average."""
    pixels: float
    """Of a picture, on average."""
    most: int
    """Pictures of the largest row."""
    largest: float
    """Pixels of each of these."""


class _Pictures:
    """How many pictures the rows of a task show, and how large, by its first rows where these are here."""

    def __init__(self, recipe: Recipe) -> None:
        self._shown = recipe.model.shown_pixels
        self.assumed = False

    def of(self, manifest: TaskManifest, part: Part) -> ShownPictures:
        """Of a part of a task's rows."""
        result = _sampled(manifest, part)
        if result is None:
            self.assumed = True
            mean, large = (self._shown(each) for each in (MEAN_PIXELS, ORDINARY_PIXELS))
            return ShownPictures(manifest.shown, mean, manifest.shown, large)
        rows = [[self._shown(each) for each in row] for row in result]
        pixels, largest = [each for row in rows for each in row], max(rows, key=sum)
        mean = fmean(pixels) if pixels else 0.0
        return ShownPictures(len(pixels) / len(rows), mean, len(largest), fmean(largest) if largest else 0.0)


def _sampled(manifest: TaskManifest, part: Part) -> list[list[float]] | None:
    """Pixels of the pictures of a task's first rows; ``None`` where these are not here, or are videos, which take long."""
    if absent(manifest, part) is not None or locate(manifest, part).frames:
        return None
    result = []
    try:
        for question in islice(read(locate(manifest, part), manifest.name), SAMPLED):
            sizes = [shown_size(image) for image in question.images]
            result.append([float(width * height) for width, height in sizes])
    except (InputError, PictureError):  # reported where the rows are checked
        return None
    return result or None


class _Guess:
    """Seconds of a device for a row."""

    def __init__(self, recipe: Recipe, shape: Shape) -> None:
        self._recipe, self._shape, self._max_pixels = recipe, shape, recipe.model.max_pixels
        self._flops = DEVICE_FLOPS[recipe.model.dtype]
        self._loaders = recipe.runtime.dataloader_num_workers
        self._full, self._parts = recipe.training.method == "full", recipe.trained_parts
        self._batch = recipe.evaluation.batch_size
        self._extra = PASS_TOKENS[recipe.model.load_in_4bit]

    def checkpointing(self, shown: ShownPictures) -> bool:
        """Whether a run on such rows computes activations twice."""
        return expected_checkpointing(self._recipe, self._shape, device_memory(), shown.largest, shown.most)

    def training(self, shown: ShownPictures, *, checkpointing: bool) -> float:
        """Of a training example on one process."""
        text, tower, passing = self._forward(shown, self._recipe.training.per_device_train_batch_size)
        passes = 3 if checkpointing else 2
        of_text = passes + (self._full and "language_model" in self._parts)  # gradients of the weights themselves
        of_tower = passes + self._full if "vision_tower" in self._parts else 1
        computing = (of_text * (text + passing) + of_tower * tower) / self._flops
        preparing = shown.pictures * shown.pixels * PREPARING
        if self._loaders == 0:
            return computing + preparing
        return max(computing, preparing / (self._loaders or AUTOMATIC_LOADERS))

    def scoring(self, shown: ShownPictures) -> float:
        """Of a question: its pictures are prepared while the device computes, and once for many runs."""
        return sum(self._forward(shown, self._batch)) / self._flops

    def _forward(self, shown: ShownPictures, batch: int) -> tuple[float, float, float]:
        """Operations of language model and tower for a row, and its share of what a pass costs on top."""
        pictures, pixels = shown.pictures, shown.pixels
        tokens = TEXT_TOKENS + pictures * self._shape.picture_tokens(pixels, self._max_pixels)
        tower = pictures * tower_forward(self._shape, pixels, self._max_pixels)
        return text_forward(self._shape, tokens), tower, forward(self._shape.text, self._extra, 0.0) / batch


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
