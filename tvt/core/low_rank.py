"""What a LoRA adapter adds to one weight of the base model."""

from __future__ import annotations

from dataclasses import dataclass

from tvt.types import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """The update ``scale * b @ a`` of one weight.

    ``a`` is (rank, inputs), ``b`` is (outputs, rank). ``a`` and ``b`` alone say nothing: for every invertible M, ``b M`` and
    ``M^-1 a`` are the same update.
    """

    a: Floats
    b: Floats
    scale: float
