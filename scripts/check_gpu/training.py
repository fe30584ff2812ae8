"""Training: precisions, DeepSpeed, the wait for rows, a plain TRL loop, and the same run twice."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from check_gpu import made
from check_gpu.leg import TRAINING, Bench, Leg

SAME = 0.02
"""Adapters of the same run may differ by so much, in parts of their norm: kernels on GPUs add in any order."""
EMPTYING = [1, 0, 1, 1, 0, 1, 1, 2, 1, 1]
"""Pictures of each row; with a global batch of 4, the last step of 1 or 3 passes has 2 rows and leaves micro-batches empty."""


class StopError(Exception):
    """Ends a run as a kill would, from within the report of its progress."""


def train(
    bench: Bench, name: str, recipe: Any, rows: Path, progress: Callable[[Any], None] = lambda _: None, **more: Any
) -> Any:
    """A run of ``tvt train`` into a folder of its own; returns its record."""
    from tvt.train import train

    return train(recipe, rows, bench.folder / name, seed=1, progress=progress, **more)


def weights(adapter: Path) -> dict[str, Any]:
    """Tensors of an adapter, on the CPU."""
    from safetensors.torch import load_file

    return dict(load_file(adapter / "adapter_model.safetensors"))


def distance(one: Path, other: Path) -> float:
    """How far two adapters are apart, in parts of the norm of the first; 0 where all bits are the same."""
    import torch

    first, second = weights(one), weights(other)
    if first.keys() != second.keys():
        return math.inf
    if all(torch.equal(first[name], second[name]) for name in first):
        return 0.0
    apart = sum(float((first[name].double() - second[name].double()).square().sum()) for name in first)
    return math.sqrt(apart / sum(float(tensor.double().square().sum()) for tensor in first.values()))


def precision(bench: Bench, *, dtype: str, four_bit: bool = False) -> None:
    """Train rows whose last step leaves micro-batches empty; look at the last checkpoint but one."""
    output = bench.folder / "run"
    losses: list[float] = []
    seen: dict[str, set[str]] = {}

    def look(told: Any) -> None:
        losses.append(told.loss)
        if told.step == told.steps:  # float16 skips first steps until its scale fits, and then has no moments
            seen.update(_dtypes(output / "checkpoints" / f"checkpoint-{told.step - 1}"))

    model = {"dtype": dtype, "load_in_4bit": four_bit}
    batch = {"num_train_epochs": 1 if bench.small else 3, "per_device_train_batch_size": 2 if bench.small else 1}
    recipe = made.recipe(bench, {**batch, "save_steps": 1}, model=model)
    record = train(bench, "run", recipe, made.rows(bench, EMPTYING), look)
    bench.expect("the adapter is trained in float32", sorted(seen["adapter"]), seen["adapter"] == {"float32"})
    bench.expect("so are its moments", sorted(seen["moments"]), seen["moments"] == {"float32"})
    _expect_learning(bench, losses)
    bench.figure(peak_gb=_gb(record.peak_memory_bytes), rows_per_second=record.rows_per_second, steps=record.steps)


def _dtypes(checkpoint: Path) -> dict[str, set[str]]:
    """Of a checkpoint's adapter and of AdamW's moments."""
    import torch

    state = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)["state"]
    moments = [tensor for entry in state.values() for name, tensor in entry.items() if name.startswith("exp_avg")]
    found = {"adapter": weights(checkpoint).values(), "moments": moments}
    return {name: {str(tensor.dtype).removeprefix("torch.") for tensor in tensors} for name, tensors in found.items()}


def _expect_learning(bench: Bench, losses: list[float]) -> None:
    bench.expect("all losses are finite", len(losses), bool(losses) and all(map(math.isfinite, losses)))
    bench.expect("the loss falls", [round(losses[0], 3), round(losses[-1], 3)], losses[-1] < 0.95 * losses[0])


def _gb(octets: int | None) -> float | None:
    return None if octets is None else octets / 1e9


def zero(bench: Bench, *, stage: int) -> None:
    """One process under DeepSpeed: a run, and the same run ended in its third step and resumed."""
    file = made.ROOT / "recipes" / "deepspeed" / f"zero{stage}.json"
    training = {"num_train_epochs": 2, "save_steps": 2}
    recipe = made.recipe(bench, training, runtime={"num_processes": 1, "deepspeed": str(file)})
    rows = made.rows(bench, EMPTYING)
    losses: list[float] = []
    whole = train(bench, "whole", recipe, rows, lambda told: losses.append(told.loss))

    def stop(told: Any) -> None:
        if told.step == 3:
            raise StopError

    with suppress(StopError):
        train(bench, "ended", recipe, rows, stop)
    resumed = train(bench, "ended", recipe, rows, resume=True)
    bench.expect("the ended run resumes from its second step", resumed.resumed_from, resumed.resumed_from == 2)
    apart = distance(whole.adapter, resumed.adapter)
    bench.expect(f"its adapter is that of the whole run, within {SAME}", apart, apart <= SAME)
    _expect_learning(bench, losses)
    bench.figure(peak_gb=_gb(whole.peak_memory_bytes), rows_per_second=whole.rows_per_second)


def twice(bench: Bench) -> None:
    """The same run twice in one process, as a study's worker does runs."""
    recipe = made.recipe(bench, {"num_train_epochs": 1 if bench.small else 2})
    rows = made.rows(bench, EMPTYING)
    first, second = (train(bench, name, recipe, rows) for name in ("first", "second"))
    apart = distance(first.adapter, second.adapter)
    bench.figure(same_bits=apart == 0.0)
    bench.expect(f"the same adapter, within {SAME} of its norm", apart, apart <= SAME)
    peaks = [(record.peak_memory_bytes or 0) / 1e9 for record in (first, second)]
    if bench.gpu:
        bench.expect("each run's own peak of memory, in GB", peaks, abs(peaks[1] - peaks[0]) < 0.05 * peaks[0])


