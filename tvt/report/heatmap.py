"""Heatmaps of gains, of personas and of how alike adapters are, and the groups of the tasks beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation

from tvt.core.matrix import TransferMatrix
from tvt.core.values import aligned
from tvt.report.structure_tables import NAME, mantel_sentence, with_own
from tvt.report.style import (
    DIVERGING,
    GREY,
    HARM,
    HELP,
    INK,
    MARKERS,
    PALE_HARM,
    PALE_HELP,
    SERIES,
    plain,
    short_labels,
    shortened,
)
from tvt.transfer.adapter_similarity import AdapterSimilarity, symmetrised
from tvt.transfer.aggregates import MEASURES, Grouping
from tvt.transfer.analysis import Analysis, StudyAnalysis
from tvt.transfer.noise import sign_unstable
from tvt.transfer.personas import KINDS, Persona
from tvt.types import Floats

MOST_NUMBERS = 26
"""Sides up to this long get a number in each cell."""
MOST_LABELS = 80
LEGEND_DROP = 34
"""Points from the axes down to the legend, past the labels."""
LEGEND_WIDTH = 3.9
"""Room that the legend takes in a row, in inches; under narrower cells its entries stand in a column."""
COLUMN_WIDTH = 1.7
BAR_LEAST = 1.3
"""Least height of the colour bar, in inches."""


def heatmap_figure(study: StudyAnalysis) -> Figure:
    """Draw the mean matrix; call inside :func:`tvt.report.style.styled`."""
    matrix = study.matrix
    mean = matrix.mean
    rows, columns = mean.shape
    cell = float(np.clip(15 / max(rows, columns), 0.06, 0.52))
    # The axes fill the figure, so that a cell has its size; the rest lies outside and is kept by the tight bounding box.
    figure = Figure(figsize=(columns * cell, rows * cell))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    limit = colour_limit(np.where(matrix.self_cells, np.nan, mean))
    image = axes.imshow(mean, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="equal", interpolation="nearest")
    _mark_cells(axes, study, image, cell)
    if max(rows, columns) <= MOST_NUMBERS:
        _number_cells(axes, mean, limit, cell)
    _label_axes(axes, study)
    width, height = columns * cell, rows * cell
    tall = max(height, BAR_LEAST) / height
    # A bar taller than the cells must clear the legend below them.
    left = max(width, COLUMN_WIDTH if tall > 1 else 0.0) + 0.16
    beside = figure.add_axes((left / width, 1 - tall, 0.16 / width, tall))
    bar = figure.colorbar(image, cax=beside, extend=_extend(mean, limit))
    bar.set_label("mean PGF" if matrix.metric == "pgf" else "mean gain", labelpad=3)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8)
    _legend(axes, study, 3 if width >= LEGEND_WIDTH else 1)
    kind = "PGF" if matrix.metric == "pgf" else "Gain"
    runs = f"mean of {len(matrix.runs)} runs" if len(matrix.runs) > 1 else "one run"
    axes.set_title(f"{kind} x 100 in {shortened(study.name, 40)} ({runs})", pad=8, loc="left")
    return figure


def colour_limit(values: Floats) -> float:
    """Magnitude at which the colours end: the 97th percentile, so that a single outlier does not bleach the rest."""
    known = np.abs(values[np.isfinite(values)])
    return max(float(np.quantile(known, 0.97)), 1e-9) if len(known) else 1.0


def _number_cells(axes: Any, mean: Floats, limit: float, cell: float) -> None:
    for (i, j), value in np.ndenumerate(mean):
        if not np.isfinite(value):
            continue
        colour = "white" if abs(value) > 0.62 * limit else INK
        text = f"{100 * value:.0f}".replace("-", "−")
        size = cell * (15.5 if len(text) < 4 else 13)
        axes.text(j, i, "0" if text == "−0" else text, ha="center", va="center", fontsize=size, color=colour)


def _mark_cells(axes: Any, study: StudyAnalysis, image: Any, cell: float) -> None:
    matrix = study.matrix
    unstable = sign_unstable(matrix.values)
    for (i, j), value in np.ndenumerate(matrix.mean):
        if not np.isfinite(value):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor=GREY, linewidth=0))
        if unstable[i, j]:
            axes.plot(j + 0.32, i - 0.32, marker="o", markersize=cell * 5.6, color=INK, markeredgewidth=0, zorder=4)
        if matrix.self_cells[i, j]:
            # A smaller square on white stands apart on dark cells too.
            known = bool(np.isfinite(value))
            colour, ground = (image.cmap(image.norm(value)), "white") if known else ("none", "none")
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=ground, linewidth=0))
            axes.add_patch(Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, facecolor=colour, edgecolor=INK, linewidth=cell * 2.6))


def _label_axes(axes: Any, study: StudyAnalysis) -> None:
    matrix, labels = study.matrix, short_labels(study.matrix)
    rows, columns = matrix.mean.shape
    axes.set_xticks(range(columns) if columns <= MOST_LABELS else [])
    axes.set_yticks(range(rows) if rows <= MOST_LABELS else [])
    if columns <= MOST_LABELS:
        axes.set_xticklabels([labels[t] for t in matrix.targets], rotation=0 if columns <= MOST_NUMBERS else 90)
    if rows <= MOST_LABELS:
        axes.set_yticklabels([_row_label(s, labels[s]) for s in matrix.sources])
    axes.xaxis.tick_bottom()
    axes.tick_params(length=0, labelsize=8 if max(rows, columns) <= MOST_NUMBERS else 5)
    axes.set_xlabel("evaluated on", labelpad=4)
    axes.set_ylabel("finetuned on", labelpad=4)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _row_label(name: str, short: str) -> str:
    return name if name == short else f"{shortened(plain(name), 26)}  {short}"


def _extend(mean: Floats, limit: float) -> str:
    """Which ends of the colour bar get an arrow, because values lie beyond."""
    known = mean[np.isfinite(mean)]
    low, high = bool((known < -limit).any()), bool((known > limit).any())
    return "both" if low and high else "min" if low else "max" if high else "neither"


def _legend(axes: Any, study: StudyAnalysis, columns: int) -> None:
    matrix = study.matrix
    handles: list[Any] = []
    if matrix.self_cells.any():
        handles.append(Patch(facecolor="white", edgecolor=INK, linewidth=1.4, label="transfer to itself"))
    if study.noise.sign_flips:
        handles.append(Line2D([], [], marker="o", markersize=3.4, color=INK, linestyle="", label="sign flips between runs"))
    if study.noise.missing:
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", linewidth=0, label="missing"))
    if handles:
        below = axes.transAxes + ScaledTranslation(0, -LEGEND_DROP / 72, axes.figure.dpi_scale_trans)
        place = {"loc": "upper left", "bbox_to_anchor": (0.0, 0.0), "bbox_transform": below}
        axes.legend(handles=handles, ncols=columns, borderaxespad=0, handlelength=1.2, **place)


_ASIDE = {"helps": -0.12, "harms": -0.12, "is_helped": 0.12, "is_harmed": 0.12}
_SIDES = {"source": ("transferability: helps, harms others", "o"), "target": ("malleability: is helped, is harmed", "s")}


def groups_figure(study: StudyAnalysis) -> Figure:
    """Draw the groupings of a study side by side; call inside :func:`tvt.report.style.styled`."""
    widths = [max(3.4, 1.0 + 0.9 * len(grouping.groups)) for grouping in study.groups]
    figure = Figure(figsize=(sum(widths), 3.6), layout="constrained")
    row = figure.subplots(1, len(widths), squeeze=False, sharey=True, width_ratios=widths)[0]
    for axes, grouping in zip(row, study.groups, strict=True):
        _draw(axes, grouping)
        axes.set_title(f"By {grouping.by}")
    row[0].set_ylabel("mean over the group's tasks")
    row[0].legend(loc="best")
    figure.suptitle(f"Transfer by group in {shortened(study.name, 40)}", x=0.02, ha="left", weight="bold", fontsize=10)
    left_out = [f"{len(g.ungrouped)} tasks without a {g.by}" for g in study.groups if g.ungrouped]
    note = "Bars: 95% interval from the runs." + (f" Left out: {', '.join(left_out)}." if left_out else "")
    figure.supxlabel(note, x=0.02, ha="left", fontsize=7.5, color=GREY)
    return figure


def _draw(axes: Any, grouping: Grouping) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for what, (side, sign) in MEASURES.items():
        result = [grouping.means[group][what] for group in grouping.groups]
        places = np.arange(len(result)) + _ASIDE[what]
        values = np.array([of.value for of in result])
        reach = np.nan_to_num(np.array([[of.value - of.low for of in result], [of.high - of.value for of in result]]))
        colour, (label, marker) = (HELP if sign > 0 else HARM), _SIDES[side]
        style = {"color": colour, "marker": marker, "markersize": 5, "linestyle": "", "markerfacecolor": colour}
        if side == "target":
            style["markerfacecolor"] = "white"
        axes.plot(places, values, label=label if sign > 0 else None, zorder=4, **style)
        axes.errorbar(places, values, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=3, zorder=3)
    names = [f"{shortened(group, NAME)}\n({len(grouping.members[group])} tasks)" for group in grouping.groups]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="x", length=0)


MOST_TASKS = 20
"""Rows of a panel: the tasks that stand out most."""
TITLES = {
    "donor": "Donor: helps others",
    "pirate": "Pirate: harms others",
    "sponge": "Sponge: is helped",
    "sieve": "Sieve: is harmed",
}


def persona_figure(analysis: Analysis) -> Figure:
    """Draw the four panels; call inside :func:`tvt.report.style.styled`."""
    result = analysis.personas
    rows = max([1, *(min(len(result.of(kind)), MOST_TASKS) for kind in KINDS)])
    figure = Figure(figsize=(10.4, 2 * (0.24 * rows + 0.9) + 0.4), layout=ConstrainedLayoutEngine(hspace=0.04, wspace=0.03))
    grid = figure.subplots(2, 2)
    for axes, kind in zip(grid.flat, KINDS, strict=True):
        tests = sorted(result.of(kind), key=lambda t: (t.p, -np.nan_to_num(t.median, nan=-9.0)))[:MOST_TASKS]
        _panel(axes, tests, result.alpha, "donor" if KINDS[kind][1] > 0 else "pirate")
        axes.set_title(TITLES[kind])
    handles: list[Any] = [
        Line2D([], [], marker=_marker(k), color=_colour(k), linestyle="", markersize=5, label=shortened(study.name, 30))
        for k, study in enumerate(analysis.studies)
    ]
    handles.append(Line2D([], [], marker="|", color=INK, linestyle="", markersize=9, markeredgewidth=1.6, label="median"))
    handles.append(Line2D([], [], color=PALE_HELP, linewidth=7, label=f"passes: p ≤ {result.alpha:g}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    for axes in grid[1]:
        axes.set_xlabel("aggregate minus the other tasks' mean, one point a run", labelpad=6)
    return figure


def _panel(axes: Any, tests: list[Persona], alpha: float, tone: str) -> None:
    """One row a task, least p on top."""
    strong, pale = (HELP, PALE_HELP) if tone == "donor" else (HARM, PALE_HARM)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for row, test in enumerate(tests):
        if test.p <= alpha:
            axes.axhspan(row - 0.5, row + 0.5, color=pale, linewidth=0, zorder=0)
        for study in sorted(set(test.studies)):
            values = [v for v, at in zip(test.values, test.studies, strict=True) if at == study]
            spread = row + 0.13 * (study - max(test.studies) / 2)
            axes.scatter(
                values, [spread] * len(values), s=13, marker=_marker(study), color=_colour(study), alpha=0.8, linewidth=0
            )
        if test.values:
            axes.plot(test.median, row, marker="|", color=INK, markersize=9, markeredgewidth=1.6, zorder=5)
        axes.annotate(
            _p_text(test.p),
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=strong if test.p <= alpha else GREY,
            weight="bold" if test.p <= alpha else "normal",
        )
    axes.set_ylim(len(tests) - 0.5, -0.5)
    axes.set_yticks(range(len(tests)), [shortened(plain(t.task), 26) for t in tests])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines["left"].set_visible(False)
    axes.annotate("p", (1.01, 1.02), xycoords="axes fraction", fontsize=8, color=GREY, va="bottom")
    for label, test in zip(axes.get_yticklabels(), tests, strict=True):
        label.set_weight("bold" if test.p <= alpha else "normal")


def _p_text(p: float) -> str:
    return f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def _marker(study: int) -> str:
    return MARKERS[study % len(MARKERS)]


def _colour(study: int) -> str:
    return SERIES[study % len(SERIES)]


def adapter_figure(name: str, of: AdapterSimilarity, matrix: TransferMatrix) -> Figure:
    """Draw both tables over the same tasks in the same order; call inside :func:`tvt.report.style.styled`.

    Args:
        name: of the study.
        of: the similarity of its adapters.
        matrix: the study; sources that are no targets are hatched in its table.
    """
    labels = short_labels(matrix)
    side = float(np.clip(len(of.sources) * 0.42, 2.6, 9.0))
    figure = Figure(figsize=(2 * side + 3.0, side + 1.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _table(figure, left, with_own(of), of.sources, labels)
    left.set_title(f"Cosine x 100 of adapters in {shortened(name, 24)}")
    tasks = [source for source in of.sources if source in matrix.sources and source in matrix.targets]
    names = tasks, of.sources
    pairs = aligned(symmetrised(matrix, tasks), names, names)
    _table(figure, right, pairs, of.sources, labels)
    right.set_title(f"{'PGF' if matrix.metric == 'pgf' else 'Gain'} x 100, mean of both directions")
    notes = ["Same seed; diagonal: the task itself with another seed."] if len(of.runs) > 1 else ["One seed."]
    notes += [f"With PGF: {mantel_sentence(of.pgf)}."] if of.pgf is not None else []
    # Below both, where it does not widen either.
    figure.supxlabel("\n".join(notes).replace("-", "−"), x=0.02, ha="left", fontsize=7.5, color=GREY)
    return figure


def _table(figure: Figure, axes: Any, values: Floats, names: tuple[str, ...], labels: Mapping[str, str]) -> None:
    count = len(names)
    limit = colour_limit(np.where(np.eye(count, dtype=bool), np.nan, values))
    image = axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="equal", interpolation="nearest")
    axes.set_facecolor("#EEEEEE")
    if count <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.62 * limit else INK
                text = f"{100 * value:.0f}".replace("-", "−")
                axes.text(j, i, "0" if text == "−0" else text, ha="center", va="center", fontsize=7, color=colour)
    shown = [labels[name] for name in names] if count <= MOST_LABELS else []
    axes.set_xticks(range(len(shown)), shown, rotation=0 if count <= MOST_NUMBERS else 90)
    axes.set_yticks(range(len(shown)), shown)
    axes.tick_params(length=0, labelsize=8 if count <= MOST_NUMBERS else 5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8)
