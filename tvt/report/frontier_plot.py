"""The frontier as a picture: what gain a more careful mixture costs, and how the mixture changes on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tvt.report.style import GREY, HELP, INK, PALE, SERIES, draw
from tvt.selection.frontier import FrontierPoint

MOST = 6
"""Sources with a colour of their own; the rest are drawn together in grey."""


def plot_frontier(
    points: Sequence[FrontierPoint], kind: str, folder: Path, short: Callable[[str], str] = str
) -> tuple[Path, ...]:
    """Write ``frontier-KIND.svg`` and ``.png``.

    Left: weighted mean gain against its standard error (risk) or the worst target's gain (harm). Right: the weights.

    Raises:
        InputError: the folder cannot be written to.
    """
    return tuple(draw(lambda: frontier_figure(points, kind, short), folder, f"frontier-{kind}"))


def frontier_figure(points: Sequence[FrontierPoint], kind: str, short: Callable[[str], str] = str) -> Figure:
    """The two panels side by side."""
    figure = Figure(figsize=(8.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    across = [p.error if kind == "risk" else p.worst for p in points]
    gains = [p.gain for p in points]
    left.plot(across, gains, "-o", color=HELP, markersize=4.5, linewidth=1.4)
    if kind == "harm":
        left.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for end, place in ((0, (4, -12)), (-1, (4, 6))):
        label = f"risk {points[end].setting:g}" if kind == "risk" else short(points[end].worst_target)
        left.annotate(label, (across[end], gains[end]), xytext=place, textcoords="offset points", fontsize=8, color=INK)
    left.margins(0.14)
    left.set_xlabel("standard error of the gain" if kind == "risk" else "gain of the worst target (PGF)")
    left.set_ylabel("weighted mean gain (PGF)")
    left.set_title("What safety costs")
    _stack(right, points, kind, short)
    return figure


def _stack(axes: Any, points: Sequence[FrontierPoint], kind: str, short: Callable[[str], str]) -> None:
    """Weights of each point as a stacked bar."""
    total = {s: sum(p.weights.get(s, 0.0) for p in points) for s in points[0].weights}
    ranked = sorted(total, key=lambda s: -total[s])
    shown, rest = [s for s in ranked[:MOST] if total[s] > 0], ranked[MOST:]
    below = [0.0] * len(points)
    parts = [(short(s), SERIES[i % len(SERIES)], [p.weights.get(s, 0.0) for p in points]) for i, s in enumerate(shown)]
    if any(total[s] > 1e-3 for s in rest):
        parts.append(("others", PALE, [sum(p.weights.get(s, 0.0) for s in rest) for p in points]))
    for label, colour, heights in parts:
        axes.bar(range(len(points)), heights, bottom=below, color=colour, width=0.82, label=label)
        below = [b + h for b, h in zip(below, heights, strict=True)]
    ticks = [f"{p.setting:g}" if kind == "risk" else f"{p.setting:+.2f}" for p in points]
    axes.set_xticks(range(len(points)), ticks, fontsize=7.5)
    axes.set_xlabel("risk (standard errors given up)" if kind == "risk" else "least gain demanded of every target")
    axes.set_ylabel("share of the budget")
    axes.set_title("How the mixture changes")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
