"""What ``tvt data`` says: of a build, and of what is wrong with a file of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from tvt.data.vetting.dataset_check import DatasetReport, Finding
from tvt.report.table_style import TABLE

MOST_SHOWN = 5
"""Findings of one kind that are printed; ``--json`` has all."""


def build_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What was built, in a few lines."""
    units, answers = record["units"], record["answers"]
    validation = f" and {record['validation']:,} for validation" if record["validation"] else ""
    yield (
        f"{record['task']} from {record['source']['name']} (layout {record['layout']}, builder version "
        f"{record['builder_version']}, seed {record['seed']}): {record['rows']:,} rows{validation}"
    )
    yield "right answers: " + ", ".join(f"{letter} {count:,}" for letter, count in answers.items())
    unfit = sum(units["unfit"].values())
    yield f"units: {units['listed']:,} listed, {units['tried']:,} tried, {unfit:,} unfit" + ":" * bool(unfit)
    for reason, count in units["unfit"].items():
        yield f"  {count:,} {reason}"
    if record["excluded"]["images"]:
        yield f"kept clear of {record['excluded']['images']:,} images"
    yield f"licence: {record['source']['licence']}"


def check_table(report: DatasetReport) -> Table:
    """The findings of a file; of many of one kind the first and how many more there are."""
    table = Table(**TABLE)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("where and what to do", overflow="fold")
    for finding in _shortened(report):
        colour = "red" if finding.fault else "yellow"
        where = finding.message.removeprefix(f"{report.path}: ").removeprefix(f"{report.path}:")
        table.add_row(Text("fault" if finding.fault else "warning", style=colour), finding.kind, Text(where))
    return table


def check_line(report: DatasetReport) -> str:
    """The sum of it, in a line."""
    faults, warnings = len(report.faults), len(report.warnings)
    told = [f"{faults:,} fault{'s' * (faults != 1)}"] if faults else ["no faults"]
    told += [f"{warnings:,} warning{'s' * (warnings != 1)}"] if warnings else []
    letters = ", ".join(f"{letter} {count:,}" for letter, count in report.answers.items())
    answers = f" (right answers: {letters})" * bool(letters)
    return f"{report.path}: {report.rows:,} rows{answers}, {', '.join(told)}"


def check_record(report: DatasetReport) -> dict[str, Any]:
    """A file's report for ``--json``."""
    return {
        "path": str(report.path),
        "rows": report.rows,
        "answers": dict(report.answers),
        "faults": _records(report.faults),
        "warnings": _records(report.warnings),
    }


def _records(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [{"kind": finding.kind, "message": finding.message} for finding in findings]


def _shortened(report: DatasetReport) -> Iterator[Finding]:
    ordered = sorted(report.findings, key=lambda finding: (not finding.fault, finding.kind))
    for (fault, kind), group in groupby(ordered, key=lambda finding: (finding.fault, finding.kind)):
        findings = list(group)
        yield from findings[:MOST_SHOWN]
        if len(findings) > MOST_SHOWN:
            yield Finding(kind, f"and {len(findings) - MOST_SHOWN:,} more; --json lists all", fault)
