"""The plots of an analysis: the graph of transfer, trends over studies and doses, and the files that all are written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, NullLocator

from tvt.errors import InputError
from tvt.report.heatmap import adapter_figure, groups_figure, heatmap_figure, persona_figure
from tvt.report.structure_tables import dose_name
from tvt.report.style import GREY, HARM, HELP, INK, PALE_HARM, PALE_HELP, draw, plain, short_labels, shortened
from tvt.stats.noise import Interval
from tvt.transfer.analysis import Analysis, StudyAnalysis, TrendPoint
from tvt.transfer.cliques import transfer_graph
from tvt.transfer.dose_trend import DoseTrend
from tvt.types import Floats


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """Write all plots that the analysis has the figures for.

    Per study ``heatmap-NAME`` and ``graph-NAME``, ``groups-NAME`` where tasks have a level or granularity, ``doses-NAME`` where
    it has doses, ``adapters-NAME`` where these were asked for; over the studies ``personas``, and ``scale-trend`` where there
    are at least two. Where the analysis has the specific part: ``heatmap-NAME-specific``, ``graph-NAME-specific`` and
    ``personas-specific``.

    Args:
        analysis: what to draw.
        folder: is made where it is missing.

    Returns:
        The files written.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; name another folder for the plots") from error
    paths = []
    for study in analysis.studies:
        paths += draw(lambda study=study: heatmap_figure(study), folder, f"heatmap-{study.name}")  # type: ignore[misc]
        paths += draw(lambda study=study: graph_figure(study, analysis.threshold), folder, f"graph-{study.name}")  # type: ignore[misc]
        paths += _further(study, folder)
    paths += draw(lambda: persona_figure(analysis), folder, "personas")
    if len(analysis.studies) > 1:
        paths += draw(lambda: trend_figure(analysis), folder, "scale-trend")
    return paths if analysis.specific is None else [*paths, *_beyond(analysis.specific, folder)]


def _beyond(specific: Analysis, folder: Path) -> list[Path]:
    """Of what the sources do beyond any finetuning: heatmaps, graphs and personas."""
    paths = []
    for study in specific.studies:
        paths += draw(lambda study=study: heatmap_figure(study), folder, f"heatmap-{study.name}")  # type: ignore[misc]
        paths += draw(lambda study=study: graph_figure(study, specific.threshold), folder, f"graph-{study.name}")  # type: ignore[misc]
    return paths + draw(lambda: persona_figure(specific), folder, "personas-specific")


def _further(study: StudyAnalysis, folder: Path) -> list[Path]:
    """What not every study has."""
    doses, adapters = study.doses, study.adapters
    paths = []
    if study.groups:
        paths += draw(lambda: groups_figure(study), folder, f"groups-{study.name}")
    if doses is not None:
        paths += draw(lambda: dose_figure(study.name, doses), folder, f"doses-{study.name}")
    if adapters is not None:
        paths += draw(lambda: adapter_figure(study.name, adapters, study.matrix), folder, f"adapters-{study.name}")
    return paths


MOST_EDGES_A_NODE = 2
"""Edges drawn per task and sign where no threshold says which,"""
MOST_EDGES = 40
"""but never more than these."""
MOST_INSIDE = 24
"""Larger graphs have their labels around the circle."""
MOST_NODES = 90
"""Still larger ones have none."""

Edge = tuple[str, str, dict[str, Any]]
Place = tuple[float, float]
Places = dict[str, Place]
DASHED = (0, (2.5, 1.6))


