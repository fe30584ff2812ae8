"""Rows of a score table (run, source, target and what was measured) as Score and MaskedScore values.

Their unit is fraction or percent: declared, clearly inferable, or refused. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from tvt.core.scores import BASE, MaskedScore, Score, Tally
from tvt.data.csv_table import Faults, Row, Table, integer, number, tally
from tvt.errors import suggest

BASE_NAMES = frozenset({BASE, "none", ""})
"""What the source of a base row may be called, in lower case."""
MAX_CELLS = 20_000_000
"""Largest runs x sources x targets: a sparse table of unrelated names would fill the memory."""

Keyed = list[tuple[Row, str, str | None, str]]
"""Rows with their run, source (``None`` for the base model) and target."""

_ONLY_RUN = "run_0"


@dataclass(frozen=True)
class Columns:
    """Positions of the columns that a score table may have."""

    source: int
    target: int
    run: int | None = None
    accuracy: int | None = None
    correct: int | None = None
    total: int | None = None
    both_correct: int | None = None
    reason: int | None = None


@dataclass(frozen=True)
class Scores:
    """What a score table holds; ``lines`` says where each (run, source, target) stands."""

    scores: tuple[Score, ...]
    masked: tuple[MaskedScore, ...]
    lines: Mapping[tuple[str, str | None, str], int]

    @property
    def rows(self) -> Sequence[Score | MaskedScore]:
        """Measured and missing evaluations together."""
        return (*self.scores, *self.masked)


def find_columns(table: Table, aliases: Mapping[str, str], faults: Faults) -> dict[str, int]:
    """Map roles to positions; a role that two columns claim, and a column without a role, are faults.

    Args:
        table: the table.
        aliases: column name in lower case -> role.
        faults: where to note faults.
    """
    found: dict[str, int] = {}
    for position, name in enumerate(table.header):
        role = aliases.get(name.casefold())
        if role is None:
            if name:
                hint = suggest(name, list(aliases)) or f"; known: {', '.join(dict.fromkeys(aliases))}"
                faults.add(1, f"unknown column '{name}'{hint}; rename or remove it")
        elif role in found:
            faults.add(1, f"'{table.header[found[role]]}' and '{name}' both name the {role}; keep one")
        else:
            found[role] = position
    return found


def read_keys(table: Table, columns: Columns, faults: Faults) -> Keyed:
    """The rows with their run, source (``None`` for the base model) and target; faulty rows are noted and left out."""
    seen: dict[tuple[str, str | None, str], int] = {}
    found = []
    for row in table.rows:
        name, target = row.cells[columns.source], row.cells[columns.target]
        source = None if name.lower() in BASE_NAMES else name
        run = _ONLY_RUN if columns.run is None else row.cells[columns.run]
        if not target:
            faults.add(row.line, "no target; name the task that was scored")
        elif target.lower() in BASE_NAMES:
            faults.add(row.line, f"'{target}' cannot be a target, it means the base model; name the task")
        elif not run and source is not None:
            faults.add(row.line, "no run; name the run or seed")
        elif (run, source, target) in seen:
            first = seen[run, source, target]
            what = f"{source or BASE} -> {target}" + (f" of run '{run}'" if run and columns.run is not None else "")
            faults.add(row.line, f"{what} stands on line {first} already; remove one of the two")
        else:
            seen[run, source, target] = row.line
            found.append((row, run or BASE, source, target))
    return found


def read_scores(table: Table, columns: Columns, unit: Unit | None, faults: Faults, *, strict: bool = False) -> Scores:
    """Read accuracies or counts with base rows; raises InputError with all faults.

    Args:
        table: the table.
        columns: where things stand.
        unit: ``fraction`` or ``percent`` of the accuracies; ``None`` infers it or refuses.
        faults: the faults found so far.
        strict: a row without counts needs a reason.
    """
    keyed = read_keys(table, columns, faults)
    scores: list[Score] = []
    masked: list[MaskedScore] = []
    measure = _counts(columns)
    if columns.accuracy is not None:
        cells = [(row.line, value) for row, *_ in keyed if isinstance(value := number(row.cells[columns.accuracy]), float)]
        percent = accuracy_unit(cells, unit, faults) == "percent"
        measure = _accuracies(columns, columns.accuracy, percent=percent)
    for row, run, source, target in keyed:
        measured = measure(row)
        reason = row.cells[columns.reason] if columns.reason is not None else ""
        if isinstance(measured, list):
            for fault in measured:
                faults.add(row.line, fault)
        elif measured is None:
            if strict and not reason:
                faults.add(row.line, "no counts and no reason; give correct and total, or the reason why they are missing")
            masked.append(MaskedScore(run=run, source=source, target=target, reason=reason or "not measured"))
        elif reason:
            faults.add(row.line, "a reason beside a measurement; a row has one or the other")
        else:
            scores.append(Score(run=run, source=source, target=target, **measured))
    lines = {(run, source, target): row.line for row, run, source, target in keyed}
    result = Scores(tuple(scores), tuple(masked), lines)
    _check_base(keyed, result, faults)
    faults.check()
    return result


def check_size(runs: int, sources: int, targets: int, faults: Faults) -> None:
    """Note a fault where the full matrix would not fit into memory."""
    if runs * sources * targets > MAX_CELLS:
        faults.add(None, f"{runs} runs x {sources} sources x {targets} targets are too many cells; is a wrong column used?")


class _Measured(TypedDict):
    """The measured part of a Score."""

    accuracy: float
    correct: Tally | None
    total: int | None
    both_correct: Tally | None


_Measure = Callable[[Row], "_Measured | list[str] | None"]
"""What a row measured; ``None`` where missing, a list of faults where wrong."""


def _counts(columns: Columns) -> _Measure:
    """Reads counts."""

    def measure(row: Row) -> _Measured | list[str] | None:
        assert columns.correct is not None  # noqa: S101 - the caller looked
        assert columns.total is not None  # noqa: S101
        correct, total = tally(row.cells[columns.correct]), integer(row.cells[columns.total])
        both = None if columns.both_correct is None else tally(row.cells[columns.both_correct])
        wrong = [value for value in (correct, total, both) if isinstance(value, str)]
        if wrong:
            return wrong
        if correct is None and both is None:
            return None  # a total alone measures nothing
        if not isinstance(correct, int | float) or not isinstance(total, int):
            return ["correct and total belong together; give both or neither"]
        faults = _check_total(total)
        if not faults and not 0 <= correct <= total:
            faults.append(f"correct {correct} is not within 0 and total {total}; check the counts")
        joint = both if isinstance(both, int | float) else None
        if joint is not None:
            faults += _check_both(joint, correct)
        return faults or _Measured(accuracy=correct / total, correct=correct, total=total, both_correct=joint)

    return measure


def _accuracies(columns: Columns, position: int, *, percent: bool) -> _Measure:
    """Reads an accuracy and an optional total."""

    def measure(row: Row) -> _Measured | list[str] | None:
        value = number(row.cells[position])
        total = None if columns.total is None else integer(row.cells[columns.total])
        both = None if columns.both_correct is None else integer(row.cells[columns.both_correct])
        wrong = [fault for fault in (value, total, both) if isinstance(fault, str)]
        if wrong:
            return wrong
        if not isinstance(value, float):
            return None
        accuracy = value / 100 if percent else value  # divided, so that 95 becomes exactly 0.95
        correct = round(accuracy * total) if isinstance(total, int) else None
        faults = _check_total(total) if isinstance(total, int) else []
        if isinstance(both, int):
            faults += ["both_correct needs a total; add it"] if correct is None else _check_both(both, correct)
        counted, joint = (count if isinstance(count, int) else None for count in (total, both))
        return faults or _Measured(accuracy=accuracy, correct=correct, total=counted, both_correct=joint)

    return measure


def _check_total(total: int) -> list[str]:
    return [] if total >= 1 else [f"total {total} is not positive; give the number of questions"]


def _check_both(both: Tally, correct: Tally) -> list[str]:
    return [] if 0 <= both <= correct else [f"both_correct {both} is not within 0 and correct {correct}; check the counts"]


def _check_base(keyed: Keyed, result: Scores, faults: Faults) -> None:
    """Every measured cell needs a base row: of its run, or the only one of its target. A faulty base row counts as one."""
    base: dict[str, set[str]] = {}
    for _, run, source, target in keyed:
        if source is None:
            base.setdefault(target, set()).add(run)
    if all(source is None for _, _, source, _ in keyed):
        faults.add(None, "empty study: no row with a source; add the scores after finetuning")
        return
    if not base:
        faults.add(None, f"no base rows; add the base model's scores with source '{BASE}'")
        return
    told: set[tuple[str, str]] = set()
    for row in result.scores:
        runs = base.get(row.target, set())
        if row.source is None or row.run in runs or len(runs) == 1 or (row.run, row.target) in told:
            continue
        told.add((row.run, row.target))
        line = result.lines[row.run, row.source, row.target]
        faults.add(line, f"no base row for target '{row.target}' in run '{row.run}'; add one with source '{BASE}'")


Unit = Literal["fraction", "percent"]
Cells = Sequence[tuple[int, float]]
"""(line, value) of the cells that are not missing."""

_ROUNDING = 1e-9
_DEEPEST_PGF = -20.0
"""A PGF below this is possible but rare enough that it may as well be a percentage."""


def accuracy_unit(cells: Cells, unit: Unit | None, faults: Faults) -> Unit:
    """The unit of accuracies, which lie within 0 and 1 or within 0 and 100; faults are noted with their lines."""
    for line, value in cells:
        if value < 0 or value > 100:
            faults.add(line, f"accuracy {value:g} is outside 0 to 100 percent; check the value")
        elif unit == "fraction" and value > 1:
            faults.add(line, f"accuracy {value:g} is above 1; pass --unit percent if it is a percentage")
    if unit is not None:
        return unit
    low = [(line, value) for line, value in cells if 0 < value <= 1]
    high = [(line, value) for line, value in cells if value > 1]
    if low and high:
        faults.add(low[0][0], _mixed(low, high))
    return "percent" if high else "fraction"


def pgf_unit(cells: Cells, unit: Unit | None, faults: Faults) -> Unit:
    """The unit of PGF values, of which none is above 1 (100 percent); faults are noted with their lines."""
    if unit is None and cells:
        unit = _infer_pgf(cells, faults)
        if unit is None:
            return "fraction"
    unit = unit or "fraction"
    limit = 100.0 if unit == "percent" else 1.0
    for line, value in cells:
        if value > limit * (1 + _ROUNDING):
            faults.add(line, f"PGF {value:g} is above {limit:g}, which no PGF is; pass --metric gain if these are other gains")
    return unit


def _infer_pgf(cells: Cells, faults: Faults) -> Unit | None:
    """The unit that the values themselves tell, or ``None`` with a fault noted."""
    above = [cell for cell in cells if cell[1] > 1 + _ROUNDING]
    small = [cell for cell in cells if 0 < abs(cell[1]) <= 1]
    lowest = min(cells, key=lambda cell: cell[1])
    if above:
        if not small:
            return "percent"
        hint = "; pass --unit percent, or --metric gain if these are no PGF"
        faults.add(small[0][0], _mixed(small, above).partition(";")[0] + hint)
        return None
    if lowest[1] < _DEEPEST_PGF or (lowest[1] < -1 and not small):
        faults.add(lowest[0], f"{lowest[1]:g} may be a PGF or a percentage; pass --unit fraction or --unit percent")
        return None
    return "fraction"


def _mixed(low: Cells, high: Cells) -> str:
    (_, small), (line, large) = low[0], high[0]
    return f"percent mixed with fractions: {small:g} here, {large:g} on line {line}; pass --unit fraction or --unit percent"
