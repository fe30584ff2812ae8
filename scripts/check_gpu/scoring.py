"""Scoring: the base model's bits around adapters, batches against single questions, memory given back and memory that ends."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from check_gpu import made, training
from check_gpu.leg import SCORING, Bench, Leg, NotRunError
from check_gpu.leg import load as installed

BATCH = 16
NEAR = 0.25
"""Log-probabilities in bfloat16 may differ by so much between a batch and a question alone: other kernels round otherwise."""
LEFT = 256 * 2**20
"""Bytes that may stay allocated: workspaces of cuBLAS, and the factors by which weights are fingerprinted."""
Scores = list[tuple[float, ...]]


def load(bench: Bench, **model: Any) -> Any:
    """The base model as it is scored."""
    from tvt.core.recipe import ModelConfig
    from tvt.model.base import load_base

    return load_base(ModelConfig(model_name_or_path=str(bench.model), dtype="bfloat16", **model))


def scorer(loaded: Any) -> Any:
    """Scores option letters."""
    from tvt.core.recipe import EvaluationConfig
    from tvt.evaluate.scorer import Scorer

    return Scorer(loaded, EvaluationConfig(batch_size=BATCH))


def scores(scores_with: Any, model: Any, questions: Sequence[Any], batch: int) -> Scores:
    """Log-probabilities of the letters of each question; what was prepared is kept for the next call, as in a study."""
    parts = [questions[start : start + batch] for start in range(0, len(questions), batch)]
    batches = [(part, [question.id for question in part]) for part in parts]
    return [outcome.scores for outcomes in scores_with.score_all(model, batches) for outcome in outcomes]


def adapter(bench: Bench, loaded: Any, seed: int) -> Any:
    """An adapter with random weights, saved and checked; the base model is put back."""
    import torch
    from peft import LoraConfig, get_peft_model

    from tvt.evaluate.adapters import check_adapter

    folder = bench.folder / f"adapter-{seed}"
    torch.manual_seed(seed)
    tuned: Any = get_peft_model(loaded.model, LoraConfig(r=8, lora_alpha=16, target_modules=training.TARGETS))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    tuned.save_pretrained(folder)
    loaded.put_back()
    return check_adapter(folder)


def scoring(bench: Bench) -> None:
    """The base, two adapters, and the base again, whose scores must be the same bits; then batches against single questions."""
    from tvt.evaluate.adapters import attached

    asked = made.questions(bench, 16 if bench.small else 128)
    loaded = load(bench)
    adapters = [adapter(bench, loaded, seed) for seed in (1, 2)]
    scores_with = scorer(loaded)
    found: list[Scores] = []
    seconds = []
    for one in (None, *adapters, None):
        with attached(loaded, one) as model:
            started = time.monotonic()
            found.append(scores(scores_with, model, asked, BATCH))
            seconds.append(time.monotonic() - started)
    first, *others, again = found
    bench.expect("the base has the same bits after two adapters", first == again, first == again)
    changed = [one != first for one in others] + [others[0] != others[1]]
    bench.expect("adapters change scores, each its own way", changed, all(changed))
    bench.expect("without loading the base again", loaded.reloads, loaded.reloads == 0)
    alone = scores(scores_with, loaded.model, asked[: len(asked) // 2], 1)
    apart = max(abs(a - b) for one, two in zip(alone, first, strict=False) for a, b in zip(one, two, strict=True))
    agree = sum(_letter(one) == _letter(two) for one, two in zip(alone, first, strict=False)) / len(alone)
    bench.expect(f"batches of {BATCH} score as single questions do, within {NEAR}", apart, apart <= NEAR)
    bench.expect("and give the same letters to 95% of questions", agree, agree >= 0.95)
    bench.expect("inputs are prepared once", scores_with.stored.hits, scores_with.stored.hits == 3 * len(asked) / BATCH)
    bench.figure(questions_per_second=[round(len(asked) / value, 1) for value in seconds])


def _letter(told: Sequence[float]) -> int:
    return max(range(len(told)), key=lambda place: told[place])


def memory(bench: Bench) -> None:
    """A base model that is scored, trained on, scored and let go, as in a study's worker: its bits, and what it leaves."""
    asked, rows = made.questions(bench, BATCH), made.rows(bench, training.EMPTYING)
    empty = allocated(bench)
    loaded = load(bench)
    found = [scores(scorer(loaded), loaded.model, asked, BATCH)]
    held = allocated(bench)
    training.train(bench, "run", made.recipe(bench, {}), rows, base=loaded)
    after = allocated(bench)
    found.append(scores(scorer(loaded), loaded.model, asked, BATCH))
    bench.expect("the base has the same bits after a run was trained on it", found[0] == found[1], found[0] == found[1])
    bench.expect("it was loaded once", loaded.loads, loaded.loads == 1)
    loaded.release()
    left = allocated(bench)
    if not bench.gpu:
        bench.left_out("memory before and after (needs a GPU)")
        return
    bench.figure(model_gb=(held - empty) / 1e9)
    bench.expect("GB left by training: workspaces at most", (after - held) / 1e9, after - held <= LEFT)
    bench.expect("GB left when the base is let go: workspaces at most", (left - empty) / 1e9, left - empty <= LEFT)


