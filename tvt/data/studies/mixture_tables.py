"""Tables of mixtures: past runs with their weights and scores, and mixtures that are yet to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvt.core.mixture_runs import MixtureRuns
from tvt.core.notebook import Frame
from tvt.core.task import resolve_name
from tvt.data.csv_table import Faults, Table, number, read_table
from tvt.errors import suggest
from tvt.io import digest
from tvt.types import Floats

MIN_RUNS = 3
"""Fewer runs say nothing of how scores depend on weights."""
SUM_TOLERANCE = 0.01
"""Weights whose sum is off by no more are taken for rounded and renormalised."""

_WEIGHT, _SCORE = "w:", "score:"
_IDS = ("id", "run", "index")
_ROUNDING = 1e-9


def load_mixture_runs(path: Path | Frame, *, lower_is_better: bool = False) -> MixtureRuns:
    """Read a table of past mixture runs: one row a run, columns ``w:<source>`` and ``score:<target>``, optionally an ``id``.

    Weights are shares of the mixture; a row whose sum is within 1% of 1 is renormalised, and ``notes`` says how many were.
    Scores are in the table's own unit; an empty cell or NA is missing. The digest names the weights and scores, in whatever
    order rows and columns stand.

    Args:
        path: the CSV file, or a pandas table with the same columns.
        lower_is_better: the scores are losses.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table = read_table(path)
    faults = Faults(table.path)
    id_column = _id_column(table, ())
    sources = _prefixed(table, _WEIGHT, "w:<source>", faults)
    targets = _prefixed(table, _SCORE, "score:<target>", faults)
    known = {*sources.values(), *targets.values(), id_column}
    for position, name in enumerate(table.header):
        if position not in known and name:
            faults.add(1, f"unknown column '{name}'; name it w:{name} or score:{name}, or remove it")
    if len(table.rows) < MIN_RUNS:
        faults.add(None, f"{len(table.rows)} runs; add runs until there are at least {MIN_RUNS}")
    faults.check()
    ids = _read_ids(table, id_column, "run", faults)
    weights, mended = _read_weights(table, list(sources.values()), faults)
    scores = _numbers(table, list(targets.values()), faults)
    for j, target in enumerate(targets):
        if np.isnan(scores[:, j]).all() and not faults.lines:
            faults.add(None, f"column '{_SCORE}{target}' has no value; fill or remove it")
    faults.check()
    return MixtureRuns(
        ids=ids,
        sources=tuple(sources),
        targets=tuple(targets),
        weights=weights,
        scores=scores,
        lower_is_better=lower_is_better,
        notes=tuple([f"{mended} of {len(ids)} rows renormalised: their weights summed to 1 only within 1%"] if mended else []),
        digest=_digest(tuple(sources), tuple(targets), weights, scores, lower_is_better),
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
    id_column = _id_column(table, sources)
    placed = _source_columns(table, sources, id_column, faults)
    if not placed:
        faults.add(1, "no column of weights; name columns w:<source> or <source>")
    if not table.rows:
        faults.add(None, "no mixtures below the header; add one row a mixture")
    faults.check()
    ids = _read_ids(table, id_column, "mixture", faults)
    given, _ = _read_weights(table, list(placed.values()), faults)
    faults.check()
    weights = np.zeros((len(ids), len(sources)))
    weights[:, [list(sources).index(name) for name in placed]] = given
    return ids, weights


def _source_columns(table: Table, sources: Sequence[str], id_column: int | None, faults: Faults) -> dict[str, int]:
    """Source -> position, in the order of the file."""
    placed: dict[str, int] = {}
    for position, header in enumerate(table.header):
        if position == id_column or header.startswith(_SCORE) or not header:
            continue
        name = header.removeprefix(_WEIGHT).strip()
        try:
            source = resolve_name(name, (), sources)
        except KeyError:
            hint = suggest(name, sources) or f"; known: {', '.join(sources[:20])}"
            faults.add(1, f"unknown source '{name}'{hint}; rename or remove the column")
            continue
        if source in placed:
            faults.add(1, f"'{table.header[placed[source]]}' and '{header}' both are weights of {source}; keep one")
        placed.setdefault(source, position)
    return placed


def _prefixed(table: Table, prefix: str, form: str, faults: Faults) -> dict[str, int]:
    """Name -> position of the columns with a prefix, in the order of the file."""
    found: dict[str, int] = {}
    for position, header in enumerate(table.header):
        if not header.startswith(prefix):
            continue
        name = header.removeprefix(prefix).strip()
        if not name:
            faults.add(1, f"column '{header}' names nothing; write {form}")
        elif name in found:
            faults.add(1, f"column '{prefix}{name}' stands twice; keep one")
        found.setdefault(name, position)
    if not found:
        faults.add(1, f"no column {form}; name the columns so")
    return found


def _id_column(table: Table, sources: Sequence[str]) -> int | None:
    """Position of the column of ids, unless a source is called like that."""
    return next((p for p, name in enumerate(table.header) if name.casefold() in _IDS and name not in sources), None)


def _read_ids(table: Table, column: int | None, noun: str, faults: Faults) -> tuple[str, ...]:
    """The ids, made up from the position where there is no column for them."""
    if column is None:
        return tuple(f"{noun}_{number}" for number in range(1, len(table.rows) + 1))
    seen: dict[str, int] = {}
    for row in table.rows:
        name = row.cells[column]
        if not name:
            faults.add(row.line, f"empty {table.header[column]}; name the {noun}")
        elif name in seen:
            faults.add(row.line, f"{table.header[column]} '{name}' stands on line {seen[name]} already; rename or remove one")
        seen.setdefault(name, row.line)
    return tuple(row.cells[column] for row in table.rows)


def _numbers(table: Table, columns: Sequence[int], faults: Faults) -> Floats:
    """The cells of some columns, (rows, columns); NaN where missing or, with a fault noted, wrong."""
    values = np.full((len(table.rows), len(columns)), np.nan)
    for k, row in enumerate(table.rows):
        for j, column in enumerate(columns):
            value = number(row.cells[column])
            if isinstance(value, str):
                faults.add(row.line, f"{table.header[column]}: {value}")
            elif value is not None:
                values[k, j] = value
    return values


def _read_weights(table: Table, columns: Sequence[int], faults: Faults) -> tuple[Floats, int]:
    """Weights with rows summing to 1, (rows, columns), and how many rows had to be renormalised."""
    before = len(faults.lines)
    weights = _numbers(table, columns, faults)
    sound = len(faults.lines) == before
    for k, row in enumerate(table.rows):
        for j in np.flatnonzero(weights[k] < 0).tolist():
            faults.add(row.line, f"{table.header[columns[j]]}: {weights[k, j]:g} is negative; a weight is at least 0")
        for j in np.flatnonzero(np.isnan(weights[k])).tolist() if sound else ():
            faults.add(row.line, f"{table.header[columns[j]]}: no weight; write 0 where the source is left out")
    with np.errstate(over="ignore"):
        total = weights.sum(axis=1)
    for k in np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE + _ROUNDING).tolist():
        hint = "divide them by 100" if abs(total[k] - 100) <= 100 * SUM_TOLERANCE else "make them shares that sum to 1"
        faults.add(table.rows[k].line, f"weights sum to {total[k]:.6g}, not 1; {hint}")
    off = np.abs(total - 1) > _ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
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
