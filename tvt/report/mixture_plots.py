"""Plots of mixtures: the frontier of gain and caution, and a comparison: what each arm gained beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tvt.compare.comparison import Comparison, Point
from tvt.core.arms import Arm, Kind
from tvt.core.objective import OBJECTIVES
from tvt.report.style import GREY, HELP, INK, MARKERS, PALE, PALE_HELP, SERIES, draw, plain, resting, shortened
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


PER_ROW = 5
"""Panels side by side."""
MOST_TARGETS = 14
"""Targets with a panel of their own, counting ones first."""
_NORMAL = 1.96
"""Half-width of a 95% interval in standard errors, near enough for a picture."""


def plot_comparison(comparison: Comparison, folder: Path, labels: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Write ``comparison-gains`` and, where something was predicted, ``comparison-calibration``, as SVG and PNG.

    Args:
        comparison: what to draw.
        folder: where to.
        labels: a short label for each target.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = draw(lambda: gains_figure(comparison, labels), folder, "comparison-gains")
    if comparison.calibration.points:
        paths += draw(lambda: calibration_figure(comparison, labels), folder, "comparison-calibration")
    return tuple(paths)


def gains_figure(comparison: Comparison, labels: Mapping[str, str] | None = None) -> Figure:
    """PGF of every arm with its 95% interval: the mean over the counting targets, then target by target."""
    ordered = sorted(comparison.targets, key=lambda t: (t not in comparison.counting, t))
    drawn: list[str | None] = [*([None] if len(comparison.counting) > 1 else []), *ordered[:MOST_TARGETS]]
    columns = min(PER_ROW, len(drawn))
    rows = -(-len(drawn) // columns)
    height = 0.2 * len(comparison.arms) + 0.62
    figure = Figure(figsize=(1.6 + 1.85 * columns, rows * height + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for at, axes in enumerate(grid.flat):
        if at >= len(drawn):
            axes.set_visible(False)
            continue
        _panel(axes, comparison, drawn[at], labels or {})
    places = range(len(comparison.arms))
    for row in grid:
        row[0].set_yticks(places, [e.label for e in comparison.arms])
        for label, arm in zip(row[0].get_yticklabels(), comparison.arms, strict=True):
            label.set_fontweight("bold" if arm.kind == "selected" else "normal")
    grid[0][0].invert_yaxis()
    figure.supxlabel("PGF over the base model, with 95% interval (filled: shown to differ from the base model)", fontsize=9)
    return figure


def _panel(axes: Any, comparison: Comparison, target: str | None, labels: Mapping[str, str]) -> None:
    """One dot an arm; the pale band is the selected mixture's interval."""
    own = comparison.gain(comparison.selected.label, target).pgf
    if own is not None:
        axes.axvspan(own.low, own.high, color=PALE_HELP, linewidth=0, zorder=0, alpha=0.6)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for row, arm in enumerate(comparison.arms):
        c = comparison.gain(arm.label, target)
        colour = HELP if arm.kind == "selected" else INK
        if c.pgf is not None:
            axes.plot([c.pgf.low, c.pgf.high], [row, row], color=colour, linewidth=1.3, zorder=2)
            fill = colour if c.outcome in ("better", "worse") else "white"
            axes.plot(c.pgf.value, row, "o", color=colour, markerfacecolor=fill, markersize=4.5, zorder=3)
        elif c.outcome == "same mixture":
            axes.plot(0, row, "|", color=colour, markersize=9, markeredgewidth=1.6, zorder=3)
        else:
            axes.text(0.5, row, "–", color=GREY, ha="center", va="center", transform=axes.get_yaxis_transform())
    axes.set_title(_title(comparison, target, labels), color=INK, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.08, y=0.08)


def _title(comparison: Comparison, target: str | None, labels: Mapping[str, str]) -> str:
    if target is None:
        return f"{OBJECTIVES[comparison.objective].column} of {len(comparison.counting)} targets °"
    name = plain(target) if len(plain(target)) <= 20 else labels.get(target, plain(target))
    return shortened(name, 20) + (" °" if target in comparison.counting else "")


def calibration_figure(comparison: Comparison, labels: Mapping[str, str] | None = None) -> Figure:
    """Realised against predicted PGF, one point an arm and target, with the line on which predictions came true."""
    calibration = comparison.calibration
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = [v for p in calibration.points for v in (p.predicted, p.realised)]
    low, high = min(ends), max(ends)
    reach = 0.06 * (high - low or 1.0)
    axes.plot([low - reach, high + reach], [low - reach, high + reach], color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    for value in (axes.axhline, axes.axvline):
        value(0, color=PALE, linewidth=0.8, zorder=0)
    for arm in (e for e in reversed(comparison.arms) if e.counts):  # the selected mixture last, so that it lies on top
        _cloud(axes, [p for p in calibration.points if p.label == arm.label], arm, labels or {})
    axes.set_xlabel(f"predicted PGF, with {calibration.confidence:.0%} interval (filled: targets that the selection served)")
    axes.set_ylabel("realised PGF, with 95% interval")
    figures = [] if calibration.rank is None else [f"rank correlation {calibration.rank:+.2f}"]
    figures += [] if calibration.slope is None else [f"slope {calibration.slope:.2f}"]
    axes.set_title(f"Predicted and realised{': ' if figures else ''}{', '.join(figures)}")
    kinds = dict.fromkeys(p.kind for p in calibration.points)
    handles: list[Any] = [Line2D([], [], label=plain(kind), **_look(kind)) for kind in kinds]
    handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle="--", label="predicted = measured"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _cloud(axes: Any, points: Sequence[Point], arm: Arm, labels: Mapping[str, str]) -> None:
    """The points of one arm; the selected mixture's counting targets are named."""
    own, style = arm.kind == "selected", _look(arm.kind)
    for p in points:
        axes.errorbar(
            p.predicted,
            p.realised,
            xerr=[[p.predicted - p.low], [p.high - p.predicted]],
            yerr=_NORMAL * p.error,
            elinewidth=1.1 if own else 0.5,
            alpha=0.95 if own else 0.7,
            markerfacecolor=style["color"] if p.counting else "white",
            zorder=3 if own else 2,
            **style,
        )
        if own and p.counting:
            name = resting(p.estimated) + labels.get(p.target, shortened(plain(p.target), 14))
            axes.annotate(name, (p.predicted, p.realised), xytext=(6, -10), textcoords="offset points", fontsize=7.5)


def _look(kind: Kind) -> dict[str, Any]:
    """Colour and marker of a kind of arm; the selected mixture's are larger."""
    at = get_args(Kind).index(kind)
    size = 6.5 if kind == "selected" else 4.0
    return {"color": SERIES[at], "marker": MARKERS[at], "markersize": size, "linestyle": ""}
