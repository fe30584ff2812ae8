"""How alike the sources' adapters are, as tables of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from tvt.report.grid_tables import grid_tables
from tvt.report.labels import join, plain
from tvt.report.table_style import dense_table, number, percent, titled
from tvt.transfer.adapter_similarity import AdapterSimilarity
from tvt.transfer.mantel import Mantel
from tvt.types import Floats


def adapter_tables(of: AdapterSimilarity, labels: Mapping[str, str], width: int) -> Iterator[RenderableType]:
    """The similarity of every two sources, its noise, its parts, and how it goes with PGF.

    Args:
        of: what to print.
        labels: short forms of the sources' names.
        width: columns of the terminal.
    """
    many = len(of.runs) > 1
    beside = "; diagonal: the task itself with another seed" if many else ""
    title = f"Similarity of adapters: cosine x 100, same seed{beside}"
    yield Group(*grid_tables(of.sources, of.sources, with_own(of), labels=labels, width=width, title=title))
    yield Text("\n".join(_sentences(of)))
    if of.parts:
        yield _parts(of, many)


def with_own(of: AdapterSimilarity) -> Floats:
    """The similarity within a seed, and on the diagonal, where that is 1, the one between seeds."""
    return np.where(of.apart, of.mean, of.between)


def mantel_sentence(of: Mantel) -> str:
    """A rank correlation with its test."""
    if not np.isfinite(of.rho):
        return f"not told, {of.pairs} pairs of tasks are too few or all alike"
    how = f"all {of.relabellings:,}" if of.exact else f"{of.relabellings:,} random"
    return f"rho {of.rho:+.2f} over {of.pairs} pairs, p {of.p:.2g} (Mantel test, {how} relabellings)"


def _sentences(of: AdapterSimilarity) -> Iterator[str]:
    apart = np.where(of.apart, of.mean, np.nan)
    if np.isfinite(apart).any():
        i, j = (int(at) for at in np.unravel_index(np.nanargmax(apart), apart.shape))
        pair = join([plain(of.sources[i]), plain(of.sources[j])])
        yield f"Most alike: {pair} ({apart[i, j]:+.3f}{_spread(of.spread[i, j])}). Mean over pairs: {np.nanmean(apart):+.3f}."
    if np.isfinite(of.own).any():
        others = np.where(of.apart, of.between, np.nan)
        rest = f", with another task {np.nanmean(others):+.3f}" if np.isfinite(others).any() else ""
        yield f"Between seeds, which share no start: with itself {np.nanmean(of.own):+.3f}{rest}."
    if of.pgf is not None:
        yield f"With symmetrised PGF: {mantel_sentence(of.pgf)}."
    if of.pgf_between is not None:
        yield f"The same between seeds: {mantel_sentence(of.pgf_between)}."


def _spread(value: float) -> str:
    return f", SD over the seeds {value:.3f}" if np.isfinite(value) else ""


def _parts(of: AdapterSimilarity, many: bool) -> Group:
    table = dense_table("part", "modules", "of the change", "two tasks, same seed", *(["itself, other seed"] if many else []))
    for part in of.parts:
        own = [number(part.own)] if many else []
        table.add_row(part.name, str(part.modules), percent(part.share), number(part.same_run), *own)
    return titled("Mean similarity by part of the model (share of the squared norm)", table)
