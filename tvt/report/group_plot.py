"""Transfer by level and granularity: what the tasks of each group do to others, and what is done to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tvt.report.group_tables import NAME
from tvt.report.labels import shortened
from tvt.report.style import GREY, HARM, HELP
from tvt.transfer.analysis import StudyAnalysis
from tvt.transfer.groups import MEASURES, Grouping

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
        found = [grouping.means[group][what] for group in grouping.groups]
        places = np.arange(len(found)) + _ASIDE[what]
        values = np.array([of.value for of in found])
        reach = np.nan_to_num(np.array([[of.value - of.low for of in found], [of.high - of.value for of in found]]))
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