def graph_figure(study: StudyAnalysis, threshold: float | None = None) -> Figure:
    """Draw the graph; call inside :func:`tvt.report.style.styled`.

    Args:
        study: what to draw.
        threshold: least magnitude of an edge; without one the strongest ``MOST_EDGES_A_NODE`` per task, at most ``MOST_EDGES``.
    """
    graph = transfer_graph(study.matrix, threshold=threshold or 0.0)
    figure = Figure(figsize=(11.2, 5.4))
    flipping = False
    for at, (word, colour, pale) in enumerate((("positive", HELP, PALE_HELP), ("negative", HARM, PALE_HARM))):
        axes = figure.add_axes((0.5 * at, 0.0, 0.5, 0.88))
        clique = study.cliques[word].members[0] if study.cliques[word].size > 2 else ()
        edges, total = _edges(graph, 1 if word == "positive" else -1, threshold)
        _arrows(axes, _circle(graph, clique), edges, colour)
        _nodes(axes, study, _circle(graph, clique), set(clique), pale)
        flipping = flipping or not all(data["sign_stable"] for _, _, data in edges)
        verb = "helps" if word == "positive" else "harms"
        figure.text(0.5 * at + 0.02, 0.945, f"Who {verb} whom", weight="bold", color=colour, va="top")
        figure.text(0.5 * at + 0.02, 0.912, _told(edges, total), fontsize=8, color=GREY, va="top")
    figure.text(0.02, 1.0, f"Transfer graph of {shortened(study.name, 60)}", fontsize=11, weight="bold", va="top")
    _legend(figure, study, flipping)
    return figure


def _edges(graph: nx.DiGraph, sign: int, threshold: float | None) -> tuple[list[Edge], int]:
    """Edges of one sign, weakest first so that strong ones lie on top, and how many there are in all."""
    found = [(s, t, data) for s, t, data in graph.edges(data=True) if sign * data["weight"] > 0]
    found.sort(key=lambda edge: abs(edge[2]["weight"]))
    most = min(MOST_EDGES_A_NODE * len(graph), MOST_EDGES) if threshold is None else len(found)
    return found[max(len(found) - most, 0) :], len(found)


def _told(edges: list[Edge], total: int) -> str:
    if not edges:
        return "no such transfer"
    least = abs(edges[0][2]["weight"])
    shown = f"all {total}" if len(edges) == total else f"strongest {len(edges)} of {total}"
    return f"{shown} transfers, magnitude {least:.2f} and more"


def _circle(graph: nx.DiGraph, clique: tuple[str, ...]) -> Places:
    """Places on a circle from the top clockwise, the clique's members side by side."""
    order = [*(n for n in graph if n in clique), *(n for n in graph if n not in clique)]
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / max(len(order), 1)
    return {name: (float(np.cos(a)), float(np.sin(a))) for name, a in zip(order, angles, strict=True)}


def _arrows(axes: Any, places: Places, edges: list[Edge], colour: str) -> None:
    strongest = abs(edges[-1][2]["weight"]) if edges else 1.0
    for source, target, data in edges:
        share = abs(data["weight"]) / strongest
        style = "-" if data["sign_stable"] else DASHED
        ends = _chord(places[source], places[target], _radius(len(places)))
        axes.add_patch(_arrow(*ends, share=share, colour=colour, style=style))


def _nodes(axes: Any, study: StudyAnalysis, places: Places, clique: set[str], pale: str) -> None:
    radius, labels = _radius(len(places)), short_labels(study.matrix)
    for name, (x, y) in places.items():
        fill = pale if name in clique else "white"
        axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=INK, linewidth=0.9, zorder=4))
        if len(places) <= MOST_INSIDE:
            size = 8.0 if len(labels[name]) < 4 else 7.0
            axes.text(x, y, labels[name], ha="center", va="center", fontsize=size, weight="bold", zorder=5)
            if labels[name] != name:
                _outer_label(axes, name, x, y, radius)
        elif len(places) <= MOST_NODES:
            _radial_label(axes, labels[name], x, y, radius)
    axes.set_xlim(-1.75, 1.75)
    axes.set_ylim(-1.38, 1.38)
    axes.set_aspect("equal")
    axes.axis("off")


def _radius(nodes: int) -> float:
    return float(np.clip(1.5 / max(nodes, 1), 0.015, 0.115))


def _outer_label(axes: Any, name: str, x: float, y: float, radius: float) -> None:
    reach = 1 + radius + 0.05
    side = "center" if abs(x) < 0.15 else "left" if x > 0 else "right"
    height = "center" if abs(y) < 0.55 else "bottom" if y > 0 else "top"
    axes.text(x * reach, y * reach, shortened(plain(name), 26).replace(" ", "\n", 1), ha=side, va=height, fontsize=7.5)


