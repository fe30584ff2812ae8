"""How far each task stands out from the others in every run of every study, and how alike adapters are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from tvt.core.matrix import TransferMatrix
from tvt.core.values import aligned
from tvt.report.heatmap import MOST_LABELS, MOST_NUMBERS, colour_limit
from tvt.report.structure_tables import mantel_sentence, with_own
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
from tvt.transfer.analysis import Analysis
from tvt.transfer.personas import KINDS, Persona
from tvt.types import Floats

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
    found = analysis.personas
    rows = max([1, *(min(len(found.of(kind)), MOST_TASKS) for kind in KINDS)])
    figure = Figure(figsize=(10.4, 2 * (0.24 * rows + 0.9) + 0.4), layout=ConstrainedLayoutEngine(hspace=0.04, wspace=0.03))
    grid = figure.subplots(2, 2)
    for axes, kind in zip(grid.flat, KINDS, strict=True):
        tests = sorted(found.of(kind), key=lambda t: (t.p, -np.nan_to_num(t.median, nan=-9.0)))[:MOST_TASKS]
        _panel(axes, tests, found.alpha, "donor" if KINDS[kind][1] > 0 else "pirate")
        axes.set_title(TITLES[kind])
    handles: list[Any] = [
        Line2D([], [], marker=_marker(k), color=_colour(k), linestyle="", markersize=5, label=shortened(study.name, 30))
        for k, study in enumerate(analysis.studies)
    ]
    handles.append(Line2D([], [], marker="|", color=INK, linestyle="", markersize=9, markeredgewidth=1.6, label="median"))
    handles.append(Line2D([], [], color=PALE_HELP, linewidth=7, label=f"passes: p ≤ {found.alpha:g}"))
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
