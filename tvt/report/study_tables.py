"""A study in the terminal: its runs, their progress, what is still to do, its cost; and the checks of ``tvt doctor``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, assert_never

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from tvt.core.choices import METRICS
from tvt.core.events import Done, Failed, Idle, Note, Phase, PhaseProgress, StudyEvent
from tvt.core.recipe import Recipe
from tvt.data.task_questions import Absent
from tvt.errors import Check
from tvt.report.style import MISSING, TABLE, dense_table, titled

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
    lines = [f"{MARKS[status][0]} {counted[status]} {status}" for status in MARKS if counted[status]]
    return Text("  ".join(lines), style="dim")


def dose_lines(rows: Mapping[str, int], limited: Mapping[str, float], recipe: Recipe) -> list[Text]:
    """A line for each source whose rows do not allow the whole budget: what it is trained on instead.

    Args:
        rows: how many each source has.
        limited: share of the budget by source, of those sources.
        recipe: of the study.
    """
    lines = []
    for source, share in limited.items():
        count = round(share * recipe.budget)
        passes = count * recipe.training.num_train_epochs / rows[source]
        of = f"{rows[source]:,} row{'' if rows[source] == 1 else 's'}, {passes:.3g} passes over them"
        lines.append(
            Text(f"{source}: {of}, {count:,} examples a run ({share:.3g} of the budget: max_source_epochs)", style="dim")
        )
    return lines


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


PHASES = {"load": "load, set up", "train": "train", "score": "score"}


def metric_lines(metrics: Mapping[str, str]) -> Iterator[str]:
    """How open-ended targets are scored, a line for each metric.

    Args:
        metrics: the name of a metric by target.
    """
    for name in dict.fromkeys(metrics.values()):
        label = METRICS.find(name).label if name in METRICS.names else name  # another harness has names of its own
        yield f"scored by {label}: {', '.join(target for target, of in metrics.items() if of == name)}"


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


def factors_table(factors: Sequence[Any], cost: Any) -> Group:
    """Settings with another value, the device hours with it, and why."""
    table = dense_table("setting", "now", "device hours", "change")
    for factor in factors:
        change = f"{1 / factor.times - 1:+.0%}" if factor.times < 2 else f"{factor.times:.1f} times less"
        mark = "*" if factor.changes_results else ""
        hours = f"{_hours(cost.device_hours)} → {_hours(factor.device_hours)}"
        table.add_row(f"{factor.setting}={factor.instead}{mark}", factor.now, hours, change)
    lines = [f"{factor.setting.split('.')[1]} {factor.now}: {_of_training(factor)}{factor.why}." for factor in factors]
    lines += ["* changes results: other runs."] if any(factor.changes_results for factor in factors) else []
    return Group(titled("What settings cost, guessed", table), Text("\n".join(lines), style="dim"), Text(""))


def _of_training(factor: Any) -> str:
    """How much longer training takes than with the other value, where that is all there is to it."""
    if factor.training_times < 1.05:
        return ""
    return f"training takes {factor.training_times:.1f} times as long as with {factor.instead}: "


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 0.95 else f"{hours:.2g}"


CHECK_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def checks_table(checks: Sequence[Check]) -> Table:
    """All checks by group; the next step stands below what was found."""
    table = Table(**TABLE)
    for head in ("", "", ""):
        table.add_column(head, no_wrap=True)
    table.add_column("", overflow="fold")
    group = None
    for check in checks:
        mark, style = CHECK_MARKS[check.status]
        text = Text(check.found)
        if check.step:
            text.append(f"\n→ {check.step}", style=style if check.status != "ok" else "dim")
        table.add_row(check.group if check.group != group else "", Text(mark, style=style), check.name, text)
        group = check.group
    table.show_header = False
    return table


def verdict(checks: Sequence[Check]) -> str:
    """The sum of it, in a line."""
    counted = Counter(check.status for check in checks)
    if counted["fail"]:
        return f"{counted['fail']} of {len(checks)} checks failed and would stop tvt here"
    if counted["warn"]:
        warnings = f"{counted['warn']} warning{'s' * (counted['warn'] != 1)}"
        return f"{len(checks)} checks: {warnings}, none of which stops tvt"
    return f"{len(checks)} checks, all ok"


def checks_record(checks: Sequence[Check], versions: dict[str, str | None]) -> dict[str, Any]:
    """The same for ``--json``."""
    failed = any(check.status == "fail" for check in checks)
    return {"schema": 1, "ok": not failed, "versions": versions, "checks": [asdict(check) for check in checks]}


_SHARES: dict[Phase, tuple[float, float]] = {"mixing": (0.0, 0.05), "training": (0.05, 0.65), "scoring": (0.7, 0.3)}
"""Where each phase begins in a run, and how much of the run it is."""


class StudyProgress:
    """Shows the events of a study; a context manager.

    Args:
        total: runs to do.
        console: where to, usually stderr.
    """

    def __init__(self, total: int, console: Console) -> None:
        self._total, self._console = total, console
        self._done, self._started = 0, time.monotonic()
        self._slots: dict[int, TaskID] = {}
        self._shares: dict[int, float] = {}
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
        self._bars = Progress(*columns, console=console, transient=True)
        self._whole = self._bars.add_task("runs", total=total, text=f"0/{total}")

    def __enter__(self) -> StudyProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, event: StudyEvent) -> None:
        """Show one message of :class:`tvt.study.conductor.Conductor`."""
        match event:
            case Note():
                self._print(f"note: {event.text}")
            case PhaseProgress():
                self._move(event)
            case Done() | Failed():
                self._done += 1
                self._shares[event.slot] = 0.0
                mark, reason = ("FAILED", f": {event.reason}") if isinstance(event, Failed) else ("done", "")
                left = self._left()
                self._print(f"{mark} {self._done}/{self._total}  {event.name}{reason}{f'  ({left})' if left else ''}")
            case Idle():
                if event.slot in self._slots:
                    self._bars.update(self._slots[event.slot], visible=False)
            case _:
                assert_never(event)
        self._bars.update(self._whole, completed=self._progress(), text=f"{self._done}/{self._total}  {self._left()}")

    def _move(self, event: PhaseProgress) -> None:
        slot, done, total = event.slot, event.done, event.total
        if slot not in self._slots:
            self._slots[slot] = self._bars.add_task("", total=1, text="")
        # Training is most of a run, as a rule; the shares only smooth the time left.
        begin, span = _SHARES[event.phase]
        self._shares[slot] = begin + span * (done / total if total else 0.0)
        text = f"{event.phase} {done:,}/{total:,}" if total else f"{event.phase} ..."
        self._bars.update(
            self._slots[slot], description=event.name, completed=done, total=total or None, text=text, visible=True
        )

    def _progress(self) -> float:
        return self._done + sum(self._shares.values())

    def _left(self) -> str:
        """The time left, once there is something to judge it by."""
        progress, spent = self._progress(), time.monotonic() - self._started
        if progress < 0.5 or self._done >= self._total:
            return ""
        return f"{duration(spent * (self._total - progress) / progress)} left"

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


_BAR = 16
Position = tuple[str, str, int, int]
"""A run at work: its name, its phase, how much of that is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is shown of a study at one moment."""

    title: str
    rows: Mapping[str, Mapping[str, str]]
    """Statuses by row and column of the grid."""
    columns: Sequence[str]
    states: Mapping[str, str]
    """Status of each run, by its name."""
    at_work: Sequence[Position]
    seconds_left: float | None


def picture(watched: Watched) -> RenderableType:
    """All of it; what changes most stands first, since a low terminal cuts off the end."""
    parts: list[RenderableType] = [Text(watched.title), legend(list(watched.states.values()))]
    if outlook := _outlook(watched):
        parts.append(Text(outlook))
    if watched.at_work:
        parts += [Text(""), _at_work(watched.at_work)]
    return Group(*parts, Text(""), grid_table(watched.rows, watched.columns))


def _at_work(positions: Sequence[Position]) -> Table:
    """What each run is at; long names are cut, figures never."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    figures = [f"{done:,}/{total:,}" if total else "" for _, _, done, total in positions]
    table.add_column()  # the one that may be narrowed
    table.add_column(no_wrap=True, min_width=len("training"))
    table.add_column(no_wrap=True, min_width=_BAR)
    table.add_column(no_wrap=True, min_width=max(map(len, figures)), justify="right")
    for (name, phase, done, total), text in zip(positions, figures, strict=True):
        full = round(_BAR * done / total) if total else 0
        table.add_row(
            Text(name, no_wrap=True, overflow="ellipsis"),
            phase,
            Text("━" * full, style="cyan").append("╌" * (_BAR - full), style="dim"),
            text,
        )
    return table