def _radial_label(axes: Any, label: str, x: float, y: float, radius: float) -> None:
    reach, angle = 1 + radius + 0.03, float(np.degrees(np.arctan2(y, x)))
    left = abs(angle) > 90
    turn = {"rotation": angle - 180 if left else angle, "rotation_mode": "anchor"}
    axes.text(x * reach, y * reach, label, ha="right" if left else "left", va="center", fontsize=6.5, **turn)


def _chord(start: Place, end: Place, radius: float) -> tuple[Place, Place]:
    """The line between two nodes' rims."""
    (x0, y0), (x1, y1) = start, end
    cut = (radius + 0.012) / float(np.hypot(x1 - x0, y1 - y0))
    dx, dy = (x1 - x0) * cut, (y1 - y0) * cut
    return (x0 + dx, y0 + dy), (x1 - dx, y1 - dy)


def _arrow(start: Place, end: Place, *, share: float, colour: str, style: Any) -> FancyArrowPatch:
    """A bent arrow, so that the two directions between a pair lie apart; width and strength of colour show the weight."""
    return FancyArrowPatch(
        start,
        end,
        connectionstyle="arc3,rad=0.13",
        arrowstyle="-|>",
        mutation_scale=6 + 5 * share,
        linewidth=0.5 + 3.2 * share,
        linestyle=style,
        color=colour,
        alpha=0.30 + 0.65 * share,
        shrinkA=0,
        shrinkB=0,
        zorder=2 + share,
    )


def _legend(figure: Figure, study: StudyAnalysis, flipping: bool) -> None:
    handles = [Line2D([], [], color=GREY, linewidth=2, label="sign holds in every run")]
    if flipping:
        handles.append(Line2D([], [], color=GREY, linewidth=2, linestyle=DASHED, label="sign flips between runs"))
    for word, pale in (("positive", PALE_HELP), ("negative", PALE_HARM)):
        if study.cliques[word].size > 2:
            found = study.cliques[word]
            which = f"{word} clique of {found.size}" + (f" (one of {len(found.members)})" if len(found.members) > 1 else "")
            dot = Line2D([], [], marker="o", linestyle="", markersize=8, color=pale, markeredgecolor=INK, label=which)
            handles.append(dot)
    figure.legend(handles=handles, loc="lower center", ncols=4, bbox_to_anchor=(0.5, -0.06))


HALO = [Stroke(linewidth=2.5, foreground="white"), Normal()]


def trend_figure(analysis: Analysis) -> Figure:
    """Draw the trend; call inside :func:`tvt.report.style.styled`.

    By size where every study gives its own, else by study. Small points are the tasks behind a mean.
    """
    points = [t for t in analysis.trend if t.sign == "positive"]
    sizes = [t.parameters for t in points]
    by_size = all(size is not None for size in sizes) and len(set(sizes)) == len(sizes)
    places = [float(size or 0.0) for size in sizes] if by_size else [float(k) for k in range(len(points))]
    figure = Figure(figsize=(2 * max(4.6, 0.9 * len(points) + 1.5), 3.8), layout="constrained")
    for axes, side, task in zip(figure.subplots(1, 2), ("transferability", "malleability"), ("source", "target"), strict=True):
        if by_size:
            axes.set_xscale("log")
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        for sign, colour in (("positive", HELP), ("negative", HARM)):
            series = _Series(analysis, side, sign, colour)
            series.draw(axes, places)
        _trend_label(axes, points, places, by_size)
        axes.set_ylabel(side)
        axes.set_title(f"Mean {side} of a {task}" + (" by model size" if by_size else " by study"))
        note = f"Bars: 95% interval from the runs. Small points: the {task}s."
        axes.text(0.0, -0.2, note, transform=axes.transAxes, fontsize=7.5, color=GREY, va="top")
    return figure


