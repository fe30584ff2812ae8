"""Single passes: the vision tower by its ways of attending, and the backward pass through it that nobody needs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

from check_gpu import made
from check_gpu.leg import Bench, Leg, NotRunError, load

REPEATS = 5
ROUNDING = {"float32": 1e-5, "bfloat16": 2e-2}
"""How far outputs of the tower may be apart, in parts of their norm."""


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
    first = found["window loop"]
    for name, output in found.items():
        if output is not first:
            apart = float((output - first).norm() / first.norm())
            bench.expect(f"{name}: as the window loop, within {ROUNDING[dtype]}", apart, apart <= ROUNDING[dtype])


def _towers(bench: Bench, dtype: str) -> Iterator[tuple[str, Any]]:
    """The tower with the same random weights in each way of attending that there is here."""
    import torch

    for name, implementation in (("window loop", "sdpa"), ("flash", "flash_attention_2")):
        if name == "flash":
            try:
                load("flash_attn")
            except NotRunError as error:
                bench.left_out(f"{name} ({error})")
                continue
        torch.manual_seed(1)
        with torch.device(_device(bench)):
            yield name, made.tower(bench, dtype, implementation).eval()


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
)
