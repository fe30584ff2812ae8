"""Transfer by dose: mean transferability, and how much of the pattern is there, against the share of the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from tvt.report.dose_tables import dose_name
from tvt.report.labels import shortened
from tvt.report.style import GREY, HARM, HELP, INK
from tvt.stats.intervals import Interval
from tvt.transfer.dose_trend import DoseTrend

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
