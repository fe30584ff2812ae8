"""Rows of a score table (run, source, target and what was measured) as Score and MaskedScore values.

Their unit is fraction or percent: declared, clearly inferable, or refused. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

import numpy as np
from pydantic import BeforeValidator

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import BASE, MaskedScore, Score, Tally
from tvt.core.study_reading import Unit
from tvt.data.csv_table import Count, CsvRow, Faults, Number, RightAnswers, Table, distinct, read_rows
from tvt.errors import InputError

BASE_NAMES = frozenset({BASE, "none", ""})
"""What the source of a base row may be called, in lower case."""
MAX_CELLS = 20_000_000
"""Largest runs x sources x targets: a sparse table of unrelated names would fill the memory."""
_BASE_LIKE = re.compile(
    r"(?:^|[^a-z])(?:base|baseline|base[ _-]?model|pre-?trained|(?:zero|0)[ _-]?shot|original|untrained|vanilla)(?:$|[^a-z])",
    re.IGNORECASE,
)


def base_like(names: Iterable[str]) -> str | None:
    """The first name by which a base model may go, such as ``zero-shot``."""
    return next((name for name in names if _BASE_LIKE.search(name)), None)


def base_step(names: Iterable[str]) -> str:
    """What to pass where no row is named ``base``: the name by which the base model may go."""
    likely = base_like(names)
    return "pass --base NAME of its rows" if likely is None else f"pass --base '{likely}' if that is the base model"


class KeyRow(CsvRow):
    """What a row is about; ``source`` is ``None`` for the base model."""

    source: Annotated[str | None, BeforeValidator(lambda name: None if name.lower() in BASE_NAMES else name)]
    target: str
    run: str = "run_0"

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        if not self.target:
            yield "no target; name the task that was scored"
        elif self.target.lower() in BASE_NAMES:
            yield f"'{self.target}' cannot be a target, it means the base model; name the task"
        elif not self.run and self.source is not None:
            yield "no run; name the run or seed"

    @property
    def key(self) -> tuple[str, str | None, str]:
        """Run, source and target."""
        return self.run or BASE, self.source, self.target

    def twice(self, first: int) -> str:
        """What is wrong where another row has the same key."""
        named = "run" in self.model_fields_set
        run = f" of run '{self.run}'" if self.run and named else ""
        runs = "" if named else ", or add a column 'run' if they are two runs"
        return f"{self.source or BASE} -> {self.target}{run} stands on line {first} already; remove one of the two{runs}"


class ValueRow(KeyRow):
    """A PGF or a gain."""

    prefix: ClassVar[str] = "{source} -> {target}: "

    value: Number

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        yield from super().faults(names)
        if self.source is None:
            yield "a base row among PGF; remove it, or give accuracies"


class ScoreRow(KeyRow):
    """Counts or an accuracy, or the reason why they are missing."""

    accuracy: Number = None
    correct: RightAnswers = None
    total: Count = None
    both_correct: RightAnswers = None
    reason: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is a measurement; a total alone measures nothing."""
        if "accuracy" in self.model_fields_set:
            return self.accuracy is not None
        return self.correct is not None or self.both_correct is not None

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        yield from super().faults(names)
        if self.measured and self.accuracy is None:
            yield from count_faults(self.correct, self.total, self.both_correct)
        if self.measured and self.reason:
            yield "a reason beside a measurement; a row has one or the other"

    def score(self, *, percent: bool, questions: int | None = None) -> Score | MaskedScore:
        """The row as a value.

        Args:
            percent: whether the accuracy is a percentage.
            questions: of how many questions the accuracy is, where the row does not say.

        Raises:
            ValueError: the numbers of questions do not fit the accuracy.
        """
        run, source, target = self.key
        accuracy, correct, total = self.accuracy, self.correct, self.total
        total = questions if total is None and accuracy is not None else total
        if accuracy is not None:
            accuracy = accuracy / 100 if percent else accuracy  # divided, so that 95 becomes exactly 0.95
            correct = None if total is None else round(accuracy * total)
            if total is None and self.both_correct is not None:
                raise ValueError("both_correct needs a total; add it")
            within = total is not None and 0 <= accuracy <= 1
            if within and (faults := "\n".join(count_faults(correct, total, self.both_correct))):
                raise ValueError(faults)
        elif correct is not None and total is not None:
            accuracy = correct / total
        if accuracy is None:
            return MaskedScore(run=run, source=source, target=target, reason=self.reason or "not measured")
        both = self.both_correct
        return Score(run=run, source=source, target=target, accuracy=accuracy, correct=correct, total=total, both_correct=both)


class FolderRow(ScoreRow):
    """A row of a study folder, in which nothing is missing without a reason."""

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        yield from super().faults(names)
        if not self.measured and not self.reason:
            yield "no counts and no reason; give correct and total, or the reason why they are missing"


def count_faults(correct: Tally | None, total: int | None, both: Tally | None) -> Iterator[str]:
    """Yield what is wrong with the number of questions that are right, of all, and of those that were right before too."""
    if correct is None or total is None:
        yield "correct and total belong together; give both or neither"
        return
    if total < 1:
        yield f"total {total} is not positive; give the number of questions"
    elif not 0 <= correct <= total:
        yield f"correct {correct} is not within 0 and total {total}; check the counts"
    if both is not None and not 0 <= both <= correct:
        yield f"both_correct {both} is not within 0 and correct {correct}; check the counts"


