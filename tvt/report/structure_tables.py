"""What not every study has, as tables: transfer by level and granularity, by dose, and how alike the adapters are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from tvt.report.style import MISSING, dense_table, grid_tables, interval, join, number, percent, plain, shortened, titled
from tvt.stats.noise import Interval
from tvt.stats.ranks import Mantel
from tvt.transfer.adapter_similarity import AdapterSimilarity
from tvt.transfer.aggregates import MEASURES, GroupCell, Grouping
from tvt.transfer.dose_trend import DosePoint, DoseTrend
from tvt.types import Floats

NAME = 12
"""Most characters of a group's name."""
_CELL = 18
"""Characters of a cell: ``+0.123 ±0.045 (12)``."""


def group_tables(grouping: Grouping, width: int) -> Iterator[RenderableType]:
    """Mean PGF between the groups, and mean transferability and malleability of their tasks."""
    title = f"Mean PGF by {grouping.by} ± standard error (cells), from row to column"
    names = [shortened(group, NAME) for group in grouping.groups]
    room = max((width - max(map(len, names)) - 1) // (_CELL + 1), 1)
    for first in range(0, len(names), room):
        table = dense_table("", *names[first : first + room])
        for name, source in zip(names, grouping.groups, strict=True):
            cells = (grouping.cells.get((source, target)) for target in grouping.groups[first : first + room])
            table.add_row(name, *map(_cell, cells))
        yield titled(title, table) if first == 0 else table
    yield _measures(grouping)
    if grouping.ungrouped:
        yield f"Without a {grouping.by}, left out of it: {', '.join(map(plain, grouping.ungrouped))}."


def _measures(grouping: Grouping) -> Group:
    table = dense_table("", "tasks", *(what.replace("_", " ") for what in MEASURES))
    for group in grouping.groups:
        means = (_with_error(grouping.means[group][what]) for what in MEASURES)
        table.add_row(shortened(group, NAME), str(len(grouping.members[group])), *means)
    return titled(f"Transferability, malleability by {grouping.by}: mean ± standard error from runs", table)


def _cell(of: GroupCell | None) -> str:
    """Both errors together, as far as they are known."""
    if of is None:
        return MISSING
    known = [error for error in (of.interval.error, of.item_error) if np.isfinite(error)]
    error = f" ±{float(np.hypot.reduce(known)):.3f}" if known else ""
    return f"{of.mean:+.3f}{error} ({of.cells})"


def _with_error(of: Interval) -> str:
    return number(of.value) + (f" ±{of.error:.3f}" if np.isfinite(of.error) else "")


def dose_table(trend: DoseTrend) -> Group:
    """Mean transferability and the pattern at every dose, and by how much the full budget does more than the least."""
    table = dense_table("dose", "positive", "negative", "pattern", "cells")
    for point in trend.points:
        row = (interval(point.mean["positive"]), interval(point.mean["negative"]), interval(point.pattern))
        table.add_row(dose_name(point), *row, str(point.cells))
    title = "Mean transferability by dose (95% interval from the runs)"
    text = Text("\n".join([f"pattern: rank correlation of the cells with those at 100%. {_rise(trend.points[0])}"]))
    return Group(titled(title, table), text)


def dose_name(point: DosePoint) -> str:
    """The dose in per cent of the budget."""
    return f"{100 * point.dose:.3g}%"


def _rise(least: DosePoint) -> str:
    """How the least dose compares with the full budget."""
    rise, here, there = least.rise["positive"], least.mean["positive"].value, least.full["positive"]
    verb = "rises" if rise.value > 0 else "falls" if rise.value < 0 else "stays, going"
    text = f"From {dose_name(least)} to 100% mean positive transferability {verb} from {here:.3f} to {there:.3f}"
    if not np.isfinite(rise.low):
        return f"{text} (one run: no interval)."
    sure = "" if rise.low > 0 or rise.high < 0 else ", which may be noise between the runs"
    return f"{text} ({rise.value:+.3f}, 95%: {rise.low:+.3f} to {rise.high:+.3f}{sure})."


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
        return f"not tested, {of.pairs} pairs of tasks are too few or all alike"
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
