"""Finding a study by what the user wrote (a bundled name, a study folder, a CSV file), and reading it.

A CSV holds PGF in long form, accuracies or counts in long form with base rows, or a wide matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.notebook import Frame
from tvt.core.scores import BASE
from tvt.core.task import Ceiling
from tvt.data.csv_table import Faults, Row, Table, find_columns, number, read_table
from tvt.data.studies.folder import STUDY_FILE, load_study_folder
from tvt.data.studies.score_rows import Scores, Unit, ValueRow, check_size, pgf_unit, read_keyed, read_scores, refuse_if_empty
from tvt.data.tasks import known_tasks
from tvt.errors import InputError, suggest
from tvt.io.machine import bundled_root


def bundled_studies() -> tuple[str, ...]:
    """Names of the studies that come with tvt, small models first."""
    root = bundled_root() / "studies"
    names = [path.parent.name for path in root.glob(f"*/{STUDY_FILE}")]
    return tuple(sorted(names, key=lambda name: (_digits(name), name)))


def bundled_folder(name: str) -> Path:
    """Folder of a bundled study."""
    return bundled_root() / "studies" / name


def load_study(
    reference: str | Path, *, metric: Metric = "pgf", unit: Unit | None = None, ceiling: Ceiling = "task"
) -> TransferMatrix:
    """Load the transfer matrix that ``reference`` means.

    Args:
        reference: a bundled name (``qwen2.5-vl-7b``, or its unambiguous end ``7b``), a study folder, or a CSV file (see
            :func:`tvt.data.studies.load.load_csv_study`). A bundled name goes before a path; ``./NAME`` is the path.
        metric: ``pgf``, or ``gain`` for a CSV of values that are no PGF.
        unit: ``fraction`` or ``percent`` of a CSV's values; ``None`` infers it where that is clear.
        ceiling: what counts as a perfect score: what the tasks state, or what people reach.

    Raises:
        InputError: nothing is found (with the nearest name), or what is found is faulty, every fault on a line of its own.
    """
    path = find_study(reference)
    if not path.is_dir():
        if ceiling != "task":
            raise InputError(f"{path}: a CSV does not have its tasks' ceilings; use a study folder for --ceiling {ceiling}")
        return load_csv_study(path, metric=metric, unit=unit)
    if not (path / STUDY_FILE).is_file():
        if (path / "recipe.yaml").is_file():  # of tvt study
            raise InputError(f"{path}: a recipe and no finished run yet; see tvt study status {path}, then tvt study run")
        raise InputError(f"{path}: a directory without {STUDY_FILE}; name a study folder or a CSV file")
    if metric != "pgf" or unit is not None:
        option = "--metric" if metric != "pgf" else "--unit"
        raise InputError(f"{path}: holds counts, from which PGF is computed; drop {option}")
    return load_study_folder(path, ceiling)


def find_study(reference: str | Path) -> Path:
    """The folder, or the CSV file, of the study that ``reference`` means.

    Raises:
        InputError: nothing is found, with the nearest name.
    """
    path = _find(reference)
    return path.parent if path.name == STUDY_FILE else path


def _find(reference: str | Path) -> Path:
    text, names = str(reference), bundled_studies()
    if isinstance(reference, str) and text in names:
        return bundled_folder(text)
    path = Path(reference)
    if _exists(path):
        return path
    folded = text.casefold()
    ending = [name for name in names if name.casefold() == folded or (folded and name.endswith("-" + folded.removeprefix("-")))]
    if len(ending) == 1:
        return bundled_folder(ending[0])
    if len(ending) > 1:
        raise InputError(f"study '{text}' may be any of {', '.join(ending)}; write the whole name")
    shown = text if len(text) <= 200 else text[:200] + "..."
    raise InputError(f"no study, folder or file '{shown}'{suggest(text, names)}; run tvt studies for those that come with tvt")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or no permission to look
        return False


def _digits(name: str) -> float:
    """The number of parameters in a name such as ``qwen2.5-vl-32b``, for sorting; infinity where there is none."""
    last = name.rpartition("-")[2].removesuffix("b")
    return float(last) if last.replace(".", "", 1).isdigit() else float("inf")


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

    The header says which of three layouts it is: long PGF (``source|ft_task, target|task, pgf|perfection_gap_factor``, optional
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
