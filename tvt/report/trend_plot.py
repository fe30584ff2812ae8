"""Trends: mean positive and negative transferability and malleability against model size, and transfer by dose."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, NullLocator

from tvt.report.structure_tables import dose_name
from tvt.report.style import GREY, HARM, HELP, INK, shortened
from tvt.stats.intervals import Interval
from tvt.transfer.analysis import Analysis, TrendPoint
from tvt.transfer.dose_trend import DoseTrend
from tvt.types import Floats

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
        _label(axes, points, places, by_size)
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


def _label(axes: Any, points: list[TrendPoint], places: list[float], by_size: bool) -> None:
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
        _draw(left, [p.dose + aside for p in doses], [p.mean[sign] for p in doses], colour, sign)
    left.set_title(f"Mean transferability by dose in {shortened(name, 24)}")
    left.set_ylabel("transferability")
    left.legend(loc="best")
    _draw(right, [p.dose for p in doses], [p.pattern for p in doses], INK, "")
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


def _draw(axes: Any, doses: list[float], of: list[Interval], colour: str, label: str) -> None:
    values = np.array([i.value for i in of])
    reach = np.nan_to_num(np.array([[i.value - i.low for i in of], [i.high - i.value for i in of]]))
    axes.plot(doses, values, color=colour, marker="o", markersize=5, linewidth=1.6, label=label, zorder=4)
    axes.errorbar(doses, values, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=4, zorder=3)
