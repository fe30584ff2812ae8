"""Tables of mixtures: a study's own runs (``mixtures.csv``), any past runs, and mixtures that are yet to be predicted.

A row of ``mixtures.csv`` is one evaluation of a run on a mixture, or on a dose of one source: ``mixture,run,target,correct,
total``, optionally ``both_correct``, and ``w:<source>`` for the weights (shares of the study's budget; an empty cell is 0).
Weights summing to 1 make a mixture, one weight below 1 makes a dose. ``correct`` may be a sum of scores.

A row of a table of past runs is one run: columns ``w:<source>`` and ``score:<target>``, optionally an ``id``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from tvt.core.mixture_runs import NOTHING, MixtureRuns
from tvt.core.notebook import Frame
from tvt.core.scores import MixtureScore, Score
from tvt.core.task import resolve_name
from tvt.core.values import aligned
from tvt.data.csv_table import Count, CsvRow, Faults, Number, RightAnswers, Table, distinct, read_rows, read_table
from tvt.data.studies.score_rows import check_base, count_faults
from tvt.errors import InputError, suggest
from tvt.io import digest
from tvt.types import Floats

MIXTURES_FILE = "mixtures.csv"
MIN_RUNS = 3
"""Fewer runs say nothing of how scores depend on weights."""
SUM_TOLERANCE = 0.01
"""Weights whose sum is off by no more are taken for rounded."""
_REQUIRED = ("mixture", "run", "target", "correct", "total")
_BOTH = "both_correct"
_WEIGHT, _SCORE = "w:", "score:"
_IDS = ("id", "run", "index", "name", "run_id", "mixture", "seed")
_ROUNDING = 1e-9


def _without_dust(weights: dict[str, float | None]) -> dict[str, float | None]:
    """Weights without what solvers leave of rounding: -3e-20 is 0."""
    return {name: 0.0 if weight is not None and abs(weight) <= NOTHING else weight for name, weight in weights.items()}


class WeightRow(CsvRow):
    """A row with weights by the name of their column; ``None`` where missing."""

    prefix: ClassVar[str] = "{column}: "

    weights: Annotated[dict[str, Number], AfterValidator(_without_dust)]

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        for name, weight in self.weights.items():
            if (weight or 0) < 0:
                yield f"{name}: {weight:g} is negative; a weight is at least 0"

    @property
    def weight_sum(self) -> float:
        """Sum of the weights."""
        return sum(weight or 0 for weight in self.weights.values())


class MixtureRow(WeightRow):
    """A row of ``mixtures.csv``; weights are shares of the budget."""

    mixture: str
    run: str
    target: str
    correct: RightAnswers
    total: Count
    both_correct: RightAnswers = None

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`; ``names`` are those of the tasks."""
        yield from (f"no {name}; name it" for name in ("mixture", "run", "target") if not getattr(self, name))
        if self.target and self.target not in names:
            yield f"unknown task '{self.target}'{suggest(self.target, names)}; mend it or list it in study.yaml"
        yield from super().faults(names)
        if not any(self.weights.values()):
            yield "all weights are 0; give the share of each source, or put a base row into the scores"
        elif self.weight_sum > 1 + SUM_TOLERANCE + _ROUNDING:
            yield f"weights sum to {self.weight_sum:.6g}, above 1; {_mend(self.weight_sum, 'make them shares of the budget')}"
        if self.correct is None or self.total is None:
            yield "no counts; give correct and total, or remove the row"
        else:
            yield from count_faults(self.correct, self.total, self.both_correct)

    @property
    def shares(self) -> dict[str, float]:
        """The weights that are not 0, by source."""
        return {name.removeprefix(_WEIGHT): weight for name, weight in self.weights.items() if weight}

    def score(self) -> MixtureScore:
        """The row as a value."""
        values = self.model_dump(include={"mixture", "run", "target", "correct", "total", "both_correct"})
        return MixtureScore(**values, weights=self.shares)


class RunRow(WeightRow):
    """A past run, or a mixture that is yet to be predicted; weights are shares of the mixture."""

    scores: Annotated[dict[str, Number], Field(default_factory=dict)]

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        yield from super().faults(names)
        missing = [name for name, weight in self.weights.items() if weight is None]
        yield from (f"{name}: no weight; write 0 where the source is left out" for name in missing)
        if not missing and abs(self.weight_sum - 1) > SUM_TOLERANCE + _ROUNDING:
            yield f"weights sum to {self.weight_sum:.6g}, not 1; {_mend(self.weight_sum, 'make them shares that sum to 1')}"


