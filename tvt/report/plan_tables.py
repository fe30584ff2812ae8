"""What is still to do, phase by phase, and what settings cost, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from tvt.report.study_tables import duration, runs, size
from tvt.report.table_style import dense_table, titled

PHASES = {"load": "load, set up", "train": "train", "score": "score"}


def cost_sentence(cost: Any, slots: int, here: str) -> str:
    """What is still to do and what it will take.

    Args:
        cost: an estimate (:class:`tvt.study.estimate.Estimate`).
        slots: runs at once.
        here: what they are done on, e.g. ``8 workers``.
    """
    todo = f"{runs(cost.training_runs)} to train, {cost.examples:,} examples, {cost.questions:,} questions to ask"
    wall = cost.wall(slots)
    if wall is None:
        return f"{todo}. There is no estimate of time before the first run is done."
    basis = "by the speed of this study's finished runs" if cost.measured else "a rough guess from the model's size"
    takes = f"about {duration(wall)}{here}, {_hours(cost.device_hours)} device hours, {size(cost.disk_bytes)} of disk"
    return f"{todo}: {takes} ({basis})."


def phases_table(cost: Any) -> Group:
    """Each phase with its time in a run and its device hours; below, what a guess assumes."""
    table = dense_table("phase", "of a run", "device hours", "share")
    for phase, name in PHASES.items():
        seconds, total = cost.phases[phase], max(cost.seconds, 1e-9)
        if phase == "load" and not seconds:
            continue
        table.add_row(name, duration(seconds / max(cost.runs, 1)), _hours(cost.hours(phase)), f"{seconds / total:.0%}")
    lines = [Text(f"Guessed with {'; '.join(cost.assumed)}.", style="dim")] if cost.assumed else []
    return Group(titled("Where the time goes", table), *lines, Text(""))


def factors_table(found: Sequence[Any], cost: Any) -> Group:
    """Settings with another value, the device hours with it, and why."""
    table = dense_table("setting", "now", "device hours", "change")
    for factor in found:
        change = f"{1 / factor.times - 1:+.0%}" if factor.times < 2 else f"{factor.times:.1f} times less"
        mark = "*" if factor.changes_results else ""
        hours = f"{_hours(cost.device_hours)} → {_hours(factor.device_hours)}"
        table.add_row(f"{factor.setting}={factor.instead}{mark}", factor.now, hours, change)
    lines = [f"{factor.setting.split('.')[1]} {factor.now}: {_of_training(factor)}{factor.why}." for factor in found]
    lines += ["* changes results: other runs."] if any(factor.changes_results for factor in found) else []
    return Group(titled("What settings cost, guessed", table), Text("\n".join(lines), style="dim"), Text(""))


def _of_training(factor: Any) -> str:
    """How much longer training takes than with the other value, where that is all there is to it."""
    if factor.training_times < 1.05:
        return ""
    return f"training takes {factor.training_times:.1f} times as long as with {factor.instead}: "


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 0.95 else f"{hours:.2g}"
