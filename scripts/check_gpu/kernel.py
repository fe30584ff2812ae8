"""A small Triton kernel: building it takes a C compiler and Python's headers, as TRL's fused head does."""

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 128


@triton.jit  # type: ignore[untyped-decorator]
def _double(source: Any, target: Any, count: Any, block: tl.constexpr) -> None:
    places = tl.program_id(0) * block + tl.arange(0, block)
    inside = places < count
    tl.store(target + places, 2 * tl.load(source + places, mask=inside), mask=inside)


def doubles() -> bool:
    """Whether the kernel, built and run on the GPU, doubles numbers."""
    source = torch.arange(1000, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    _double[(triton.cdiv(source.numel(), BLOCK),)](source, target, source.numel(), BLOCK)
    return bool(torch.equal(target, 2 * source))