def allocated(bench: Bench) -> int:
    """Bytes of the GPU that tensors hold, once what nobody needs is gone; 0 without one."""
    gc.collect()
    if not bench.gpu:
        return 0

    import torch

    torch.cuda.empty_cache()
    return int(torch.cuda.memory_allocated())


def oom_scoring(bench: Bench) -> None:
    """A batch that does not fit is halved until it does, and all questions get their scores."""
    loaded = load(bench)
    scores_with = scorer(loaded)
    asked = made.questions(bench, BATCH, (1024, 768))
    scores(scores_with, loaded.model, asked[:1], 1)  # kernels and workspaces
    few, few_bytes = _peak(partial(scores, scores_with, loaded.model, asked, 4))
    _, many_bytes = _peak(partial(scores, scores_with, loaded.model, asked, BATCH))
    bench.figure(peak_gb={"batches of 4": few_bytes / 1e9, f"batch of {BATCH}": many_bytes / 1e9})
    with at_most((few_bytes + many_bytes) // 2), mock.patch.object(scores_with, "score", wraps=scores_with.score) as halved:
        found = scores(scores_with, loaded.model, asked, BATCH)
    bench.expect("halves of the batch are scored", halved.call_count, halved.call_count >= 2)
    apart = max(abs(a - b) for one, two in zip(found, few, strict=True) for a, b in zip(one, two, strict=True))
    bench.expect(f"with the scores of smaller batches, within {NEAR}", apart, apart <= NEAR)


def _peak(call: Any) -> tuple[Any, int]:
    """What a call gives, and the most bytes of the GPU that it had reserved."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return call(), torch.cuda.max_memory_reserved()


@contextmanager
def at_most(octets: int) -> Iterator[None]:
    """Leave this process so many bytes of the GPU."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, octets / torch.cuda.mem_get_info()[1]))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def oom_training(bench: Bench) -> None:
    """Out of memory in training, in this process and in one of its own: one line with the advice."""
    import torch

    rows = made.rows(bench, [1] * 16, (1024, 768))
    batch = {"global_batch_size": 16, "per_device_train_batch_size": 16, "gradient_checkpointing": False}
    size = sum(path.stat().st_size for path in bench.model.glob("*.safetensors"))
    room = size + 3 * 2**30
    with at_most(room):
        _expect_advice(bench, "in this process", made.recipe(bench, batch), rows)
    try:
        installed("deepspeed")
    except NotRunError as error:
        bench.left_out(f"out of memory in a process of its own ({error})")
        return
    gc.collect()
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    taken = torch.empty(max(0, free - room - 2**30), dtype=torch.uint8, device="cuda")
    file = made.ROOT / "recipes" / "deepspeed" / "zero2.json"
    recipe = made.recipe(bench, batch, runtime={"num_processes": 1, "deepspeed": str(file)})
    _expect_advice(bench, "in a process of its own", recipe, rows)
    del taken


def _expect_advice(bench: Bench, where: str, recipe: Any, rows: Path) -> None:
    from tvt.errors import TvtError

    try:
        training.train(bench, where.replace(" ", "-"), recipe, rows)
    except TvtError as error:
        told = str(error)
        advice = "out of memory" in told and "training.per_device_train_batch_size" in told
        bench.expect(f"{where}: one line with the advice", told[:300], advice and "\n" not in told)
    else:
        bench.expect(f"{where}: it runs out of memory", "it trained", False)


LEGS = (
    Leg(
        name="scoring",
        what="scores of base, adapters, base; batches against single questions",
        run=scoring,
        needs=SCORING,
        alone=True,
    ),
    Leg(name="memory", what="one base model for scoring and training: its bits, and the memory it leaves", run=memory),
    Leg(
        name="oom-score",
        what="out of memory in scoring: batches are halved",
        run=oom_scoring,
        needs=SCORING,
        gpu=True,
        whole=True,
    ),
    Leg(
        name="oom-train",
        what="out of memory in training: one line of advice",
        run=oom_training,
        gpu=True,
        whole=True,
        alone=True,
        seconds=150,
    ),
)
