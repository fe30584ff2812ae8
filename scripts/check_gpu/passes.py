"""Single passes: the vision tower by its ways of attending, and the backward pass through it that nobody needs."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

from check_gpu import made
from check_gpu.leg import SCORING, Bench, Leg, NotRunError, load

Tensors = dict[str, Any]
REPEATS = 5
ROUNDING = {"float32": 1e-5, "bfloat16": 5e-2}
"""How far outputs of the tower may be apart, in parts of their norm."""
LOOP = "window loop"
KINDS_OF_WINDOWS = 4
"""Lengths of the windows of pictures of one size: whole, at the right, at the bottom, in the corner."""


def timed(bench: Bench, call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median seconds of a call that was made once before."""
    import torch

    seconds = []
    for turn in range(1 + repeats):
        if bench.gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if bench.gpu:
            torch.cuda.synchronize()
        if turn:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


@contextmanager
def counted_attention() -> Iterator[list[int]]:
    """Count calls of torch's attention; flash attention has calls of its own."""
    from torch.nn import functional

    calls = [0]
    original = functional.scaled_dot_product_attention

    def counted(*tensors: Any, **options: Any) -> Any:
        calls[0] += 1
        return original(*tensors, **options)

    with mock.patch.object(functional, "scaled_dot_product_attention", counted):
        yield calls


def tower(bench: Bench) -> None:
    """Two pictures of 1024 x 768 through Qwen2.5-VL's tower: a call of attention a window, windows stacked, flash attention."""
    import torch

    dtype = "bfloat16" if bench.gpu else "float32"
    grid = torch.tensor([[1, 10, 14] if bench.small else [1, 54, 74]] * 2, device=_device(bench))
    torch.manual_seed(0)
    patches = torch.randn(int(grid.prod(1).sum()), 3 * 2 * 14 * 14, device=grid.device, dtype=getattr(torch, dtype))
    found: dict[str, Any] = {}
    for name, model in _towers(bench, dtype):
        with torch.inference_mode():
            with counted_attention() as calls:
                found[name] = model(patches, grid).pooler_output.float()
            seconds = timed(bench, partial(model, patches, grid))
        bench.figure(**{name.replace(" ", "_"): {"seconds": round(seconds, 4), "attention_calls": calls[0]}})
        bench.expect(f"{name}: its output is finite", True, bool(found[name].isfinite().all()))
    first = found[LOOP]
    for name, output in found.items():
        if name != LOOP:
            apart = float((output - first).norm() / first.norm())
            bench.expect(f"{name}: as the {LOOP}, within {ROUNDING[dtype]}", apart, apart <= ROUNDING[dtype])
    layers = len(model.blocks)
    most = layers * KINDS_OF_WINDOWS
    few = bench.figures["stacked"]["attention_calls"]
    bench.expect(f"stacked: at most {most} calls of attention in {layers} layers", few, few <= most)


def _towers(bench: Bench, dtype: str) -> Iterator[tuple[str, Any]]:
    """The tower with the same random weights, in each way of attending that there is here."""
    import torch

    from tvt.model.attention import stack_windows

    for name, implementation in ((LOOP, "sdpa"), ("stacked", "sdpa"), ("flash", "flash_attention_2")):
        if name == "flash":
            try:
                load("flash_attn")
            except NotRunError as error:
                bench.left_out(f"{name} ({error})")
                continue
        torch.manual_seed(1)
        with torch.device(_device(bench)):
            model = made.tower(bench, dtype, implementation).eval()
        if name == "stacked":
            bench.expect("the installed transformers' tower can be stacked", True, stack_windows(model))
        yield name, model


class Passes(NamedTuple):
    """A forward and a backward pass through a fresh adapter."""

    gradients: Tensors
    seconds: float
    reached: int
    """Layers of the tower whose outputs got a gradient."""


def hook(bench: Bench) -> None:
    """A step's passes as transformers prepares them, and as tvt does, which spares the frozen tower: the same gradients."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without, cuBLAS may add in any order
    ways = {"transformers": False, "transformers again": False, "spared": True}
    found = {name: _passes(bench, spared=spared) for name, spared in ways.items()}
    first, again, spared = found.values()
    repeated, apart = _apart(first.gradients, again.gradients), _apart(first.gradients, spared.gradients)
    seconds = {name: round(one.seconds, 4) for name, one in found.items()}
    reached = {name: one.reached for name, one in found.items()}
    bench.figure(repeated_apart=repeated, seconds=seconds, ratio=first.seconds / spared.seconds)
    if repeated == 0:
        bench.expect("the adapter's gradients have the same bits", apart, apart == 0)
    else:  # some kernel adds in any order
        bench.expect("the adapter's gradients are as near as those of a repeated step", apart, apart <= 2 * repeated)
    bench.expect("the backward pass does not reach the tower", reached, spared.reached == 0 < first.reached)


def _apart(one: Tensors, other: Tensors) -> float:
    """How far gradients are apart at most, in parts of a tensor's largest; 0 where all have the same bits."""
    import torch

    if one.keys() != other.keys():
        return math.inf
    return max(
        0.0 if torch.equal(one[name], other[name]) else float((one[name] - other[name]).abs().max() / one[name].abs().max())
        for name in one
    )


def _passes(bench: Bench, *, spared: bool) -> Passes:
    """Through the base model as training loads it, with transformers' hooks or with tvt's."""
    import peft
    import torch

    from tvt.model.base import load_model
    from tvt.model.loading import load_processor
    from tvt.train.batches import Collator
    from tvt.train.parts import lora_config, spare_frozen_parts

    torch.use_deterministic_algorithms(True, warn_only=True)
    recipe = made.recipe(bench, {})
    collator = Collator(load_processor(recipe.model), picture_always=False)
    batch = {name: tensor.to(_device(bench)) for name, tensor in collator(made.examples(bench, 4)).items()}
    base = load_model(recipe.model)
    adapter = lora_config(base, recipe)
    if spared:
        spare_frozen_parts(base, adapter.target_modules)
    torch.manual_seed(0)
    model: Any = peft.get_peft_model(base, adapter)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # at zero it lets no gradient into the rest
            torch.nn.init.normal_(weight, std=0.02)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # its name before 5.24 too
    model.train()
    with counted_gradients(base) as reached:
        model(**batch).loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    def step() -> None:
        model(**batch).loss.backward()

    return Passes(gradients, timed(bench, step), len(reached))


@contextmanager
def counted_gradients(model: Any) -> Iterator[list[Any]]:
    """Count the tower's layers whose outputs get a gradient."""
    reached: list[Any] = []

    def watch(_module: Any, _inputs: Any, output: Any) -> None:
        if output.requires_grad:
            output.register_hook(reached.append)

    blocks = [module for name, module in model.named_modules() if name.rpartition(".")[0].endswith("visual.blocks")]
    handles = [block.register_forward_hook(watch) for block in blocks]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


def _device(bench: Bench) -> str:
    return "cuda" if bench.gpu else "cpu"


LEGS = (
    Leg(
        name="tower",
        what="the vision tower: window loop, stacked windows, flash attention",
        run=tower,
        needs=("torch", "transformers"),
        alone=True,
        model=False,
    ),
    Leg(
        name="hook",
        what="forward and backward with gradients through the frozen tower, and without",
        run=hook,
        needs=SCORING,
        alone=True,
    ),
)
