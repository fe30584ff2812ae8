"""What ``tvt tasks`` says of tasks: the list of all, and everything of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from tvt.data.task_rows import RowsHere
from tvt.data.tasks import QuestionData, TaskManifest, TrainingSource
from tvt.report.table_style import MISSING


def tasks_table(manifests: Mapping[str, TaskManifest], here: Mapping[str, RowsHere]) -> Table:
    """All tasks, one a row."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for head in ("task", "", "level", "grain"):
        table.add_column(head, no_wrap=True)
    for head in ("options", "scored"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("built from", overflow="fold")
    table.add_column("rows here", justify="right", no_wrap=True)
    for name, manifest in manifests.items():
        rows = here[name]
        table.add_row(
            Text(name, style="dim" if manifest.left_out else ""),
            manifest.abbreviation or "",
            manifest.level or MISSING,
            manifest.granularity or MISSING,
            str(manifest.options or MISSING),
            _questions(manifest.evaluation),
            ", ".join(rows.layouts) or MISSING,
            f"{rows.rows:,}" if rows.rows is not None else "yes" if rows.where else MISSING,
        )
    return table


def tasks_notes(manifests: Mapping[str, TaskManifest], here: Mapping[str, RowsHere]) -> Iterator[str]:
    """What the table does not say."""
    left_out = [name for name, manifest in manifests.items() if manifest.left_out]
    if left_out:
        yield f"left out of the paper's study: {', '.join(left_out)}"
    buildable = [name for name, rows in here.items() if rows.where is None and rows.layouts]
    if buildable:
        yield f"tvt tasks show {buildable[0]} says how its rows are built, and from what"


def task_lines(manifest: TaskManifest, here: RowsHere) -> Iterator[tuple[str, str]]:
    """Everything that is known of a task but its sources: (what, its value)."""
    yield "task", f"{manifest.name}" + f" ({manifest.abbreviation})" * bool(manifest.abbreviation)
    yield "benchmark", manifest.benchmark or ""
    yield "left out", manifest.left_out or ""
    yield "level", manifest.level or ""
    yield "granularity", manifest.granularity or ""
    yield "says who", manifest.classification_source or ""
    yield "options", str(manifest.options or "")
    yield "metric", manifest.metric
    yield "ceiling", f"{manifest.ceiling:.0%}"
    yield "people", f"{manifest.human:.1%}, the ceiling with --ceiling human" if manifest.human is not None else ""
    yield "people's source", manifest.human_source or ""
    for part in ("training", "evaluation", "report"):
        yield part, _place(getattr(manifest, part))
    yield "rows here", _here(here)


def source_lines(source: TrainingSource, files: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """A source of raw data: (what, its value)."""
    stands_in = " (a substitute for BLINK's own source)" * source.substitute
    yield "source", f"{source.name}{stands_in}"
    yield "layout", source.layout
    yield "get it from", source.url
    yield "revision", source.revision
    yield "licence", source.licence
    yield "files", ", ".join(files)
    yield "note", source.note or ""


def lines_table(lines: Iterator[tuple[str, str]]) -> Table:
    """Pairs as two columns; what has no value is left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold", min_width=11)
    table.add_column(overflow="fold")
    for what, value in lines:
        if value:
            table.add_row(what, Text(value))
    return table


def task_record(manifest: TaskManifest, here: RowsHere, commands: list[str]) -> dict[str, Any]:
    """A task for ``--json``: its manifest, the rows that are here, and the commands that build them."""
    return {
        **manifest.model_dump(mode="json", exclude_none=True),
        "rows_here": {"where": here.where, "rows": here.rows},
        "layouts": list(here.layouts),
        "commands": commands,
    }


def _questions(data: QuestionData | None) -> str:
    return f"{data.questions:,}" if data is not None and data.questions is not None else MISSING


def _place(data: QuestionData | None) -> str:
    """Where questions are, in a line."""
    if data is None:
        return ""
    told = [data.path or " ".join(filter(None, (data.dataset, data.config)))]
    told += [f"split {data.split}"] if data.dataset is not None else []
    told += [f"{column} = {value}" for column, value in data.where.items()]
    told += [f"{data.questions:,} questions"] if data.questions is not None else []
    told += [f"revision {data.revision}"] if data.revision is not None else []
    told += [f"read from {data.folder}"] if data.folder is not None else []
    return ", ".join(told)


def _here(here: RowsHere) -> str:
    if here.where is None:
        return "none"
    return f"{here.rows:,} in {here.where}" if here.rows is not None else here.where