class _Series:
    """One sign of one side over the studies."""

    def __init__(self, analysis: Analysis, side: str, sign: str, colour: str) -> None:
        studies = {study.name: study for study in analysis.studies}
        trend = [t for t in analysis.trend if t.sign == sign]
        self.sign, self.colour = sign, colour
        self.intervals: list[Interval] = [getattr(t, side) for t in trend]
        self.tasks: list[Floats] = [getattr(getattr(studies[t.study], side), sign) for t in trend]

    def draw(self, axes: Any, places: list[float]) -> None:
        by_size = axes.get_xscale() == "log"
        for place, values in zip(places, self.tasks, strict=True):
            # Spread sideways in a fixed order, so that equal values are seen.
            offsets = np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(len(values))
            x = place * np.exp(0.05 * offsets) if by_size else place + 0.08 * offsets
            axes.scatter(x, values, s=9, color=self.colour, alpha=0.35, linewidth=0, zorder=2)
        means = np.array([of.value for of in self.intervals])
        reach = np.array([[of.value - of.low for of in self.intervals], [of.high - of.value for of in self.intervals]])
        # A line would say that studies without sizes follow each other.
        line = "-" if by_size else ""
        axes.plot(places, means, color=self.colour, linewidth=1.6, linestyle=line, marker="o", markersize=5, zorder=4)
        bars = {"ecolor": self.colour, "elinewidth": 1.6, "capsize": 5, "zorder": 5}
        axes.errorbar(places, means, yerr=np.nan_to_num(reach), fmt="none", **bars)
        self._annotate(axes, places, means)

    def _annotate(self, axes: Any, places: list[float], means: Floats) -> None:
        above = self.sign == "positive"  # away from the other sign's labels
        for place, mean in zip(places, means, strict=True):
            if np.isfinite(mean):
                text, offset = f"{mean:.3f}".replace("-", "−"), (0, 9 if above else -9)
                style = {"textcoords": "offset points", "fontsize": 8.5, "path_effects": HALO, "zorder": 6}
                axes.annotate(text, (place, mean), offset, ha="center", va="bottom" if above else "top", **style)
        if np.isfinite(means).any():
            last = int(np.nonzero(np.isfinite(means))[0][-1])
            style = {"textcoords": "offset points", "color": self.colour, "weight": "bold", "fontsize": 8.5}
            axes.annotate(self.sign, (places[last], means[last]), (11, -3), **style)


def _trend_label(axes: Any, points: list[TrendPoint], places: list[float], by_size: bool) -> None:
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    names = [f"{p.parameters:g}B" if by_size else shortened(p.study, 16) for p in points]
    crowded = not by_size and len(points) > 4
    axes.set_xticklabels(names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axes.set_xlabel("parameters of the model" if by_size else "study")
    if by_size:
        axes.set_xlim(min(places) / 1.35, max(places) * 1.75)
    else:
        axes.set_xlim(-0.5, len(points) - 0.2)


ASIDE = 0.006
"""By how much the two signs stand apart, so that both bars are seen."""


def dose_figure(name: str, trend: DoseTrend) -> Figure:
    """Draw the trend of a study; call inside :func:`tvt.report.style.styled`."""
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    doses = trend.points
    left.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for sign, colour, aside in (("positive", HELP, -ASIDE), ("negative", HARM, ASIDE)):
        _draw_trend(left, [p.dose + aside for p in doses], [p.mean[sign] for p in doses], colour, sign)
    left.set_title(f"Mean transferability by dose in {shortened(name, 24)}")
    left.set_ylabel("transferability")
    left.legend(loc="best")
    _draw_trend(right, [p.dose for p in doses], [p.pattern for p in doses], INK, "")
    reached = [v for p in doses for v in (p.pattern.value, p.pattern.low) if np.isfinite(v)]
    right.set_ylim(min(0.0, *reached, 0.0) - 0.05, 1.05)
    right.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    right.set_title("The pattern: rank correlation with 100%")
    right.set_ylabel("Spearman's rho of the cells")
    for axes in (left, right):
        axes.xaxis.set_major_locator(FixedLocator([p.dose for p in doses]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([dose_name(p) for p in doses])
        axes.set_xlim(0, 1.06)
        axes.set_xlabel("dose: share of the training budget")
    left.text(0, -0.2, "Bars: 95% interval from the runs.", transform=left.transAxes, fontsize=7.5, color=GREY, va="top")
    return figure


def _draw_trend(axes: Any, doses: list[float], of: list[Interval], colour: str, label: str) -> None:
    values = np.array([i.value for i in of])
    reach = np.nan_to_num(np.array([[i.value - i.low for i in of], [i.high - i.value for i in of]]))
    axes.plot(doses, values, color=colour, marker="o", markersize=5, linewidth=1.6, label=label, zorder=4)
    axes.errorbar(doses, values, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=4, zorder=3)
