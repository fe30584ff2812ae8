"""What any finetuning does to the targets, and what the sources do beyond it, as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from tvt.core.matrix import TransferMatrix
from tvt.report.style import MISSING, MOST_ROWS, dense_table, join, number, percent, plain, short_labels, shortened, titled
from tvt.transfer.generic import Split
from tvt.types import Floats

_PREFIX = "placebo-"


def split_tables(parts: Split, matrix: TransferMatrix) -> Iterator[RenderableType]:
    """The generic part of each target with the sources that do most beyond it, then what that amounts to."""
    kinds = () if matrix.placebo is None else matrix.placebo.sources
    heads = (kind.removeprefix(_PREFIX) for kind in kinds)
    table = dense_table("target", "generic", *heads, "does most", "does least")
    labels = short_labels(matrix)
    order = sorted(range(len(parts.targets)), key=lambda j: -np.nan_to_num(parts.generic[j], nan=-np.inf))
    for j in order[:MOST_ROWS]:
        error = parts.generic_error[j]
        generic = number(parts.generic[j]) + (f" ±{error:.3f}" if np.isfinite(error) else "")
        each = [] if matrix.placebo is None else [number(value) for value in matrix.placebo.mean[:, j]]
        table.add_row(shortened(plain(parts.targets[j]), 24 - 2 * len(kinds)), generic, *each, *_extremes(parts, j, labels))
    yield titled("What any finetuning does to a target (generic), and who does most beyond it", table)
    yield Text("\n".join(split_sentences(parts, matrix)), style="dim")


def split_sentences(parts: Split, matrix: TransferMatrix) -> Iterator[str]:
    """Where the generic parts come from, what they explain, and how many transfers are more than that."""
    if parts.by_placebo and matrix.placebo is not None:
        kinds = join([kind.removeprefix(_PREFIX) for kind in matrix.placebo.sources])
        runs = len(matrix.placebo.runs)
        yield f"Generic: the mean of the placebos ({kinds}; {runs} run{'' if runs == 1 else 's'} of each)."
    elif "sources" in parts.origins:
        yield "Generic: the mean over the other tasks' sources, since no placebo was run (placebo: in the recipe)."
    shares = parts.variance
    if np.isfinite(shares.target):
        yield (
            f"Variance of the transfers between tasks: {percent(shares.target)} by the target alone, "
            f"{percent(shares.source)} by the source alone, {percent(shares.rest)} the rest."
        )
    if (found := parts.significance) is not None:
        more = f"{len(found.helps)} help and {len(found.harms)} harm"
        yield (
            f"Beyond it stand out (*, t tests, Holm, 5%): of {found.tested} transfers {more}; "
            f"of {found.own_tested} own gains {len(found.own)}."
        )


def _extremes(parts: Split, j: int, labels: dict[str, str]) -> tuple[str, str]:
    """The other tasks' sources that do most and least to a target, beyond what any does."""
    column: Floats = np.where([source == parts.targets[j] for source in parts.sources], np.nan, parts.specific[:, j])
    if not np.isfinite(column).any():
        return MISSING, MISSING
    best, worst = int(np.nanargmax(column)), int(np.nanargmin(column))
    return _named(parts, best, j, labels), _named(parts, worst, j, labels)


def _named(parts: Split, i: int, j: int, labels: dict[str, str]) -> str:
    found = parts.significance
    pair = (parts.sources[i], parts.targets[j])
    mark = "*" if found is not None and pair in (*found.helps, *found.harms) else " "
    return f"{labels[parts.sources[i]]} {parts.specific[i, j]:+.3f}{mark}"
