"""A study from a CSV file: PGF in long form, accuracies or counts in long form with base rows, or a matrix of either.

What the values are is declared or clear, else refused: accuracies taken for PGF would make the base model a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.notebook import Frame
from tvt.core.scores import BASE
from tvt.core.study_reading import Metric, Unit
from tvt.data.csv_table import TWO_RUNS, Faults, Table, find_columns, number, read_table
from tvt.data.csv_text import Row
from tvt.data.studies.score_rows import (
    Scores,
    ValueRow,
    base_step,
    check_size,
    may_be_accuracies,
    pgf_unit,
    read_keyed,
    read_scores,
    refuse_if_empty,
)
from tvt.data.studies.table_shape import check_across, transposed, with_base, without_summaries
from tvt.data.tasks import known_tasks
from tvt.errors import InputError, suggest

_ALIASES = {
    **dict.fromkeys(("source", "ft_task"), "source"),
    **dict.fromkeys(("target", "task"), "target"),
    **dict.fromkeys(("run", "seed"), "run"),
    **dict.fromkeys(("pgf", "perfection_gap_factor", "gain"), "value"),
    **{name: name for name in ("accuracy", "correct", "total", "both_correct", "reason")},
}


@dataclass(frozen=True, kw_only=True)
class _How:
    """What the user said of the table, and what is left out of it."""

    metric: Metric | None
    unit: Unit | None
    base: str | None = None
    transpose: bool = False
    questions: int | Mapping[str, int] | None = None
    notes: list[str] = field(default_factory=list)


_LAYOUTS = "pgf; accuracy; or correct and total"


def load_csv_study(
    path: Path | Frame,
    *,
    metric: Metric | None = None,
    unit: Unit | None = None,
    base: str | None = None,
    transpose: bool = False,
    questions: int | Mapping[str, int] | None = None,
) -> TransferMatrix:
    """Read a transfer study from a CSV file.

    The header says which of three layouts it is: long PGF (``source|ft_task, target|task, pgf|perfection_gap_factor``, optional
    ``run|seed``), long accuracies (``accuracy`` or ``correct, total``, with base rows whose source is ``base``, ``none`` or
    empty), and wide (first column the source, every other header a target; with a row ``base`` the values are accuracies).
    Empty cells, NA, n/a and dashes are missing and stay missing; averages beside the tasks are left out, with a note.

    Args:
        path: the CSV file, or a pandas table with the same columns.
        metric: ``pgf``, or ``gain`` for finite values that are no PGF, taken as they are; ``None`` takes the values of a matrix
            for PGF where they cannot be accuracies.
        unit: ``fraction`` or ``percent``; ``None`` infers it where that is clear.
        base: the name of the base model's row, where it is not ``base``: the values are accuracies.
        transpose: the models stand across and the tasks down.
        questions: of how many questions the accuracies are, for all targets or by target; it gives them their errors.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table = read_table(path)
    how = _How(metric=metric, unit=unit, base=base, transpose=transpose, questions=questions)
    if transpose:
        table = transposed(table)
    path, faults = table.path, Faults(table.path)
    roles = {_ALIASES.get(name.casefold()) for name in table.header}
    if "source" in roles and "target" in roles:
        matrix = _long(table, how, faults)
    elif roles & {"value", "accuracy", "correct"}:
        absent = " and ".join(role for role in ("source", "target") if role not in roles)
        raise InputError(f"{path}:1: no column for the {absent}; name it so, or make a matrix with one column a target")
    else:
        matrix = _wide(table, how, faults)
    return replace(matrix, notes=tuple(how.notes))


def _long(table: Table, how: _How, faults: Faults) -> TransferMatrix:
    """A matrix from a row a cell."""
    positions = find_columns(table, _ALIASES, faults)
    faults.check()
    if not table.rows:
        raise InputError(f"{table.path}: empty study: no rows below the header; add the measurements")
    given = [role for role in ("value", "accuracy", "correct") if role in positions]
    if len(given) != 1 or ("correct" in positions and "total" not in positions):
        what = "several columns of measurements" if len(given) > 1 else "no complete measurement"
        raise InputError(f"{table.path}:1: {what}; give just one of: {_LAYOUTS}")
    table = with_base(table, positions["source"], how.base)
    table, _, notes = without_summaries(table, (), [positions["source"], positions["target"]])
    how.notes.extend(notes)
    if given == ["value"]:
        extra = [name for name in ("total", "both_correct", "reason") if name in positions]
        if extra:
            faults.add(1, f"column '{extra[0]}' has no meaning beside PGF; remove it")
        return _from_values(table, positions, how, faults)
    return _from_scores(table, positions, how, faults)


def _from_scores(table: Table, columns: Mapping[str, int], how: _How, faults: Faults) -> TransferMatrix:
    """A matrix from accuracies; refuses one in which no cell is left."""
    unit = how.unit
    if "accuracy" in columns:
        table, unit = _read_signs(table, columns["accuracy"], unit, faults)
    rows = read_scores(table, columns, unit, faults, questions=how.questions)
    if how.metric == "gain":
        raise InputError(f"{table.path}: has accuracies, which make PGF; drop --metric gain")
    return _score_matrix(table, rows, how, faults)


