"""Time training and scoring with and without the frozen-vision cache, in turn; the ratios of paired times are what counts.

    OMP_NUM_THREADS=1 python scripts/bench_vision.py [--model DIR --pixels 336] [--rows 32] [--rounds 3]

Without ``--model``: the tests' tiny LLaVA and Qwen2.5-VL, and a Qwen2.5-VL whose tower and language model have about the
proportions of the 3B one, with pictures of 336 pixels. Each turn trains and scores without a cache (off), with an empty one
(cold) and with what that one kept (warm). Training is a run, scoring the base model and an adapter, loading included. All is
done in this process, on a GPU where there is one; whether adapters and answers are the same is told, too.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from tvt.core.question import Question
from tvt.core.recipe import Recipe
from tvt.evaluate.evaluator import Evaluator
from tvt.io.cache import VARIABLE
from tvt.model.vision.cache import VisionSettings
from tvt.train import TrainingRecord, train

WAYS = ("off", "cold", "warm")


@dataclass(kw_only=True)
class Case:
    """A model, the size of its pictures, and what was measured."""

    title: str
    model: Path
    pixels: int
    rows: int
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {"training": {}, "scoring": {}})
    same: bool = True
    bytes_per_image: int = 0
    notes: set[str] = field(default_factory=set)


def clock() -> float:
    """Seconds: of this process where it works alone, so that others on the machine do not count; by the clock on a GPU."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def picture(seed: int, pixels: int) -> bytes:
    """A JPEG, smooth and noisy like a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((pixels, pixels), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(coarse, np.int16) + rng.integers(-20, 20, (pixels, pixels, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_rows(folder: Path, rows: int, pixels: int) -> Path:
    """A dataset as ``tvt mix`` writes it, a picture in each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = [
        {
            "images": [{"bytes": picture(k, pixels), "path": None}],
            "prompt": [{"role": "user", "content": f"{k}. Which of the two is nearer to the camera, A or B?"}],
            "completion": [{"role": "assistant", "content": "AB"[k % 2]}],
        }
        for k in range(rows)
    ]
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(told), folder / "data" / "train.parquet")
    return folder


def questions(count: int, pixels: int) -> list[Question]:
    """Questions with a picture each, other ones than the rows'."""
    return [
        Question(
            id=str(k),
            task="bench",
            prompt=f"{k}. Which of the two is nearer?\n(A) this\n(B) that",
            options=("this", "that"),
            answer="A",
            images=(picture(10_000 + k, pixels),),
        )
        for k in range(count)
    ]


