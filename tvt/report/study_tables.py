"""What a study consists of and how far it is, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tvt.data.task_questions import Absent
from tvt.report.table_style import MISSING, TABLE, dense_table, titled

MARKS = {
    "done": ("✓", "green"),
    "running": ("▸", "cyan"),
    "queued": ("○", "cyan"),
    "begun": ("…", "yellow"),
    "failed": ("✗", "red"),
    "missing": ("·", "dim"),
}
"""A run's status as one character."""


def grid_table(rows: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> Table:
    """Runs by source (rows) and by seed and dose (columns), each with its status.

    Args:
        rows: row label -> column label -> status.
        columns: column labels in order.
    """
    table = Table(**TABLE)
    table.add_column("source", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="center")
    for label, cells in rows.items():
        table.add_row(label, *(_mark(cells.get(column)) for column in columns))
    return table


def _mark(status: str | None) -> Text:
    if status is None:
        return Text("")
    mark, style = MARKS[status]
    return Text(mark, style=style)


def legend(statuses: Sequence[str]) -> Text:
    """How many runs have which status, with its mark."""
    counted = Counter(statuses)
    told = [f"{MARKS[status][0]} {counted[status]} {status}" for status in MARKS if counted[status]]
    return Text("  ".join(told), style="dim")


def failures_table(failures: Mapping[str, str]) -> Table:
    """Failed runs with their reasons."""
    table = Table(**TABLE, title="Failed")
    table.add_column("run", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name, reason in failures.items():
        table.add_row(name, reason)
    return table


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to do a study, what is still to be done for it, and the command."""

    name: str
    training_runs: int
    examples: int
    questions: int
    device_hours: float | None
    disk_bytes: float | None
    share: float | None
    """Of the cost of the first way."""
    command: str


def ways_table(ways: Sequence[Way]) -> Group:
    """What the full study and cheaper ones would still cost, side by side, and how to ask for them."""
    table = dense_table("study", "runs", "examples", "questions", "device hours", "disk", "of full")
    for way in ways:
        hours = MISSING if way.device_hours is None else f"{way.device_hours:,.1f}"
        disk = MISSING if way.disk_bytes is None else size(way.disk_bytes)
        share = MISSING if way.share is None else f"{way.share:.0%}"
        table.add_row(way.name, f"{way.training_runs}", f"{way.examples:,}", f"{way.questions:,}", hours, disk, share)
    commands = [f"{way.name}: {way.command}" for way in ways[1:]]
    return Group(titled("What is still to do, in full and cheaper", table), Text("\n".join(commands), style="dim"), Text(""))


def missing_list(missing: Sequence[Absent]) -> Text:
    """What is not on this machine yet, the tasks that lack the same in one sentence."""
    alike: dict[tuple[str, str], list[str]] = {}
    for absent in missing:
        alike.setdefault((absent.what, absent.step), []).append(absent.of)
    lines = []
    for (what, step), of in alike.items():
        lines.append(f"- {what}: {', '.join(of)}; {step if len(of) > 1 else step.replace('TASK', of[0])}.")
    return Text("\n".join(["Still to come:", *lines]), style="yellow")


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.4 h, 5.2 days."""
    for size, unit, below in ((1.0, "s", 90.0), (60.0, "min", 90.0), (3600.0, "h", 48.0)):
        if seconds / size < below:
            value = max(seconds, 1.0) / size
            return f"{value:.0f} {unit}" if unit != "h" or value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def runs(count: int) -> str:
    """How many runs."""
    return f"{count:,} run{'' if count == 1 else 's'}"
