"""A table of past mixture runs: the weights each was trained with and the scores it got."""

from __future__ import annotations

from dataclasses import dataclass

from tvt.core.pgf import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureRuns:
    """``weights`` is (runs, sources), rows summing to 1; ``scores`` is (runs, targets), NaN where missing.

    ``lower_is_better`` is true for losses. ``notes`` says what was mended while reading (e.g. renormalised rows).
    """

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Floats
    scores: Floats
    lower_is_better: bool = False
    notes: tuple[str, ...] = ()
    digest: str = ""
