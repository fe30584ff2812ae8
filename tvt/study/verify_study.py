"""Everything that a study's folder holds, checked against something else in it that says the same.

A run is held against its identity, its adapter against its record, its counts against the answers that they rest on
(:mod:`tvt.study.verify`); sets of answers against the digests in their records and against what was given chunk by chunk; the
tables against the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tvt.core.scores import Score
from tvt.data.studies.folder import read_study
from tvt.errors import InputError
from tvt.evaluate.scorer import RawAnswer
from tvt.evaluate.store import IDENTITY, AnswerStore, outcome_of
from tvt.io import digest, json_lines, json_text
from tvt.study.run_folders import RUN
from tvt.study.session import stored_recipe
from tvt.study.store import RECIPE, SCORES, Store
from tvt.study.verify import FinishedRun, verify_run

_ITEMS = ".items.jsonl"
_TABLES = "study.yaml"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was checked, and what is wrong."""

    runs: int
    """Finished runs that are what they say."""
    unfinished: int
    answers: int
    """Folders of answers."""
    faults: tuple[str, ...]


def verify_study(folder: Path, report: Callable[[str], object] = str) -> Verified:
    """Check a study's folder. Nothing is written.

    Args:
        folder: that ``tvt study run`` made.
        report: called with what is checked next.

    Raises:
        InputError: it is no such folder.
    """
    if not (folder / "runs").is_dir():
        raise InputError(f"{folder}: no study with runs (runs/ is missing); name the folder of one that tvt study run made")
    store, faults = Store(folder), list(_recipe_faults(folder))
    runs: dict[str, FinishedRun] = {}
    unfinished = 0
    for run_id, place in store.folders.all().items():
        report(place.name)
        try:
            if not (place / RUN).is_file() and any((place / name).exists() for name in (SCORES, "training.json", "adapter")):
                raise InputError(f"{place / RUN}: is missing; remove {place}, and the run is done again")
            run = verify_run(store, run_id) if (place / RUN).is_file() else "unfinished"
        except InputError as error:
            faults += error.faults
            continue
        if isinstance(run, FinishedRun):
            runs[run_id] = run
        else:
            unfinished += 1
    places = sorted(path for path in store.answers.glob("*") if path.is_dir())
    for place in places:
        report(place.name)
        faults += _answer_faults(place)
    faults += _data_faults(folder / "data")
    faults += _table_faults(folder, runs)
    return Verified(runs=len(runs), unfinished=unfinished, answers=len(places), faults=tuple(dict.fromkeys(faults)))


def _recipe_faults(folder: Path) -> Iterator[str]:
    try:
        stored_recipe(folder / RECIPE)
    except InputError as error:
        yield from error.faults


def _answer_faults(place: Path) -> Iterator[str]:
    """Of one folder of answers: whose they are, every chunk, every set."""
    try:
        given = AnswerStore.reopen(place).load()
    except InputError as error:
        yield from error.faults
        return
    records = {path.name.removesuffix(".json"): path for path in place.glob("*.json") if path.name != IDENTITY}
    items = {path.name.removesuffix(_ITEMS): path for path in place.glob(f"*{_ITEMS}")}
    for name in sorted(records.keys() | items.keys()):
        yield from _set_faults(place, name, given)


def _set_faults(place: Path, name: str, given: dict[str, RawAnswer]) -> Iterator[str]:
    """Of one set: its record, its items, and what the chunks say of the same questions."""
    record, items = place / f"{name}.json", place / f"{name}{_ITEMS}"
    step = f"delete {record.name} and {items.name}, and tvt study run makes them of the answers again"
    try:
        text = items.read_text(encoding="utf-8")
        rows = json_lines.parse(text)
        stated = json_text.loads(record.read_text(encoding="utf-8"))["items_sha256"]
        other = [row["id"] for row in rows if given.get(row["item"]) != outcome_of(row)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield f"{record}: missing or damaged, or its items are; {step}"
        return
    if stated != digest.of_value(text):
        yield f"{items}: changed since its record was written; {step}"
    elif other:
        yield f"{items}: {len(other)} answers are not those that were given, e.g. that to {other[0]}; {step}"


def _data_faults(data: Path) -> Iterator[str]:
    """Of the training rows: whether every file can be read to its end."""
    import pyarrow
    from pyarrow import parquet

    for path in sorted(data.glob("*.parquet")):
        try:
            with parquet.ParquetFile(path) as file:
                for _ in file.iter_batches():
                    pass
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            yield f"{path}: damaged ({str(error).splitlines()[0][:80]}); delete it, and tvt study run writes it again"


def _table_faults(folder: Path, runs: dict[str, FinishedRun]) -> Iterator[str]:
    """Of ``scores.csv``: whether every row is what a run says."""
    if not (folder / _TABLES).is_file():
        return
    step = "run tvt study run again, which writes the tables anew from the runs"
    try:
        study = read_study(folder)
    except InputError as error:
        yield from (f"{fault}; {step}" for fault in error.faults)
        return
    for score in study.scores:
        if isinstance(score, Score) and not any(_says(run, score) for run in runs.values()):
            what = f"{score.source or 'base'} on {score.target}, {score.run}"
            yield f"{folder / 'scores.csv'}: {what}: no run says so; {step}"


def _says(run: FinishedRun, score: Score) -> bool:
    """Whether a score is that of a run. How many examples it had is left out: a source with few rows has fewer than others."""
    checked = run.cells.get((score.target, "evaluation"))
    same = checked is not None and (checked.cell.correct, checked.cell.total) == (score.correct, score.total)
    if not same or score.source is None:
        return same and run.run.is_base
    return set(run.run.counts) == {score.source} and f"seed_{run.run.seed}" == score.run
