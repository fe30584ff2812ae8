"""Transfer by dose as a table and a sentence."""

from __future__ import annotations

import numpy as np
from rich.console import Group
from rich.text import Text

from tvt.report.table_style import dense_table, interval, titled
from tvt.transfer.dose_trend import DosePoint, DoseTrend


def dose_table(trend: DoseTrend) -> Group:
    """Mean transferability and the pattern at every dose, and by how much the full budget does more than the least."""
    table = dense_table("dose", "positive", "negative", "pattern", "cells")
    for point in trend.points:
        row = (interval(point.mean["positive"]), interval(point.mean["negative"]), interval(point.pattern))
        table.add_row(dose_name(point), *row, str(point.cells))
    title = "Mean transferability by dose (95% interval from the runs)"
    told = Text("\n".join([f"pattern: rank correlation of the cells with those at 100%. {_rise(trend.points[0])}"]))
    return Group(titled(title, table), told)


def dose_name(point: DosePoint) -> str:
    """The dose in per cent of the budget."""
    return f"{100 * point.dose:.3g}%"


def _rise(least: DosePoint) -> str:
    """How the least dose compares with the full budget."""
    rise, here, there = least.rise["positive"], least.mean["positive"].value, least.full["positive"]
    verb = "rises" if rise.value > 0 else "falls" if rise.value < 0 else "stays, going"
    told = f"From {dose_name(least)} to 100% mean positive transferability {verb} from {here:.3f} to {there:.3f}"
    if not np.isfinite(rise.low):
        return f"{told} (one run: no interval)."
    sure = "" if rise.low > 0 or rise.high < 0 else ", which may be noise between the runs"
    return f"{told} ({rise.value:+.3f}, 95%: {rise.low:+.3f} to {rise.high:+.3f}{sure})."
