"""What ``tvt doctor`` says: a line for each check, what mends it below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from tvt.core.health import Check
from tvt.report.table_style import TABLE

MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def checks_table(checks: Sequence[Check]) -> Table:
    """All checks by group; the next step stands below what was found."""
    table = Table(**TABLE)
    for head in ("", "", ""):
        table.add_column(head, no_wrap=True)
    table.add_column("", overflow="fold")
    group = None
    for check in checks:
        mark, style = MARKS[check.status]
        told = Text(check.found)
        if check.step:
            told.append(f"\n→ {check.step}", style=style if check.status != "ok" else "dim")
        table.add_row(check.group if check.group != group else "", Text(mark, style=style), check.name, told)
        group = check.group
    table.show_header = False
    return table


def verdict(checks: Sequence[Check]) -> str:
    """The sum of it, in a line."""
    counted = Counter(check.status for check in checks)
    if counted["fail"]:
        return f"{counted['fail']} of {len(checks)} checks failed: what they speak of would stop tvt here"
    if counted["warn"]:
        warnings = f"{counted['warn']} warning{'s' * (counted['warn'] != 1)}"
        return f"{len(checks)} checks: {warnings}, nothing that stops tvt"
    return f"{len(checks)} checks, all ok"


def checks_record(checks: Sequence[Check], versions: dict[str, str | None]) -> dict[str, Any]:
    """The same for ``--json``."""
    failed = any(check.status == "fail" for check in checks)
    return {"schema": 1, "ok": not failed, "versions": versions, "checks": [asdict(check) for check in checks]}