def _mend(total: float, otherwise: str) -> str:
    """What to do with weights of a wrong sum."""
    return "divide them by 100" if abs(total - 100) <= 100 * SUM_TOLERANCE else otherwise


def read_mixture_scores(path: Path, tasks: Sequence[str], scores: Sequence[Score] | None = None) -> tuple[MixtureScore, ...]:
    """Read ``mixtures.csv``. Weights of 0 are left out of ``MixtureScore.weights``.

    Args:
        path: the CSV file.
        tasks: names of the study's tasks.
        scores: the study's evaluations, whose base rows the gains need; ``None`` leaves that unchecked.

    Raises:
        InputError: any fault of the file, all at once: unknown columns or tasks, counts that cannot be, two rows of one
            (mixture, run, target), weights that differ within a mixture, are negative or sum to 0 or more than 1, no rows,
            no base row.
    """
    table, faults = read_table(path), Faults(path)
    weights = _weight_columns(table, tasks, faults)
    for name in _REQUIRED:
        if table.at(name) is None:
            faults.add(1, f"no column '{name}'; add it")
    if not table.rows:
        faults.add(None, "no rows below the header; add one row for each run and target, or remove the file from study.yaml")
    faults.check()
    columns = {name: at for at, name in enumerate(table.header) if name in (*_REQUIRED, _BOTH)}
    rows = read_rows(table, MixtureRow, {**columns, "weights": weights}, faults, names=tasks)
    first: dict[str, MixtureRow] = {}
    for row in rows:
        before = first.setdefault(row.mixture, row)
        if before.shares != row.shares:
            hint = f"other weights on line {before.line}; mend them or rename one of the two"
            faults.add(row.line, f"mixture '{row.mixture}' has {hint}")
    rows = distinct(
        rows,
        lambda row: (row.mixture, row.run, row.target),
        lambda row, first: (
            f"mixture '{row.mixture}' on {row.target} in run '{row.run}' stands on line {first} already; remove one of the two"
        ),
        faults,
    )
    if scores is not None:
        bases = [(score.run, score.source, score.target) for score in scores if score.source is None]
        check_base(bases, ((row.line, row.run, row.target) for row in rows), "add one to the scores", faults)
    faults.check()
    return tuple(row.score() for row in rows)


def mixture_scores_csv(mixtures: Iterable[MixtureScore]) -> str:
    """The text of ``mixtures.csv``, which reads back equal; ``both_correct`` only where it is known."""
    rows = tuple(mixtures)
    sources = tuple(dict.fromkeys(source for m in rows for source, weight in m.weights.items() if weight != 0))
    paired = [_BOTH] if any(m.both_correct is not None for m in rows) else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_REQUIRED, *paired, *(f"{_WEIGHT}{source}" for source in sources)])
    for m in rows:
        both = ["" if m.both_correct is None else m.both_correct] if paired else []
        weights = ["" if not m.weights.get(s) else repr(float(m.weights[s])) for s in sources]
        writer.writerow([m.mixture, m.run, m.target, m.correct, m.total, *both, *weights])
    return stream.getvalue()


def _weight_columns(table: Table, tasks: Sequence[str], faults: Faults) -> dict[str, int]:
    """The columns of weights of ``mixtures.csv``; unknown columns and sources are faults."""
    result: dict[str, int] = {}
    for position, name in enumerate(table.header):
        if name in (*_REQUIRED, _BOTH) or not name:
            continue
        if not name.startswith(_WEIGHT):
            faults.add(1, f"unknown column '{name}'{suggest(name, [*_REQUIRED, _BOTH])}; a weight's is named w:<source>")
            continue
        source = name.removeprefix(_WEIGHT).strip()
        if source not in tasks:
            faults.add(1, f"unknown task '{source}' in '{name}'{suggest(source, tasks)}; mend it or list it in study.yaml")
        elif f"{_WEIGHT}{source}" in result:
            faults.add(1, f"two columns of weights of '{source}'; keep one")
        else:
            result[f"{_WEIGHT}{source}"] = position
    if not result and not faults.lines:
        faults.add(1, "no column of weights; name one w:<source> for each source used")
    return result