def loaders(bench: Bench) -> None:
    """How long the device waits for rows: the same steps with batches that are ready, without workers, and with workers.

    A first run with workers warms up, and starts the server that forks them; a study starts it once for all its runs.
    """
    import tvt.train.run as one_process

    shape, count, per_device, workers = ((56, 56), 8, 4, 1) if bench.small else ((1024, 768), 64, 4, 4)
    rows = made.rows(bench, [1] * count, shape)
    training = {"global_batch_size": 8, "per_device_train_batch_size": per_device, "gradient_checkpointing": False}
    training["save_steps"] = 1000
    seconds = {}
    for name, beside in (("warm-up", workers), ("ready", 0), ("without", 0), ("workers", workers)):
        recipe = made.recipe(bench, training, runtime={"dataloader_num_workers": beside})
        with ready(one_process) if name == "ready" else nullcontext():
            seconds[name] = train(bench, name, recipe, rows).seconds
    shares = {name: round(min(1.0, seconds["ready"] / seconds[name]), 3) for name in ("without", "workers")}
    bench.figure(workers=workers, seconds={name: round(value, 3) for name, value in seconds.items()}, busy_share=shares)
    if bench.small:
        bench.expect("all train", sorted(seconds), len(seconds) == 4)
    else:
        enough = shares["workers"] >= max(0.8, shares["without"] - 0.05)
        bench.expect("with workers the device is busy for 80% of the time, and no less than without", shares, enough)


