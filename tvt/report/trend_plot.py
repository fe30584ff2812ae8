"""The scale trend: mean positive and negative transferability against model size."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, NullLocator

from tvt.report.labels import shortened
from tvt.report.style import GREY, HARM, HELP
from tvt.transfer.analysis import Analysis, TrendPoint

HALO = [Stroke(linewidth=2.5, foreground="white"), Normal()]


def trend_figure(analysis: Analysis) -> Figure:
    """Draw the trend; call inside :func:`tvt.report.style.styled`.

    By size where every study gives its own, else by study. Small points are the sources behind a mean.
    """
    points = [t for t in analysis.trend if t.sign == "positive"]
    sizes = [t.parameters for t in points]
    by_size = all(size is not None for size in sizes) and len(set(sizes)) == len(sizes)
    places = [float(size or 0.0) for size in sizes] if by_size else [float(k) for k in range(len(points))]
    figure = Figure(figsize=(max(5.2, 0.9 * len(points) + 1.5), 3.8), layout="constrained")
    axes = figure.add_subplot()
    if by_size:
        axes.set_xscale("log")
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for sign, colour in (("positive", HELP), ("negative", HARM)):
        _series(axes, analysis, [t for t in analysis.trend if t.sign == sign], places, colour)
    _label(axes, points, places, by_size)
    axes.set_title("Mean transferability of a source" + (" by model size" if by_size else " by study"))
    axes.text(
        0.0,
        -0.2,
        "Bars: 95% interval from the runs. Small points: the sources.",
        transform=axes.transAxes,
        fontsize=7.5,
        color=GREY,
        va="top",
    )
    return figure


def _series(axes: Any, analysis: Analysis, trend: list[TrendPoint], places: list[float], colour: str) -> None:
    studies = {study.name: study for study in analysis.studies}
    for point, place in zip(trend, places, strict=True):
        of = studies[point.study].transferability
        values = of.positive if point.sign == "positive" else of.negative
        # Spread sideways in a fixed order, so that equal values are seen.
        offsets = np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(len(values))
        x = place * np.exp(0.05 * offsets) if axes.get_xscale() == "log" else place + 0.08 * offsets
        axes.scatter(x, values, s=9, color=colour, alpha=0.35, linewidth=0, zorder=2)
    means = np.array([t.mean for t in trend])
    reach = np.array([[t.mean - t.low for t in trend], [t.high - t.mean for t in trend]])
    # A line would say that studies without sizes follow each other.
    line = "-" if axes.get_xscale() == "log" else ""
    axes.plot(places, means, color=colour, linewidth=1.6, linestyle=line, marker="o", markersize=5, zorder=4)
    axes.errorbar(places, means, yerr=np.nan_to_num(reach), fmt="none", ecolor=colour, elinewidth=1.6, capsize=5, zorder=5)
    for n, (point, place) in enumerate(zip(trend, places, strict=True)):
        if np.isfinite(point.mean):
            up = n + 1 < len(trend) and trend[n + 1].mean > point.mean  # the label goes where the line does not
            text = f"{point.mean:.3f}".replace("-", "−")
            offset = (12, -11 if up else 4)
            axes.annotate(
                text, (place, point.mean), offset, textcoords="offset points", fontsize=8.5, path_effects=HALO, zorder=6
            )
    if np.isfinite(means).any():
        last = int(np.nonzero(np.isfinite(means))[0][-1])
        axes.annotate(
            trend[last].sign,
            (places[last], means[last]),
            (11, -9),
            textcoords="offset points",
            color=colour,
            weight="bold",
            fontsize=8.5,
        )


def _label(axes: Any, points: list[TrendPoint], places: list[float], by_size: bool) -> None:
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    names = [f"{p.parameters:g}B" if by_size else shortened(p.study, 16) for p in points]
    crowded = not by_size and len(points) > 4
    axes.set_xticklabels(names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axes.set_xlabel("parameters of the model" if by_size else "study")
    axes.set_ylabel("transferability")
    if by_size:
        axes.set_xlim(min(places) / 1.35, max(places) * 1.75)
    else:
        axes.set_xlim(-0.5, len(points) - 0.2)