def _score_matrix(table: Table, scores: Scores, how: _How, faults: Faults) -> TransferMatrix:
    rows = scores.rows
    sources = tuple(dict.fromkeys(row.source for row in rows if row.source is not None))
    targets = tuple(dict.fromkeys(row.target for row in rows))
    check_size(len({row.run for row in rows}), len(sources), len(targets), faults)
    unknown = [] if not isinstance(how.questions, Mapping) else [name for name in how.questions if name not in targets]
    for name in unknown:
        faults.add(None, f"--questions {name}: no such target{suggest(name, targets)}; there are {', '.join(targets[:20])}")
    faults.check()
    matrix = TransferMatrix.from_scores(
        scores.scores,
        masked=scores.masked,
        tasks=known_tasks(tuple(dict.fromkeys((*sources, *targets)))),
        name=table.path.stem,
    )
    refuse_if_empty(matrix, str(table.path))
    return matrix


def _read_signs(table: Table, column: int, unit: Unit | None, faults: Faults) -> tuple[Table, Unit | None]:
    """The table and the unit of a column of values, as percent signs in it say.

    Signs in all of its cells make each a fraction, as 45.2% is 0.452; with ``percent`` declared they are only dropped. In some
    cells and not in others they are a fault unless the unit is declared.
    """
    signed, plain = table.signs(column)
    if not signed:
        return table, unit
    if unit == "percent":
        return table.without_signs(column), unit
    if plain and unit is None:
        where = f"'{plain[0].cells[column]}' has no percent sign, '{signed[0].cells[column]}' on line {signed[0].line} has one"
        faults.add(plain[0].line, f"{where}; give all cells one or none, or pass --unit percent")
        faults.check()  # other faults may come of it
    return table, "fraction"


def _wide(table: Table, how: _How, faults: Faults) -> TransferMatrix:
    """A matrix as it is printed: sources down, targets across, optionally a run column."""
    label, run = _label_columns(table)
    targets = [position for position in range(len(table.header)) if position not in (label, run)]
    if not table.rows:
        raise InputError(f"{table.path}: empty study: no rows below the header; add the measurements")
    table = with_base(table, label, how.base)
    table, targets, notes = without_summaries(table, targets, [label])
    how.notes.extend(notes)
    _check_labels(table, label, run, faults)
    faults.check()
    long = Table(
        table.path,
        ("source", "target", "value", "run"),
        tuple(
            Row(row.line, [row.cells[label], table.header[t], row.cells[t], "run_0" if run is None else row.cells[run]])
            for row in table.rows
            for t in targets
        ),
    )
    keys = {"source": 0, "target": 1, **({} if run is None else {"run": 3})}
    if any(row.cells[label].lower() in (BASE, "none") for row in table.rows):
        return _from_scores(long, {**keys, "accuracy": 2}, how, faults)
    check_across(table)
    return _from_values(long, {**keys, "value": 2}, how, faults, declared=False)


def _check_labels(table: Table, label: int, run: int | None, faults: Faults) -> None:
    """Every row names its source, and no two rows of a run the same."""
    lines: dict[tuple[str, str], int] = {}
    for row in table.rows:
        name = row.cells[label]
        if not name:
            faults.add(row.line, "no source; the first column names the source of each row")
            continue
        key = (name, "" if run is None else row.cells[run])
        first = lines.setdefault(key, row.line)
        if first != row.line:
            of_run, runs = (TWO_RUNS, "") if run is None else ("", f" of run '{key[1]}'")
            faults.add(row.line, f"source '{name}'{runs} stands on line {first} already; rename or remove one{of_run}")


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


def _from_values(
    table: Table, columns: Mapping[str, int], how: _How, faults: Faults, *, declared: bool = True
) -> TransferMatrix:
    """A matrix from PGF or gains.

    Args:
        table: one row a cell.
        columns: where its fields stand.
        how: what the user said of it.
        faults: where to note faults.
        declared: whether the header says that these are gains, so that they need not be held against accuracies.
    """
    table, unit = _read_signs(table, columns["value"], how.unit, faults)
    rows = read_keyed(table, ValueRow, columns, faults)
    cells = [(row.line, row.value) for row in rows if row.value is not None]
    if not declared and how.metric is None and may_be_accuracies(cells):
        step = f"{base_step(str(row.source) for row in rows)}, or --metric pgf or --metric gain if they are gains"
        faults.add(None, f"no row is named 'base', and no value is negative, so these may be accuracies; {step}")
        faults.check()
    if how.questions is not None:
        faults.add(None, "--questions is for accuracies with a base row; drop it")
    used = pgf_unit(cells, unit, faults) if how.metric != "gain" else unit
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
        metric=how.metric or "pgf",
        tasks=known_tasks(tuple(dict.fromkeys((*sources, *targets)))),
    )