@contextmanager
def ready(one_process: Any) -> Iterator[None]:
    """Let runs of this process find their batches decoded, processed and collated before the clock starts."""

    class Ready(one_process.GuardedTrainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return list(super().get_train_dataloader())

    with mock.patch.object(one_process, "GuardedTrainer", Ready):
        yield


def plain(bench: Bench) -> None:
    """``tvt train`` against TRL's own loop on the same rows, in turn; the first of each warms up."""
    import torch

    shape, count = ((56, 56), 8) if bench.small else ((448, 448), 64)
    rows = made.rows(bench, [1] * count, shape)
    training = {"global_batch_size": 8, "per_device_train_batch_size": 4, "save_steps": 1000, "gradient_checkpointing": True}
    found: dict[str, list[tuple[float, float]]] = {"tvt": [], "TRL": []}
    for turn in range(1 if bench.small else 2):
        for name, turns in found.items():
            if bench.gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            if name == "tvt":
                record = train(bench, f"tvt-{turn}", made.recipe(bench, training), rows)
                seconds, peak = record.seconds, record.peak_memory_bytes or 0
            else:
                seconds = _trl(bench, rows, bench.folder / f"trl-{turn}")
                peak = torch.cuda.max_memory_allocated() if bench.gpu else 0
            turns.append((seconds, peak / 1e9))
    best = {name: min(seconds for seconds, _ in turns) for name, turns in found.items()}
    peaks = {name: turns[-1][1] for name, turns in found.items()}
    bench.figure(seconds=best, peak_gb=peaks, ratio=best["tvt"] / best["TRL"])
    if bench.small:
        bench.expect("both train", list(found), all(math.isfinite(seconds) for seconds in best.values()))
        return
    bench.expect("tvt takes at most 1.1 times as long", best["tvt"] / best["TRL"], best["tvt"] <= 1.1 * best["TRL"])
    bench.expect("and at most 1.1 times the memory", peaks, peaks["tvt"] <= 1.1 * peaks["TRL"])


def _trl(bench: Bench, rows: Path, output: Path) -> float:
    """The script that a person would write; seconds of its training loop."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText
    from trl import SFTConfig, SFTTrainer

    from tvt.core.recipe import ModelConfig
    from tvt.model.loading import load_processor

    cache = str(output / "cache")
    read = datasets.load_dataset("parquet", data_files=str(rows / "data" / "*.parquet"), split="train", cache_dir=cache)
    model: Any = AutoModelForImageTextToText.from_pretrained(bench.model, dtype=torch.bfloat16)
    trainer = SFTTrainer(
        model=model.to("cuda" if bench.gpu else "cpu"),
        args=SFTConfig(
            output_dir=str(output),
            seed=1,
            num_train_epochs=1,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            max_length=None,
            bf16=True,
            gradient_checkpointing=True,
            use_cpu=not bench.gpu,
            report_to="none",
            dataloader_pin_memory=bench.gpu,
            logging_steps=1,
            save_steps=1000,
            disable_tqdm=True,
            max_grad_norm=1.0,
        ),
        train_dataset=read.cast_column("images", datasets.List(datasets.Image())).select_columns(_COLUMNS),
        processing_class=load_processor(ModelConfig(model_name_or_path=str(bench.model))),
        peft_config=LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM", target_modules=TARGETS),
    )
    started = time.monotonic()
    trainer.train()
    return time.monotonic() - started


_COLUMNS = ["images", "prompt", "completion"]
TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


FOUR_BIT = (*TRAINING, "bitsandbytes")
LEGS = (
    Leg(name="4bit", what="training in 4 bits", run=partial(precision, dtype="bfloat16", four_bit=True), needs=FOUR_BIT),
    Leg(name="bf16", what="training in bfloat16", run=partial(precision, dtype="bfloat16")),
    Leg(name="fp16", what="training in float16", run=partial(precision, dtype="float16"), gpu=True),
    Leg(
        name="fp16-4bit",
        what="training in float16 with 4 bits, as on a T4",
        run=partial(precision, dtype="float16", four_bit=True),
        needs=FOUR_BIT,
        gpu=True,
    ),
    Leg(
        name="zero2", what="ZeRO-2, ended and resumed", run=partial(zero, stage=2), needs=(*TRAINING, "deepspeed"), seconds=180
    ),
    Leg(
        name="zero3", what="ZeRO-3, ended and resumed", run=partial(zero, stage=3), needs=(*TRAINING, "deepspeed"), seconds=180
    ),
    Leg(name="twice", what="the same run twice gives the same adapter", run=twice),
    Leg(
        name="loaders",
        what="how long the device waits for rows, with loader workers and without",
        run=loaders,
        alone=True,
        seconds=120,
    ),
    Leg(name="trl", what="tvt train against a plain TRL loop: time and memory", run=plain, alone=True, seconds=120),
)
