"""Tables of a study folder beside its scores: placebo runs (``placebos.csv``), and sources trained on less than the budget
(``doses.csv``); and the text of a table of scores, which ``scores.csv`` and ``placebos.csv`` share.

Both files are optional and named nowhere: what reads only ``scores.csv`` reads all it knows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tvt.core.scores import BASE, MaskedScore, Score
from tvt.data.csv_table import CsvRow, Faults, Number, distinct, find_columns, read_rows, read_table
from tvt.data.studies.score_rows import FolderRow, check_base, read_keyed
from tvt.errors import InputError, suggest
from tvt.io import atomic

PLACEBOS_FILE = "placebos.csv"
DOSES_FILE = "doses.csv"
REQUIRED = ("correct", "total")
OPTIONAL = ("both_correct", "reason")


class _DoseRow(CsvRow):
    """A source and the share of the budget that its runs took."""

    source: str
    dose: Number

    def faults(self, names: Sequence[str]) -> Iterator[str]:
        """See :meth:`CsvRow.faults`."""
        if self.source not in names:
            yield f"unknown task '{self.source}'{suggest(self.source, names)}; mend it or list it in study.yaml"
        if self.dose is None or not 0 < self.dose <= 1:
            yield f"{self.source}: a dose is a share of the budget, above 0 and at most 1"


def read_placebos(path: Path, tasks: Sequence[str], scores: Sequence[Score] | None = None) -> tuple[Score | MaskedScore, ...]:
    """Read ``placebos.csv``: run, placebo, target, correct, total, and optionally both_correct and reason.

    Args:
        path: the CSV file.
        tasks: names of the study's tasks.
        scores: the study's evaluations, whose base rows the gains need; ``None`` leaves that unchecked.

    Returns:
        Evaluations with the placebo's name (``placebo-shuffled``) in place of a source.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table, faults = read_table(path), Faults(path)
    names = {"run": "run", "placebo": "source", "target": "target", **{name: name for name in (*REQUIRED, *OPTIONAL)}}
    columns = find_columns(table, names, faults, ("run", "source", "target", *REQUIRED))
    faults.check()
    rows = read_keyed(table, FolderRow, columns, faults)
    for row in rows:
        if row.source is None or row.source in tasks:
            faults.add(row.line, f"'{row.source or BASE}' is no placebo; such rows belong into scores.csv")
        if row.target not in tasks:
            hint = suggest(row.target, tasks)
            faults.add(row.line, f"unknown task '{row.target}'{hint}; mend it or list it in study.yaml")
    if scores is not None:
        bases = [(score.run, score.source, score.target) for score in scores if score.source is None]
        measured = ((row.line, *row.key[::2]) for row in rows if row.measured)
        check_base(bases, measured, "add one to scores.csv", faults)
    faults.check()
    return tuple(row.score(percent=False) for row in rows)


def read_doses(path: Path, tasks: Sequence[str]) -> dict[str, float]:
    """Read ``doses.csv``: source and dose, the share of the budget that the source's runs took.

    Args:
        path: the CSV file.
        tasks: names of the study's tasks.

    Raises:
        InputError: any fault of the file, all at once.
    """
    table, faults = read_table(path), Faults(path)
    columns = find_columns(table, {"source": "source", "dose": "dose"}, faults, ("source", "dose"))
    faults.check()
    rows = distinct(
        read_rows(table, _DoseRow, columns, faults, names=tasks),
        lambda row: row.source,
        lambda row, first: f"{row.source} stands on line {first} already; remove one of the two",
        faults,
    )
    faults.check()
    return {row.source: row.dose for row in rows if row.dose is not None}


def write_beside(folder: Path, placebos: Sequence[Score | MaskedScore], doses: Mapping[str, float]) -> None:
    """Write both files; one that would be empty is removed, since it would be of an earlier recipe."""
    measured = [row for row in placebos if isinstance(row, Score)]
    lacking = [row for row in placebos if isinstance(row, MaskedScore)]
    lines = ["source,dose", *(f"{_quoted(source)},{dose!r}" for source, dose in doses.items() if dose < 1)]
    texts = {
        PLACEBOS_FILE: score_table(measured, lacking, column="placebo") if placebos else None,
        DOSES_FILE: "\n".join([*lines, ""]) if len(lines) > 1 else None,
    }
    for name, text in texts.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            atomic.write_text(folder / name, text)


def _quoted(name: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([name])
    return stream.getvalue()


def score_table(
    scores: Sequence[Score], masked: Sequence[MaskedScore], *, column: Literal["source", "placebo"] = "source"
) -> str:
    """The text of a table of counts; optional columns only where they are used.

    Args:
        scores: evaluations, all with counts.
        masked: those that are missing, with their reason.
        column: what the column of sources is called.

    Raises:
        InputError: a score without counts, which the format cannot hold.
    """
    without = [s for s in scores if s.correct is None or s.total is None]
    if without:
        first = without[0]
        raise InputError(f"{first.source or BASE} -> {first.target}, run {first.run}: no counts; a study folder needs them")
    paired = any(s.both_correct is not None for s in scores)
    header = ["run", column, "target", *REQUIRED, *(["both_correct"] if paired else []), *(["reason"] if masked else [])]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    rows: Sequence[Score | MaskedScore] = (*scores, *masked)
    for row in rows:
        cells: dict[str, object] = {"run": row.run, column: row.source or BASE, "target": row.target}
        if isinstance(row, Score):
            cells |= {"correct": row.correct, "total": row.total}
            cells["both_correct"] = "" if row.both_correct is None else row.both_correct
        else:
            cells["reason"] = row.reason
        writer.writerow(cells)
    return stream.getvalue()