def sentence(watched: Watched) -> str:
    """How much is done, and how long the rest will take."""
    counted = Counter(watched.states.values())
    failed = f", {counted['failed']} failed" if counted["failed"] else ""
    outlook = _outlook(watched)
    return f"{counted['done']} of {len(watched.states)} done{failed}{outlook and f', {outlook}'}"


def _outlook(watched: Watched) -> str:
    """Who is at work, and how long the rest will take; empty where nothing is left."""
    counted = Counter(watched.states.values())
    if counted["done"] + counted["failed"] == len(watched.states):
        return ""
    if not watched.at_work:
        return "none at work: " + ("runs wait in a queue" if counted["queued"] else "tvt study run goes on with it")
    if watched.seconds_left is None:
        return f"{len(watched.at_work)} at work; no estimate of time before the first run is done"
    return f"{len(watched.at_work)} at work, about {duration(watched.seconds_left)} left"


def changes(before: Watched | None, now: Watched) -> Iterator[str]:
    """A line for each run that has another status than before; at first, one for all."""
    clock = time.strftime("%H:%M:%S")
    if before is None:
        yield f"{clock}  {now.title}: {sentence(now)}"
        return
    for name, state in now.states.items():
        if state != before.states.get(name):
            yield f"{clock}  {MARKS[state][0]} {state}  {name}  ({sentence(now)})"
