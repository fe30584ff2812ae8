"""Checks that a stored run is what it says, before any of it is copied.

Everything a run says is checked against something else that says it too: its id against its identity, its adapter against the
record written with it, a cell against its answers, and answers against the adapter that gave them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tvt.core.scores import Run, set_name, tally
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io.adapter_file import dropped_digest, verify_adapter
from tvt.study.jobs import Where
from tvt.study.run_folders import RUN, run_id_of
from tvt.study.store import FAILURE, SCORES, Cell, Finished, Store
from tvt.train.record import ADAPTER, TrainingRecord
from tvt.train.record import RECORD as TRAINING

Unfinished = Literal["at work", "unfinished", "failed"]
Items = Sequence[Mapping[str, Any]]
_ANSWERS = re.compile(r"[0-9a-f]{32}")
_NO_COPY = "it cannot be believed, so it stays where it is"


@dataclass(frozen=True, kw_only=True)
class CheckedCell:
    """A cell with the answers that it rests on."""

    cell: Cell
    items: Items
    """The answers to its questions, one by one, with what each is worth."""
    record: Mapping[str, Any]
    """What was recorded of them."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is done, with the cells that it has."""

    run_id: str
    run: Run
    identity: Mapping[str, Any]
    folder: Path
    training: TrainingRecord | None
    """``None`` for the base model."""
    finished: Finished
    cells: Mapping[Where, CheckedCell]

    @property
    def base_id(self) -> str:
        """The run that is the base model of this one."""
        return self.run_id if self.training is None else run_id_of({"base": self.identity["model"]})


def verify_run(store: Store, run_id: str) -> FinishedRun | Unfinished:
    """What a run is, or why it is not finished.

    Raises:
        InputError: it is damaged or not what it says; every fault, one line each.
    """
    folder = store.run_folder(run_id)
    refuse_links(store.folder, [folder, *(folder / name for name in (RUN, TRAINING, SCORES, ADAPTER)), store.answers])
    run, identity = _spec(store, run_id)
    if store.held(run_id):
        return "at work"
    if (folder / FAILURE).is_file():
        return "failed"
    training = None if run.is_base else store.training(run_id)
    finished = _finished(store, run_id)
    if (run.is_base and not finished.cells) or (training is None and not run.is_base):
        return "unfinished"
    if training is not None:
        _check_adapter(store.folder, training)
    cells = _checked_cells(store, finished, None if training is None else training.adapter_digest)
    return FinishedRun(
        run_id=run_id,
        run=run,
        identity=identity,
        folder=folder,
        training=training,
        finished=finished,
        cells=cells,
    )


def refuse_links(root: Path, paths: Sequence[Path]) -> None:
    """Refuse links below a folder: what is copied must be what is there.

    Raises:
        InputError: one line for each.
    """
    places = dict.fromkeys(place for path in paths for place in (path, *path.parents) if root in place.parents)
    if links := [place for place in places if place.is_symlink()]:
        raise InputError(*(f"{place}: is a link; put what it leads to in its place" for place in links))


def _spec(store: Store, run_id: str) -> tuple[Run, Mapping[str, Any]]:
    path, spec = store.run_folder(run_id) / RUN, store.spec(run_id)
    run, identity = (None, {}) if spec is None else (spec.run, spec.identity)
    if run is None or not (run.is_base or "counts" in identity):
        raise InputError(f"{path}: damaged; {_NO_COPY}")
    consistent = run.is_base == ("base" in identity) and (run.is_base or identity["counts"] == dict(run.counts))
    if not consistent or run_id_of(identity) != run_id:
        raise InputError(f"{path}: describes another run than its folder is of; {_NO_COPY}")
    return run, identity


def _finished(store: Store, run_id: str) -> Finished:
    try:
        return store.finished(run_id)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{store.run_folder(run_id) / SCORES}: damaged; {_NO_COPY}") from error


def _check_adapter(root: Path, training: TrainingRecord) -> None:
    refuse_links(root, sorted(training.adapter.rglob("*")))
    if (dropped_digest(training.adapter) or verify_adapter(training.adapter).digest) != training.adapter_digest:
        raise InputError(f"{training.adapter}: is not the adapter of the run's record {TRAINING}; {_NO_COPY}")


def _checked_cells(store: Store, finished: Finished, adapter: str | None) -> dict[Where, CheckedCell]:
    """The answers of every cell."""
    faults: list[str] = []
    result: dict[Where, CheckedCell] = {}
    opened: dict[str, AnswerStore] = {}
    for where, cell in finished.cells.items():
        try:
            if cell.answers not in opened:
                opened[cell.answers] = _open(store, cell.answers, adapter)
            result[where] = _answered(opened[cell.answers], where, cell)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return result


def _open(store: Store, key: str, adapter: str | None) -> AnswerStore:
    """The answers of one adapter, once every one of them could be read."""
    if not _ANSWERS.fullmatch(str(key)):
        raise InputError(f"{store.folder}: a run names '{key}' as the folder of its answers; {_NO_COPY}")
    place = store.answers / key
    refuse_links(store.folder, [place, *sorted(place.glob("*"))])
    answers = AnswerStore.reopen(place)
    if answers.identity.get("adapter") != adapter:
        raise InputError(f"{place}: holds the answers of another adapter than the run's; {_NO_COPY}")
    answers.load()
    return answers


def _answered(answers: AnswerStore, where: Where, cell: Cell) -> CheckedCell:
    items, record = answers.finished(set_name(*where))
    try:
        same = len(items) == cell.total and tally(worth(items)) == cell.correct
    except (ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same:
        raise InputError(f"{answers.items_path(set_name(*where))}: is not what the run's {SCORES} says; {_NO_COPY}")
    return CheckedCell(cell=cell, items=items, record=record)


def worth(items: Items) -> list[float]:
    """What each answer earned."""
    return [float(item.get("credit", item["correct"])) for item in items]
