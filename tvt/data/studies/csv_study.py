"""Import of transfer studies from CSV: long PGF, long accuracies or counts with base rows, and wide matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.notebook import Frame
from tvt.core.scores import BASE
from tvt.data.csv_table import Faults, Row, Table, find_columns, number, read_table
from tvt.data.studies.score_rows import Scores, Unit, ValueRow, check_size, pgf_unit, read_keyed, read_scores
from tvt.data.tasks import known_tasks
from tvt.errors import InputError

Metric = Literal["pgf", "gain"]

_ALIASES = {
    **dict.fromkeys(("source", "ft_task"), "source"),
    **dict.fromkeys(("target", "task"), "target"),
    **dict.fromkeys(("run", "seed"), "run"),
    **dict.fromkeys(("pgf", "perfection_gap_factor", "gain"), "value"),
    **{name: name for name in ("accuracy", "correct", "total", "both_correct", "reason")},
}


class _How(NamedTuple):
    """What the user said of the values."""

    metric: Metric
    unit: Unit | None


_LAYOUTS = "pgf; accuracy; or correct and total"


def load_csv_study(path: Path | Frame, *, metric: Metric = "pgf", unit: Unit | None = None) -> TransferMatrix:
    """Read a transfer study from a CSV file.

    Three layouts are told apart by the header: long PGF (``source|ft_task, target|task, pgf|perfection_gap_factor``, optional
    ``run|seed``), long accuracies (``accuracy`` or ``correct, total``, with base rows whose source is ``base``, ``none`` or
    empty), and wide (first column the source, every other header a target; with a row ``base`` the values are accuracies).
    Empty cells and NA are missing and stay missing.

    Args:
        path: the CSV file, or a pandas table with the same columns.
        metric: ``pgf``, or ``gain`` for finite values that are no PGF, taken as they are.
        unit: ``fraction`` or ``percent``; ``None`` infers it where that is clear.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table = read_table(path)
    path, faults = table.path, Faults(table.path)
    how = _How(metric, unit)
    roles = {_ALIASES.get(name.casefold()) for name in table.header}
    if "source" in roles and "target" in roles:
        positions = find_columns(table, _ALIASES, faults)
        faults.check()
        if not table.rows:
            raise InputError(f"{path}: empty study: no rows below the header; add the measurements")
        return _long(table, positions, how, faults)
    if roles & {"value", "accuracy", "correct"}:
        absent = " and ".join(role for role in ("source", "target") if role not in roles)
        raise InputError(f"{path}:1: no column for the {absent}; name it so, or make a matrix with one column a target")
    return _wide(table, how, faults)


def _long(table: Table, positions: Mapping[str, int], how: _How, faults: Faults) -> TransferMatrix:
    given = [role for role in ("value", "accuracy", "correct") if role in positions]
    if len(given) != 1 or ("correct" in positions and "total" not in positions):
        what = "several columns of measurements" if len(given) > 1 else "no complete measurement"
        raise InputError(f"{table.path}:1: {what}; give just one of: {_LAYOUTS}")
    if given == ["value"]:
        extra = [name for name in ("total", "both_correct", "reason") if name in positions]
        if extra:
            faults.add(1, f"column '{extra[0]}' has no meaning beside PGF; remove it")
        return _from_values(table, positions, how, faults)
    return _from_scores(table, read_scores(table, positions, how.unit, faults), how, faults)


def _from_scores(table: Table, scores: Scores, how: _How, faults: Faults) -> TransferMatrix:
    """A matrix from accuracies; refuses one in which no cell is left."""
    if how.metric == "gain":
        raise InputError(f"{table.path}: has accuracies, which make PGF; drop --metric gain")
    rows = scores.rows
    sources = tuple(dict.fromkeys(row.source for row in rows if row.source is not None))
    targets = tuple(dict.fromkeys(row.target for row in rows))
    check_size(len({row.run for row in rows}), len(sources), len(targets), faults)
    faults.check()
    matrix = TransferMatrix.from_scores(
        scores.scores,
        masked=scores.masked,
        tasks=known_tasks(tuple(dict.fromkeys((*sources, *targets)))),
        name=table.path.stem,
    )
    refuse_if_empty(matrix, str(table.path))
    return matrix


def refuse_if_empty(matrix: TransferMatrix, origin: str) -> None:
    """Raise InputError where no cell of the matrix has a value, with the reasons."""
    if np.isfinite(matrix.values).any():
        return
    reasons = list(dict.fromkeys(matrix.reasons.values())) or ["not measured"]
    more = f" and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    raise InputError(f"{origin}: empty study: no cell is left ({'; '.join(reasons[:3])}{more}); check the scores and ceilings")


def _wide(table: Table, how: _How, faults: Faults) -> TransferMatrix:
    """A matrix as it is printed: sources down, targets across, optionally a run column."""
    label, run = _label_columns(table)
    targets = [position for position in range(len(table.header)) if position not in (label, run)]
    if not table.rows:
        raise InputError(f"{table.path}: empty study: no rows below the header; add the measurements")
    long = Table(
        table.path,
        ("run", "source", "target", "value"),
        tuple(
            Row(row.line, ["run_0" if run is None else row.cells[run], row.cells[label], table.header[t], row.cells[t]])
            for row in table.rows
            for t in targets
        ),
    )
    keys = {"run": 0, "source": 1, "target": 2}
    for row in table.rows:
        if not row.cells[label]:
            faults.add(row.line, "no source; the first column names the source of each row")
    faults.check()
    if any(row.cells[label].lower() in (BASE, "none") for row in table.rows):
        return _from_scores(table, read_scores(long, {**keys, "accuracy": 3}, how.unit, faults), how, faults)
    return _from_values(long, {**keys, "value": 3}, how, faults)


def _label_columns(table: Table) -> tuple[int, int | None]:
    """Positions of the column of sources and of the column of runs, if there is one beside it."""
    named = next((p for p, name in enumerate(table.header[:2]) if name.casefold() in ("run", "seed")), None)
    if named is None:
        return 0, None
    other = 1 - named
    # A header "run" over the sources themselves is followed by numbers.
    if named == 0 and all(_is_number(row.cells[1]) for row in table.rows):
        return 0, None
    return other, named


def _is_number(text: str) -> bool:
    """Whether a cell is a number or missing."""
    try:
        number(text)
    except ValueError:
        return False
    return True


def _from_values(table: Table, columns: Mapping[str, int], how: _How, faults: Faults) -> TransferMatrix:
    """A matrix from PGF or gains."""
    rows = read_keyed(table, ValueRow, columns, faults)
    cells = [(row.line, row.value) for row in rows if row.value is not None]
    used = pgf_unit(cells, how.unit, faults) if how.metric == "pgf" else how.unit
    runs, sources, targets = (tuple(dict.fromkeys(str(row.key[axis]) for row in rows)) for axis in range(3))
    check_size(len(runs), len(sources), len(targets), faults)
    faults.check()
    if not cells:
        raise InputError(f"{table.path}: empty study: every cell is missing; add the measurements")
    at = [{name: index for index, name in enumerate(names)} for names in (runs, sources, targets)]
    values = np.full((len(runs), len(sources), len(targets)), np.nan)
    for row in rows:
        if row.value is not None:
            place = tuple(positions[str(name)] for positions, name in zip(at, row.key, strict=True))
            values[place] = row.value / 100 if used == "percent" else row.value
    return TransferMatrix.from_values(
        values,
        sources=sources,
        targets=targets,
        runs=runs,
        name=table.path.stem,
        metric=how.metric,
        tasks=known_tasks(tuple(dict.fromkeys((*sources, *targets)))),
    )