def proportioned(folder: Path) -> Path:
    """A Qwen2.5-VL of random weights: four patches a token through 4 million weights, then the token through 21 million."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tiny: Any = import_module("tiny_models")
    tiny.qwen(folder)
    config = Qwen2_5_VLConfig.from_pretrained(folder)
    text: dict[str, Any] = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 6}
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 10000.0}
    for name, value in {**text, "num_key_value_heads": 6, "rope_parameters": rope, "layer_types": None}.items():
        setattr(config.text_config, name, value)
    vision = {"depth": 5, "hidden_size": 256, "intermediate_size": 688, "num_heads": 4, "out_hidden_size": 384}
    for name, value in {**vision, "window_size": 112, "fullatt_block_indexes": [4]}.items():
        setattr(config.vision_config, name, value)
    torch.manual_seed(0)
    rebuilt = Qwen2_5_VLConfig(**config.to_dict())
    Qwen2_5_VLForConditionalGeneration(rebuilt).save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=1024 * 1024).save_pretrained(folder)
    return folder


def recipe(case: Case, dtype: str, mode: str) -> Recipe:
    """How the case is trained and scored."""
    settings = {"learning_rate": 1e-3, "global_batch_size": 16, "per_device_train_batch_size": 8}
    return Recipe.model_validate(
        {
            "name": "bench",
            "model": {"model_name_or_path": str(case.model), "dtype": dtype},
            "sources": ["bench"],
            "targets": ["bench"],
            "training": {**settings, "gradient_checkpointing": False},
            "runtime": {"vision_cache": mode},
        }
    )


def turn(case: Case, folder: Path, dtype: str, mode: str, *, counts: bool) -> None:
    """Train and score in every way once; without ``counts``, a few rows to warm up."""
    count = case.rows if counts else 4
    rows, asked = write_rows(folder / "rows", count, case.pixels), questions(count, case.pixels)
    os.environ[VARIABLE] = str(folder / "cache")
    results = set()
    for way in WAYS:
        used = recipe(case, dtype, "off" if way == "off" else mode)
        started = clock()
        record = train(used, rows, folder / way, seed=0, note=case.notes.add)
        trained = clock() - started
        answers, seconds = scored(case, used, folder / f"answers-{way}", folder / "off" / "adapter", asked)
        if counts:
            case.seconds["training"].setdefault(way, []).append(trained)
            case.seconds["scoring"].setdefault(way, []).append(seconds)
        results.add(told(record, answers))
    case.same &= len(results) == 1
    kept = sum(path.stat().st_size for path in (folder / "cache").rglob("*.safetensors"))
    case.bytes_per_image = round(kept / (2 * count))


def scored(
    case: Case, used: Recipe, folder: Path, adapter: Path, asked: list[Question]
) -> tuple[list[tuple[float, ...] | None], float]:
    """The scores of the base model and an adapter, and how long that took."""
    started = clock()
    evaluator = Evaluator(used.model, used.evaluation, folder, vision=VisionSettings.of(used.runtime), note=case.notes.add)
    found = evaluator.evaluate([None, adapter], {"bench": asked})
    seconds = clock() - started
    return [item.outcome.scores for cells in found for item in cells["bench"].items], seconds


def told(record: TrainingRecord, answers: list[tuple[float, ...] | None]) -> str:
    """What must be the same in every way."""
    return json.dumps([record.adapter_digest, answers])


def cases(folder: Path, model: Path | None, pixels: int, rows: int) -> Iterator[Case]:
    """What is measured."""
    if model is not None:
        yield Case(title=model.name, model=model, pixels=pixels, rows=rows)
        return
    tiny: Any = import_module("tiny_models")
    yield Case(title="tiny LLaVA", model=tiny.llava(folder / "llava"), pixels=56, rows=2 * rows)
    yield Case(title="tiny Qwen2.5-VL", model=tiny.qwen(folder / "qwen"), pixels=112, rows=2 * rows)
    yield Case(title="proportions of Qwen2.5-VL-3B", model=proportioned(folder / "large"), pixels=336, rows=rows)


def figures(case: Case) -> dict[str, Any]:
    """Medians of the paired ratios: how many times as fast as without the cache."""
    return {
        "bytes_per_image": case.bytes_per_image,
        "same": case.same,
        "notes": sorted(case.notes),
        **{
            what: {
                way: round(statistics.median(o / s for o, s in zip(times["off"], times[way], strict=True)), 2)
                for way in WAYS[1:]
            }
            for what, times in case.seconds.items()
        },
    }


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a vision-language model.")
@click.option("--pixels", default=336, show_default=True, help="With --model: width and height of the pictures.")
@click.option("--rows", default=32, show_default=True, help="Rows trained on, and questions; twice as many for tiny models.")
@click.option("--rounds", default=3, show_default=True, help="Turns, after one that warms up.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--mode", type=click.Choice(["exact", "rounding"]), default="exact", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(*, model: Path | None, pixels: int, rows: int, rounds: int, dtype: str, mode: str, as_json: bool) -> None:
    """Measure all cases."""
    warnings.simplefilter("ignore", FutureWarning)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for case in cases(Path(name), model, pixels, rows):
            for number in range(rounds + 1):
                with tempfile.TemporaryDirectory(dir=name) as folder:
                    turn(case, Path(folder), dtype, mode, counts=number > 0)
            found[case.title] = figures(case)
    if as_json:
        click.echo(json.dumps({"dtype": dtype, "mode": mode, "rounds": rounds, "results": found}))
        return
    click.echo(f"{dtype}, {mode}, {rounds} turns; times as fast as without the cache")
    for title, told_of in found.items():
        ratios = "  ".join(
            f"{what} {told_of[what]['cold']:.2f} cold {told_of[what]['warm']:.2f} warm" for what in ("training", "scoring")
        )
        click.echo(f"{title:30} {ratios}  {told_of['bytes_per_image']:,} bytes an image, same results: {told_of['same']}")
        for note in told_of["notes"]:
            click.echo(f"  {note}")


if __name__ == "__main__":
    main()