def load_mixture_runs(
    path: Path | Frame, *, lower_is_better: bool = False, weights: Sequence[str] = (), scores: Sequence[str] = ()
) -> MixtureRuns:
    """Read a table of past mixture runs: one row a run, columns ``w:<source>`` and ``score:<target>``, optionally ids.

    Weights are shares of the mixture; a row whose sum is within 1% of 1 is renormalised, and ``notes`` says how many were.
    Scores are in the table's own unit; an empty cell or NA is missing. The digest names the weights and scores, in whatever
    order rows and columns stand.

    Args:
        path: the CSV file, or a pandas table with the same columns.
        lower_is_better: the scores are losses.
        weights: the columns of weights, where their names do not say so; other columns are then left out, with a note.
        scores: the columns of scores, likewise.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table = read_table(path)
    faults = Faults(table.path)
    sources = _named(table, weights, "--weights", _WEIGHT, faults) or _prefixed(table, _WEIGHT, "w:<source>", "weights", faults)
    targets = _named(table, scores, "--scores", _SCORE, faults) or _prefixed(table, _SCORE, "score:<target>", "scores", faults)
    faults.check()
    used = {*sources.values(), *targets.values()}
    ids, others = _read_ids(table, used, "run", faults)
    if weights or scores:
        left_out = [f"columns left out, being neither weights nor scores: {', '.join(others)}"] if others else []
    else:
        left_out = []
        for name in others:
            step = "remove it, or name the columns of both with --weights and --scores"
            faults.add(1, f"unknown column '{name}'; name it w:{name} or score:{name}, {step}")
    if len(table.rows) < MIN_RUNS:
        faults.add(None, f"{len(table.rows)} runs; add runs until there are at least {MIN_RUNS}")
    faults.check()
    rows = read_rows(table, RunRow, {"weights": _by_header(table, sources), "scores": _by_header(table, targets)}, faults)
    values = np.array([list(row.scores.values()) for row in rows], dtype=float).reshape(len(rows), len(targets))
    for j, target in enumerate(targets):
        if np.isnan(values[:, j]).all() and not faults.lines:
            faults.add(None, f"column '{table.header[targets[target]]}' has no value; fill or remove it")
    faults.check()
    shares, mended = _normalised(rows)
    if np.ptp(shares, axis=0).max() <= _ROUNDING:
        equal = f"all {len(rows)} mixtures are equal, so that nothing is known of how scores depend on the weights"
        raise InputError(f"{table.path}: {equal}; add runs on other mixtures")
    renormalised = [f"{mended} of {len(ids)} rows renormalised: their weights summed to 1 only within 1%"] if mended else []
    return MixtureRuns(
        ids=ids,
        sources=tuple(sources),
        targets=tuple(targets),
        weights=shares,
        scores=values,
        lower_is_better=lower_is_better,
        notes=(*left_out, *renormalised),
        digest=_digest(tuple(sources), tuple(targets), shares, values, lower_is_better),
    )


def load_mixtures(path: Path | Frame, sources: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """Read mixtures to be predicted: columns ``w:<source>`` or ``<source>``, optional ``id``; ``score:`` ones are skipped.

    Args:
        path: the CSV file, or a pandas table with the same columns.
        sources: the sources of the study or of the runs; one without a column has weight 0.

    Returns:
        The ids, and weights of shape (mixtures, sources), rows summing to 1 (renormalised where off by at most 1%).

    Raises:
        InputError: any fault of the file, all at once.
    """
    table = read_table(path)
    faults = Faults(table.path)
    columns = _source_columns(table, sources, faults)
    if not columns:
        faults.add(1, "no column of weights; name columns w:<source> or <source>")
    if not table.rows:
        faults.add(None, "no mixtures below the header; add one row a mixture")
    faults.check()
    ids, _ = _read_ids(table, set(columns.values()), "mixture", faults)
    rows = read_rows(table, RunRow, {"weights": _by_header(table, columns)}, faults)
    faults.check()
    weights, _ = _normalised(rows)
    return ids, aligned(weights, None, (list(columns), sources), missing=0.0)


def _by_header(table: Table, columns: Mapping[str, int]) -> dict[str, int]:
    """The columns by their name in the table."""
    return {table.header[position]: position for position in columns.values()}


def _source_columns(table: Table, sources: Sequence[str], faults: Faults) -> dict[str, int]:
    """Source -> position, in the order of the file."""
    columns: dict[str, int] = {}
    for position, header in enumerate(table.header):
        an_id = header.casefold() in _IDS and header not in sources
        if an_id or header.startswith(_SCORE) or not header:
            continue
        name = header.removeprefix(_WEIGHT).strip()
        try:
            source = resolve_name(name, (), sources)
        except KeyError:
            hint = suggest(name, sources) or f"; known: {', '.join(sources[:20])}"
            faults.add(1, f"unknown source '{name}'{hint}; rename or remove the column")
            continue
        if source in columns:
            faults.add(1, f"'{table.header[columns[source]]}' and '{header}' both are weights of {source}; keep one")
        columns.setdefault(source, position)
    return columns


def _named(table: Table, names: Sequence[str], option: str, prefix: str, faults: Faults) -> dict[str, int]:
    """Name -> position of the columns that an option names, without the prefix that they may have."""
    result: dict[str, int] = {}
    for name in names:
        position = table.at(name) if table.at(name) is not None else table.at(prefix + name)
        if position is None:
            faults.add(
                1, f"{option} {name}: no such column{suggest(name, table.header)}; there are {', '.join(table.header[:20])}"
            )
        else:
            result[name.removeprefix(prefix)] = position
    return result


def _prefixed(table: Table, prefix: str, form: str, what: str, faults: Faults) -> dict[str, int]:
    """Name -> position of the columns with a prefix, in the order of the file."""
    result: dict[str, int] = {}
    for position, header in enumerate(table.header):
        if not header.startswith(prefix):
            continue
        name = header.removeprefix(prefix).strip()
        if not name:
            faults.add(1, f"column '{header}' names nothing; write {form}")
        elif name in result:
            faults.add(1, f"column '{prefix}{name}' stands twice; keep one")
        result.setdefault(name, position)
    if not result:
        faults.add(1, f"no column {form}; name the columns so, or say which they are: --{what} A,B,...")
    return result


def _read_ids(table: Table, used: Container[int], noun: str, faults: Faults) -> tuple[tuple[str, ...], list[str]]:
    """The ids of the rows, and the names of the columns that are neither ids nor ``used``.

    A row's id is its first column of ids, with the others where it is not distinct alone (``mixture`` and ``seed``); it is made
    up from the position where there is none.
    """
    columns = [p for p, name in enumerate(table.header) if p not in used and name.casefold() in _IDS]
    others = [name for p, name in enumerate(table.header) if name and p not in used and p not in columns]
    if not columns:
        return tuple(f"{noun}_{number}" for number in range(1, len(table.rows) + 1)), others
    first = [row.cells[columns[0]] for row in table.rows]
    distinct_alone = len(set(first)) == len(first)
    ids = first if distinct_alone else ["/".join(row.cells[p] for p in columns if row.cells[p]) for row in table.rows]
    seen: dict[str, int] = {}
    for row, name in zip(table.rows, ids, strict=True):
        column = table.header[columns[0]]
        if not name:
            faults.add(row.line, f"empty {column}; name the {noun}")
        elif name in seen:
            faults.add(row.line, f"{column} '{name}' stands on line {seen[name]} already; rename or remove one")
        seen.setdefault(name, row.line)
    return tuple(ids), others


def _normalised(rows: Sequence[RunRow]) -> tuple[Floats, int]:
    """Weights with rows summing to 1, (rows, columns), and how many rows had to be renormalised."""
    weights = np.array([list(row.weights.values()) for row in rows], dtype=float)
    total = weights.sum(axis=1)
    off = np.abs(total - 1) > _ROUNDING
    return np.where(off[:, None], weights / total[:, None], weights), int(off.sum())


def _digest(sources: Sequence[str], targets: Sequence[str], weights: Floats, scores: Floats, lower_is_better: bool) -> str:
    """sha256 of the content, independent of the order of rows and columns."""
    rows = sorted(
        [
            sorted((name, repr(float(value))) for name, value in zip(sources, weight, strict=True)),
            sorted((name, repr(float(value))) for name, value in zip(targets, score, strict=True)),
        ]
        for weight, score in zip(weights, scores, strict=True)
    )
    return digest.of_value({"runs": rows, "lower_is_better": lower_is_better})