@dataclass(frozen=True)
class Scores:
    """What a score table holds."""

    scores: tuple[Score, ...]
    masked: tuple[MaskedScore, ...]

    @property
    def rows(self) -> Sequence[Score | MaskedScore]:
        """Measured and missing evaluations together."""
        return (*self.scores, *self.masked)


K = TypeVar("K", bound=KeyRow)


def read_keyed(table: Table, model: type[K], columns: Mapping[str, int], faults: Faults) -> list[K]:
    """The sound rows, no two of them with the same key; faults are noted."""
    used = {name: at for name, at in columns.items() if name in model.model_fields}
    return distinct(read_rows(table, model, used, faults), lambda row: row.key, lambda row, first: row.twice(first), faults)


def read_scores(
    table: Table,
    columns: Mapping[str, int],
    unit: Unit | None,
    faults: Faults,
    *,
    model: type[ScoreRow] = ScoreRow,
    questions: int | Mapping[str, int] | None = None,
    base_alone: bool = False,
) -> Scores:
    """Read accuracies or counts with base rows.

    Args:
        table: the table.
        columns: where the fields stand.
        unit: ``fraction`` or ``percent`` of the accuracies; ``None`` infers it or refuses.
        faults: the faults found so far.
        model: the kind of row.
        questions: of how many questions the accuracies are (of each target), where the table does not say.
        base_alone: whether the base model may be all that was scored.

    Raises:
        InputError: every fault, one line each.
    """
    rows = read_keyed(table, model, columns, faults)
    percent = accuracy_unit([(row.line, row.accuracy) for row in rows if row.accuracy is not None], unit, faults) == "percent"
    result: list[tuple[int, Score | MaskedScore]] = []
    for row in rows:
        try:
            asked = questions.get(row.target) if isinstance(questions, Mapping) else questions
            result.append((row.line, row.score(percent=percent, questions=asked)))
        except ValueError as error:
            for fault in str(error).split("\n"):
                faults.add(row.line, fault)
    scores = [(line, score) for line, score in result if isinstance(score, Score)]
    keys = read_keyed(table, KeyRow, columns, Faults(table.path))  # a base row with wrong counts is one all the same
    bases = [row.key for row in keys if row.source is None]
    if len(bases) == len(keys) and not (base_alone and bases):
        faults.add(None, "empty study: no row with a source; add the scores after finetuning")
    elif not bases:
        faults.add(
            None,
            f"no base rows; add the base model's scores with source '{BASE}', or {base_step(k.source or '' for k in keys)}",
        )
    else:
        check_base(bases, ((line, s.run, s.target) for line, s in scores if s.source is not None), "add one", faults)
    faults.check()
    return Scores(tuple(score for _, score in scores), tuple(score for _, score in result if isinstance(score, MaskedScore)))


def check_base(
    bases: Iterable[tuple[str, str | None, str]], rows: Iterable[tuple[int, str, str]], step: str, faults: Faults
) -> None:
    """Every measured cell needs a base row: of its run, or the only one of its target.

    Args:
        bases: run, source and target of the base rows.
        rows: line, run and target of the others.
        step: what to do, for the message.
        faults: where to note faults.
    """
    runs: dict[str, set[str]] = {}
    for run, _, target in bases:
        runs.setdefault(target, set()).add(run)
    reported: set[tuple[str, str]] = set()
    for line, run, target in rows:
        known = runs.get(target, set())
        if run not in known and len(known) != 1 and (run, target) not in reported:
            reported.add((run, target))
            faults.add(line, f"no base row for target '{target}' in run '{run}'; {step} with source '{BASE}'")


def check_size(runs: int, sources: int, targets: int, faults: Faults) -> None:
    """Note a fault where the full matrix would not fit into memory."""
    if runs * sources * targets > MAX_CELLS:
        faults.add(None, f"{runs} runs x {sources} sources x {targets} targets are too many cells; is a wrong column used?")


def refuse_if_empty(matrix: TransferMatrix, origin: str) -> None:
    """Raise InputError where no cell of the matrix has a value, with the reasons."""
    if np.isfinite(matrix.values).any():
        return
    reasons = list(dict.fromkeys(matrix.reasons.values())) or ["not measured"]
    more = f" and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    raise InputError(f"{origin}: empty study: no cell is left ({'; '.join(reasons[:3])}{more}); check the scores and ceilings")


Cells = Sequence[tuple[int, float]]
"""(line, value) of the cells that are not missing."""

_ROUNDING = 1e-9
_DEEPEST_PGF = -20.0
"""A PGF below this is possible but rare enough that it may as well be a percentage."""


def may_be_accuracies(cells: Cells) -> bool:
    """Whether values may be accuracies, as fractions or in percent: several, none of them negative or above 100."""
    return len(cells) > 1 and all(0 <= value <= 100 for _, value in cells) and any(value > 0 for _, value in cells)


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
    """The unit that the values themselves show, or ``None`` with a fault noted."""
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
