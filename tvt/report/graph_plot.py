"""The transfer graph: who helps whom, and beside it who harms whom; the strongest transfers only, so that it can be read."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch

from tvt.report.style import GREY, HARM, HELP, INK, PALE_HARM, PALE_HELP, plain, short_labels, shortened
from tvt.transfer.analysis import StudyAnalysis
from tvt.transfer.cliques import transfer_graph

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
