"""The personas: how far each task stands out from the others in every run of every study."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from tvt.report.labels import plain, shortened
from tvt.report.style import GREY, HARM, HELP, INK, MARKERS, PALE_HARM, PALE_HELP, SERIES
from tvt.transfer.analysis import Analysis
from tvt.transfer.personas import KINDS, Persona

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
