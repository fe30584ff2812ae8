"""Any other table of results, by the columns that a person names; wandb's export of runs among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from tvt.data.csv_table import Table, number, read_table
from tvt.data.csv_text import Row
from tvt.data.studies.imports.results import Result
from tvt.errors import InputError, suggest

FIELDS = ("source", "run", "target", "accuracy", "total", "targets")
_WANDB = {"State", "Created", "Runtime", "User"}


def is_wandb(path: Path) -> bool:
    """Whether a table is what wandb exports: a run a row, with its name and state."""
    if not path.is_file():
        return False
    header = set(read_table(path).header)
    return "Name" in header and bool(_WANDB & header)


def read(path: Path, columns: Mapping[str, str], *, wandb: bool) -> tuple[list[Result], list[str]]:
    """The results in a table.

    Args:
        path: the CSV file.
        columns: by field the column's name: ``source``, and optionally ``run``, with either ``target`` and ``accuracy`` (and
            ``total``) or ``targets``, names or patterns of the columns of accuracies between commas (``eval/*/accuracy``).
        wandb: the table is wandb's, so that ``source`` is its ``Name``, and runs that did not finish are left out.

    Raises:
        InputError: columns that are not there, or cells that are no numbers; every fault, one line each.
    """
    table, notes = read_table(path), list[str]()
    fields = {"source": "Name", **columns} if wandb else dict(columns)
    state = table.at("State")
    if wandb and state is not None:
        finished = tuple(row for row in table.rows if row.cells[state].casefold() == "finished")
        if len(finished) < len(table.rows):
            notes.append(f"{path}: {len(table.rows) - len(finished)} runs that did not finish are left out")
        table = replace(table, rows=finished)
    _check(table, fields)
    if "targets" in fields:
        return _wide(table, fields), notes
    return _long(table, fields), notes


def _check(table: Table, fields: Mapping[str, str]) -> None:
    faults = []
    for field, name in fields.items():
        if field not in FIELDS:
            faults.append(f"--columns {field}={name}: no such field{suggest(field, FIELDS)}; there are {', '.join(FIELDS)}")
        elif field != "targets" and table.at(name) is None:
            there = ", ".join(table.header[:20])
            faults.append(f"{table.path}:1: no column '{name}' for the {field}{suggest(name, table.header)}; there are {there}")
    if "source" not in fields:
        faults.append(f"{table.path}: which column names the models? --columns source=NAME")
    if ("targets" in fields) == ("target" in fields or "accuracy" in fields):
        ways = (
            "--columns targets='eval/*' for a column a task, or --columns target=NAME --columns accuracy=NAME for a row a score"
        )
        faults.append(f"{table.path}: where are the accuracies? {ways}")
    elif "targets" not in fields and not {"target", "accuracy"} <= fields.keys():
        faults.append(f"{table.path}: --columns target=NAME and --columns accuracy=NAME belong together")
    if faults:
        raise InputError(*faults)


def _wide(table: Table, fields: Mapping[str, str]) -> list[Result]:
    patterns = [pattern.strip() for pattern in fields["targets"].split(",")]
    names = [name for name in table.header if any(fnmatchcase(name, pattern) for pattern in patterns)]
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in table.header)]
    if unknown:
        there = ", ".join(table.header[:30])
        raise InputError(*(f"{table.path}:1: no column is called '{pattern}'; there are {there}" for pattern in unknown))
    short = _short(names)
    cells = [(row, name, short[name], table.header.index(name)) for row in table.rows for name in names]
    return _results(table, [(row, target, row.cells[at], "") for row, _, target, at in cells], fields)


def _short(names: Sequence[str]) -> dict[str, str]:
    """The columns' names without the parts that all begin or end with: ``eval/Jigsaw/accuracy`` is Jigsaw."""
    if len(names) < 2:
        return {name: name for name in names}
    parts = [name.split("/") for name in names]
    head, tail = _shared(parts), _shared([part[::-1] for part in parts])
    return {name: "/".join(part[head : len(part) - tail]) or name for name, part in zip(names, parts, strict=True)}


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """With how many equal parts all begin."""
    return next((at for at, column in enumerate(zip(*parts, strict=False)) if len(set(column)) > 1), min(map(len, parts)))


def _long(table: Table, fields: Mapping[str, str]) -> list[Result]:
    at = {field: table.header.index(name) for field, name in fields.items()}
    rows = [
        (row, row.cells[at["target"]], row.cells[at["accuracy"]], row.cells[at["total"]] if "total" in at else "")
        for row in table.rows
    ]
    return _results(table, rows, fields)


def _results(table: Table, cells: Sequence[tuple[Row, str, str, str]], fields: Mapping[str, str]) -> list[Result]:
    source, run = table.header.index(fields["source"]), table.at(fields.get("run", ""))
    results, faults, seen = [], list[str](), dict[tuple[str, str, str], int]()
    for row, target, accuracy, total in cells:
        key = ("run_0" if run is None else row.cells[run], row.cells[source], target)
        try:
            value, asked = number(accuracy), number(total)
        except ValueError as error:
            faults.append(f"{table.path}:{row.line}: {key[1]} on {target}: {error}")
            continue
        if value is None:
            continue
        if key in seen:
            step = "remove one, or name the column that tells two runs apart: --columns run=NAME"
            faults.append(f"{table.path}:{row.line}: {key[1]} on {target} stands on line {seen[key]} already; {step}")
        seen.setdefault(key, row.line)
        results.append(
            Result(
                run=key[0],
                source=key[1],
                target=target,
                accuracy=value,
                origin=table.path,
                total=None if asked is None else int(asked),
            )
        )
    if faults:
        raise InputError(*faults[:20])
    return results
