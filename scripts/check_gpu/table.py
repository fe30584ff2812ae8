"""The table at the end, on stderr: stdout has the lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]


def show(records: Sequence[Record], seconds: float) -> None:
    """Print what became of each leg, and what was not run; ``seconds`` are those of all."""
    rows = [(record["leg"], record["result"], _seconds(record), "\n".join(_details(record))) for record in records]
    _print(("leg", "result", "s", "expected, found, measured"), rows)
    left = [f"{r['leg']} ({r['reason']})" for r in records if r["result"] == "not run"]
    left += [f"{r['leg']}: {note.removeprefix('not run: ')}" for r in records for note in r.get("notes", ())]
    counts = {name: sum(record["result"] == name for record in records) for name in ("PASS", "MISS", "not run")}
    print(f"{counts['PASS']} passed, {counts['MISS']} missed, {counts['not run']} not run, in {seconds:.0f} s", file=sys.stderr)
    if left:
        print(f"not run: {'; '.join(left)}", file=sys.stderr)


def _details(record: Record) -> list[str]:
    reason = [record["reason"]] if record.get("reason") else []
    lines = [
        f"{'' if one['ok'] else 'MISS: '}{one['expected']}: {_shown(one['found'])}" for one in record.get("expectations", ())
    ]
    figures = ", ".join(f"{name} {_shown(value)}" for name, value in record.get("figures", {}).items())
    return [*reason, *lines, *([figures] if figures else [])]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)


def _seconds(record: Record) -> str:
    return f"{record['wall_seconds']:.0f}" if "wall_seconds" in record else ""


def _print(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:  # a machine may have torch and little else
        for row in (head, *rows):
            print("  ".join(f"{cell:{width}}" for cell, width in zip(row, (10, 8, 5, 0), strict=True)), file=sys.stderr)
        return
    table = Table(*head)
    colours = {"PASS": "green", "MISS": "bold red", "not run": "yellow"}
    for name, result, seconds, details in rows:
        table.add_row(name, Text(result, colours[result]), seconds, Text(details))
    Console(stderr=True, highlight=False).print(table)
