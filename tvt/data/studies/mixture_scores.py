"""``mixtures.csv`` of a study: what runs on mixtures, and on doses of one source, scored.

One row is one evaluation: ``mixture,run,target,correct,total``, optionally ``both_correct``, and ``w:<source>`` for the weights
(shares of the study's budget; an empty cell is 0). Weights summing to 1 make a mixture, one weight below 1 makes a dose.
``correct`` may be a sum of credits.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvt.core.scores import MixtureScore, Score, Tally
from tvt.data.csv_table import Faults, Row, Table, integer, number, read_table, tally
from tvt.errors import suggest

MIXTURES_FILE = "mixtures.csv"
SUM_TOLERANCE = 0.01
"""Weights whose sum exceeds 1 by no more are taken for rounded."""
_REQUIRED = ("mixture", "run", "target", "correct", "total")
_BOTH = "both_correct"
_WEIGHT = "w:"
_ROUNDING = 1e-9

Weights = tuple[tuple[str, float], ...]


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
    sources = _weight_columns(table, tasks, faults)
    for name in _REQUIRED:
        if table.at(name) is None:
            faults.add(1, f"no column '{name}'; add it")
    if not table.rows:
        faults.add(None, "no rows below the header; add one row for each run and target, or remove the file from study.yaml")
    faults.check()
    found = _Rows(table, sources, tasks, faults).read()
    if scores is not None:
        _check_base(found, scores, faults)
    faults.check()
    return tuple(score for _, score in found)


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
    """Source -> position; unknown columns and sources are faults."""
    found: dict[str, int] = {}
    for position, name in enumerate(table.header):
        if name in (*_REQUIRED, _BOTH) or not name:
            continue
        if not name.startswith(_WEIGHT):
            faults.add(1, f"unknown column '{name}'{suggest(name, [*_REQUIRED, _BOTH])}; a weight's is named w:<source>")
            continue
        source = name.removeprefix(_WEIGHT).strip()
        if source not in tasks:
            faults.add(1, f"unknown task '{source}' in '{name}'{suggest(source, tasks)}; mend it or list it in study.yaml")
        elif source in found:
            faults.add(1, f"two columns of weights of '{source}'; keep one")
        else:
            found[source] = position
    if not found and not faults.lines:
        faults.add(1, "no column of weights; name one w:<source> for each source used")
    return found


class _Rows:
    """Reads the rows, noting faults; what is compared between rows is remembered with its line."""

    def __init__(self, table: Table, sources: dict[str, int], tasks: Sequence[str], faults: Faults) -> None:
        self.table, self.sources, self.tasks, self.faults = table, sources, tasks, faults
        self.at = {name: position for position, name in enumerate(table.header)}
        self.seen: dict[tuple[str, str, str], int] = {}
        self.mixtures: dict[str, tuple[int, Weights]] = {}

    def read(self) -> list[tuple[int, MixtureScore]]:
        """The sound rows with their lines."""
        found = []
        for row in self.table.rows:
            key, weights, counts = self._key(row), self._weights(row), self._counts(row)
            if key is not None and weights is not None:
                self._compare(row, key[0], weights)
            if key is None or weights is None or counts is None:
                continue
            mixture, run, target = key
            correct, total, both = counts
            score = MixtureScore(
                mixture=mixture,
                run=run,
                weights=dict(weights),
                target=target,
                correct=correct,
                total=total,
                both_correct=both,
            )
            found.append((row.line, score))
        return found

    def _key(self, row: Row) -> tuple[str, str, str] | None:
        mixture, run, target = (row.cells[self.at[name]] for name in ("mixture", "run", "target"))
        before = len(self.faults.lines)
        for what, value in (("mixture", mixture), ("run", run), ("target", target)):
            if not value:
                self.faults.add(row.line, f"no {what}; name it")
        if target and target not in self.tasks:
            self.faults.add(row.line, f"unknown task '{target}'{suggest(target, self.tasks)}; mend it or list it in study.yaml")
        key = mixture, run, target
        if len(self.faults.lines) > before:
            return None
        if key in self.seen:
            what = f"mixture '{mixture}' on {target} in run '{run}'"
            self.faults.add(row.line, f"{what} stands on line {self.seen[key]} already; remove one of the two")
            return None
        self.seen[key] = row.line
        return key

    def _weights(self, row: Row) -> Weights | None:
        before = len(self.faults.lines)
        found: list[tuple[str, float]] = []
        for source, position in self.sources.items():
            value = number(row.cells[position])
            if isinstance(value, str):
                self.faults.add(row.line, f"w:{source}: {value}")
            elif value is not None and value < 0:
                self.faults.add(row.line, f"w:{source}: {value:g} is negative; a weight is at least 0")
            elif value:
                found.append((source, value))
        total = sum(weight for _, weight in found)
        if len(self.faults.lines) > before:
            return None
        if total == 0:
            self.faults.add(row.line, "all weights are 0; give the share of each source, or put a base row into the scores")
        elif total > 1 + SUM_TOLERANCE + _ROUNDING:
            hint = "divide them by 100" if abs(total - 100) <= 100 * SUM_TOLERANCE else "make them shares of the budget"
            self.faults.add(row.line, f"weights sum to {total:.6g}, above 1; {hint}")
        else:
            return tuple(found)
        return None

    def _compare(self, row: Row, mixture: str, weights: Weights) -> None:
        line, first = self.mixtures.setdefault(mixture, (row.line, weights))
        if first != weights:
            self.faults.add(
                row.line, f"mixture '{mixture}' has other weights on line {line}; mend them or rename one of the two"
            )

    def _counts(self, row: Row) -> tuple[Tally, int, Tally | None] | None:
        correct, total = tally(row.cells[self.at["correct"]]), integer(row.cells[self.at["total"]])
        both = tally(row.cells[self.at[_BOTH]]) if _BOTH in self.at else None
        wrong = [f"{name}: {v}" for name, v in (("correct", correct), ("total", total), (_BOTH, both)) if isinstance(v, str)]
        for fault in wrong:
            self.faults.add(row.line, fault)
        if wrong or isinstance(both, str):
            return None
        if not isinstance(correct, int | float) or not isinstance(total, int):
            self.faults.add(row.line, "no counts; give correct and total, or remove the row")
        elif total < 1:
            self.faults.add(row.line, f"total {total} is not positive; give the number of questions")
        elif not 0 <= correct <= total:
            self.faults.add(row.line, f"correct {correct} is not within 0 and total {total}; check the counts")
        elif both is not None and not 0 <= both <= correct:
            self.faults.add(row.line, f"both_correct {both} is not within 0 and correct {correct}; check the counts")
        else:
            return correct, total, both
        return None


def _check_base(found: Iterable[tuple[int, MixtureScore]], scores: Sequence[Score], faults: Faults) -> None:
    """Every evaluation needs a base row: of its run, or the only one of its target."""
    base: dict[str, set[str]] = {}
    for score in scores:
        if score.source is None:
            base.setdefault(score.target, set()).add(score.run)
    told: set[tuple[str, str]] = set()
    for line, row in found:
        runs = base.get(row.target, set())
        if row.run in runs or len(runs) == 1 or (row.run, row.target) in told:
            continue
        told.add((row.run, row.target))
        faults.add(line, f"no base row for target '{row.target}' in run '{row.run}'; add one to the scores with source 'base'")
