"""Join studies whose work was divided: copy the finished runs of other folders into one.

A run is copied in the order in which it was made, each file wholly or not at all: its answers, what it is, its adapter, the
record of its training, its scores. So a merge that was interrupted leaves what a killed run leaves, and the same merge goes on.
What this folder has stays as it is: of two versions, its own is kept, and that is told.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tvt.core.scores import Run, set_name, tally
from tvt.errors import InputError
from tvt.evaluate.scorer import RawAnswer
from tvt.evaluate.store import IDENTITY, AnswerStore, Row, outcome_of
from tvt.io import atomic, digest, resource_errors
from tvt.io.adapter_file import CONFIG, RECORD, WEIGHTS, verify_adapter
from tvt.io.atomic import exclusively
from tvt.io.recipe_file import load_recipe
from tvt.study.jobs import Where
from tvt.study.session import reopen
from tvt.study.store import FAILURE, RECIPE, RUN, SCORES, Cell, Cells, Finished, Store, clear, tidy
from tvt.study.views import foreign_runs, write_views
from tvt.train.card import CARD
from tvt.train.record import ADAPTER, CHECKPOINTS, TrainingRecord, save_training_record
from tvt.train.record import RECORD as TRAINING
from tvt.train.record import RUN as TRAINED_AS

Tell = Callable[[str], object]
_Planned = dict[str, tuple[str | None, Finished]]
_LEFT = (CHECKPOINTS, "mixed", ".rows")
"""What this folder's own attempt at a run needed until its adapter was there."""


@dataclass(kw_only=True)
class Merged:
    """What became of the runs of one folder."""

    folder: Path
    copied: list[str] = field(default_factory=list)
    """Ids of runs that were not here."""
    extended: dict[str, int] = field(default_factory=dict)
    """How many cells runs that were here were given, by id."""
    known: list[str] = field(default_factory=list)
    """Ids of runs that are here whole already."""
    left: Counter[str] = field(default_factory=Counter)
    """How many were left where they are, by the reason: at work, unfinished, failed, at work here."""
    conflicts: list[str] = field(default_factory=list)
    """What differs from this folder, whose version was kept; one line each."""
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What is wrong with damaged runs, by id."""


def merge(folder: Path, others: Sequence[Path], *, dry_run: bool = False, tell: Tell = str) -> list[Merged]:
    """Copy the finished runs of other study folders into ``folder``, which is made if need be.

    Args:
        folder: of the study that shall have the runs.
        others: folders to copy from, in this order; nothing is written there.
        dry_run: look and check, and write nothing here either.
        tell: told which run is looked at.

    Returns:
        What became of the runs, folder by folder. Damaged runs are among it, in :attr:`Merged.refused`.

    Raises:
        InputError: a folder cannot be used; nothing was written then. Or the disk is full; what is copied stays.
    """
    _check_places(folder, others)
    if dry_run:
        planned: _Planned = {}
        return [_Merging(Store(folder), Store(other), planned).do(tell) for other in others]
    folder.mkdir(parents=True, exist_ok=True)
    with resource_errors.reported(folder, "copying runs"):
        with exclusively(folder / ".views"):
            if not (folder / RECIPE).exists():
                atomic.write_bytes(folder / RECIPE, (others[0] / RECIPE).read_bytes())
        tidy(folder)  # of what an interrupted merge left, too
        return [_Merging(Store(folder), Store(other), None).do(tell) for other in others]


def write_tables(folder: Path, tell: Tell = str) -> list[str]:
    """Write the tables of a study folder anew; returns the ids of runs that are none of its recipe's.

    Raises:
        InputError: what its recipe stands on is not on this machine.
    """
    session = reopen(folder, tell)
    with resource_errors.reported(folder, "writing tables"):
        write_views(session.study, session.store)
    return foreign_runs(session.study, session.store)


def _check_places(folder: Path, others: Sequence[Path]) -> None:
    faults = []
    here = folder.resolve()
    for other in others:
        there = other.resolve()
        if there == here or here in there.parents:
            faults.append(f"{other}: is {'' if there == here else 'inside '}the folder to merge into; name another one")
        elif not (other / "runs").is_dir():
            faults.append(f"{other}: no study with runs (runs/ is missing); name the folder of one that tvt study run made")
    # An interrupted merge may have left hidden files alone.
    new = not folder.exists() or (folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir()))
    if not new and not (folder / RECIPE).is_file():
        faults.append(f"{folder}: is there and no study with runs ({RECIPE} is missing); name one, or a new folder")
    if new and not faults:
        try:
            refuse_links(others[0], [others[0] / RECIPE])
            load_recipe(others[0] / RECIPE)  # it comes along
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))


class _Merging:
    """Copies the runs of one folder into another."""

    def __init__(self, here: Store, there: Store, planned: _Planned | None) -> None:
        self.here, self.there = here, there
        self.planned = planned
        """What folders before this one would have brought, where nothing is written."""
        self.result = Merged(folder=there.folder)

    def do(self, tell: Tell) -> Merged:
        """All of them, the base models first: other runs' scores are paired with theirs."""
        ids = [path.parent.name for path in (self.there.folder / "runs").glob(f"*/{RUN}")]
        for run_id in sorted(ids, key=lambda run_id: (self._is_trained(run_id), run_id)):
            tell(run_id)
            try:
                self._look_and_take(run_id)
            except InputError as error:
                self.result.refused[run_id] = error.faults
        return self.result

    def _is_trained(self, run_id: str) -> bool:
        try:
            return bool((self.there.spec(run_id) or {}).get("counts"))
        except InputError:  # told when it is looked at
            return True

    def _look_and_take(self, run_id: str) -> None:
        run = look_at(self.there, run_id)
        if not isinstance(run, FinishedRun):
            self.result.left[run] += 1
            return
        with self._held(run_id) as mine:
            if mine:
                self._take(run)
            else:
                self.result.left["at work here"] += 1

    @contextmanager
    def _held(self, run_id: str) -> Iterator[bool]:
        """Hold the run here, unless another process does."""
        if self.planned is not None:
            yield not self.here.held(run_id)
            return
        with self.here.claim(run_id) as free:
            if free:
                clear(self.here.run_folder(run_id))
            yield free

    def _take(self, run: FinishedRun) -> None:
        """Copy what is missing here of a run."""
        adapter_here, before = self._stands(run.run_id)
        if run.training is not None and adapter_here not in (None, run.training.adapter_digest):
            self._conflict(run, "was trained there too, to another adapter; this folder's is kept, with its own scores")
            return
        adapter = run.training if adapter_here is None else None
        if adapter is not None:  # cells of an adapter that is gone are no part of the run that comes
            before = replace(before, cells=_of_adapter(self.here, before.cells, adapter.adapter_digest))
        cells = self._missing(run, before.cells)
        new = adapter is not None or (run.training is None and not before.cells)
        if self.planned is None:
            self._write(run, adapter, before, cells)
        else:
            whole = {**before.cells, **{where: evidence.cell for where, evidence in cells.items()}}
            self.planned[run.run_id] = _digest(run.training), replace(before, cells=whole)
        if not new and not cells:
            self.result.known.append(run.run_id)
        elif new:
            self.result.copied.append(run.run_id)
        else:
            self.result.extended[run.run_id] = len(cells)

    def _stands(self, run_id: str) -> tuple[str | None, Finished]:
        """The digest of a run's adapter here, and its cells."""
        if self.planned is not None and run_id in self.planned:
            return self.planned[run_id]
        return _digest(self.here.training(run_id)), self.here.finished(run_id)

    def _missing(self, run: FinishedRun, before: Cells) -> dict[Where, Evidence]:
        """The cells that this folder has not."""
        missing = {}
        for where, evidence in run.evidence.items():
            cell = before.get(where)
            if cell is not None and cell.key != evidence.cell.key:
                self._conflict(run, f"was asked other questions of {set_name(*where)} there; this folder's score is kept")
            elif cell is not None and not cell.same_score(evidence.cell):
                told = f"{evidence.cell.correct:g} there and {cell.correct:g} here, of {cell.total}"
                self._conflict(run, f"has other scores on {set_name(*where)} there ({told}); this folder's is kept")
            elif cell is None and self._contradicted(evidence):
                told = f"some questions of {set_name(*where)} were answered otherwise here"
                self._conflict(run, f"{told}; its score there is not taken, and tvt study run makes this folder's own")
            elif cell is None:
                missing[where] = evidence
        return missing

    def _contradicted(self, evidence: Evidence) -> bool:
        """Whether this folder knows another answer to one of a cell's questions."""
        place = self.here.answers / evidence.cell.answers
        known = AnswerStore.reopen(place).load() if (place / IDENTITY).is_file() else {}
        return any(
            item["item"] in known and _answer(known[item["item"]]) != _answer(outcome_of(item)) for item in evidence.items
        )

    def _conflict(self, run: FinishedRun, what: str) -> None:
        self.result.conflicts.append(f"{self.there.folder}: {run.run.name}: {what}")

    def _write(
        self, run: FinishedRun, adapter: TrainingRecord | None, before: Finished, cells: Mapping[Where, Evidence]
    ) -> None:
        folder = self.here.run_folder(run.run_id)
        for key in dict.fromkeys(evidence.cell.answers for evidence in cells.values()):
            chosen = {where: evidence for where, evidence in cells.items() if evidence.cell.answers == key}
            self._write_answers(key, None if run.training is None else folder / ADAPTER, chosen)
        if adapter is not None or cells:
            self.here.begin(run.run_id, run.run, run.identity)
        if adapter is not None:
            self._write_adapter(run, adapter)
        if run.training is not None:
            for name in _LEFT:
                shutil.rmtree(folder / name, ignore_errors=True)
        if cells:
            self.here.save(run.run_id, self._joined(run, before, cells))
            self.here.forgive(run.run_id)

    def _write_answers(self, key: str, adapter: Path | None, cells: Mapping[Where, Evidence]) -> None:
        """Add the answers that are not known here to those of the same model, adapter and settings."""
        theirs = AnswerStore.reopen(self.there.answers / key)
        told = str(adapter.absolute()) if adapter is not None else None
        mine = AnswerStore(self.here.answers, theirs.identity, {**theirs.about, "adapter": told})
        rows: dict[str, Row] = {row[0]: row for row in theirs.rows()}
        for where, evidence in cells.items():
            for item in evidence.items:
                rows.setdefault(item["item"], (item["item"], set_name(*where), item["id"], outcome_of(item)))
        with mine.locked():
            known = mine.load()
            new = [row for item, row in rows.items() if item not in known]
            if new:
                mine.append(new)
            for where, evidence in cells.items():
                mine.finish(set_name(*where), evidence.items, evidence.record)

    def _write_adapter(self, run: FinishedRun, training: TrainingRecord) -> None:
        """Copy the adapter, look at the copy, and say last that it is there."""
        folder = self.here.run_folder(run.run_id)
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)  # without a record beside it, it is half of one
        with atomic.new_folder(folder / ADAPTER) as fresh:
            for name in (WEIGHTS, CONFIG, RECORD, CARD):
                if (training.adapter / name).is_file():
                    shutil.copyfile(training.adapter / name, fresh / name)
            if verify_adapter(fresh).digest != training.adapter_digest:
                raise InputError(f"{training.adapter}: changed while it was copied; merge again when nothing writes there")
        if (run.folder / TRAINED_AS).is_file():
            atomic.write_bytes(folder / TRAINED_AS, (run.folder / TRAINED_AS).read_bytes())
        save_training_record(training, folder)

    def _joined(self, run: FinishedRun, before: Finished, cells: Mapping[Where, Evidence]) -> Finished:
        """This folder's record of a run with more cells, and with the part of the time that these took."""
        share = sum(evidence.cell.total for evidence in cells.values()) / sum(c.total for c in run.finished.cells.values())
        taken = {where: self._paired(run, where, evidence) for where, evidence in cells.items()}
        order = dict.fromkeys([*run.finished.cells, *before.cells])
        both = {**before.cells, **taken}
        loads = (before.load_seconds, run.finished.load_seconds)
        return Finished(
            cells={where: both[where] for where in order if where in both},
            scoring_seconds=before.scoring_seconds + share * run.finished.scoring_seconds,
            questions=before.questions + round(share * run.finished.questions),
            load_seconds=None if loads[0] is None or loads[1] is None else loads[0] + share * loads[1],
        )

    def _paired(self, run: FinishedRun, where: Where, evidence: Evidence) -> Cell:
        """A cell, paired with the answers that the base model gave as this folder has them."""
        cell = evidence.cell
        base = self.here.finished(run.base_id).cells.get(where)
        if run.training is None or base is None or base.key != cell.key:
            return cell
        answers = AnswerStore.reopen(self.here.answers / base.answers)
        theirs, _ = answers.finished(set_name(*where))
        if [item["item"] for item in theirs] != [item["item"] for item in evidence.items]:
            path = answers.items_path(set_name(*where))
            scores = self.here.run_folder(run.base_id) / SCORES
            raise InputError(
                f"{path}: holds other questions than {scores} stands on; delete the latter and run the study again"
            )
        pairs = zip(worth(evidence.items), worth(theirs), strict=True)
        return replace(cell, both_correct=tally(mine * other for mine, other in pairs))


def _digest(training: TrainingRecord | None) -> str | None:
    return None if training is None else training.adapter_digest


def _of_adapter(store: Store, cells: Cells, adapter: str) -> Cells:
    """The cells that rest on the answers of one adapter."""
    identities = {key: AnswerStore.reopen(store.answers / key).identity for key in {cell.answers for cell in cells.values()}}
    return {where: cell for where, cell in cells.items() if identities[cell.answers].get("adapter") == adapter}


def _answer(outcome: RawAnswer) -> str | int | None:
    """What an outcome says, whatever its last digits."""
    return outcome.raw if outcome.scores is None else outcome.scores.index(max(outcome.scores))


Unfinished = Literal["at work", "unfinished", "failed"]
Items = Sequence[Mapping[str, Any]]
_ANSWERS = re.compile(r"[0-9a-f]{32}")
_NO_COPY = "it cannot be believed, so it stays where it is"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A cell with the answers that it rests on."""

    cell: Cell
    items: Items
    """The answers to its questions, one by one, with what each is worth."""
    record: Mapping[str, Any]
    """What was recorded of them."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is done, as far as it was asked."""

    run_id: str
    run: Run
    identity: Mapping[str, Any]
    folder: Path
    training: TrainingRecord | None
    """``None`` for the base model."""
    finished: Finished
    evidence: Mapping[Where, Evidence]

    @property
    def base_id(self) -> str:
        """The run that is the base model of this one."""
        return self.run_id if self.training is None else digest.of_value({"base": self.identity["model"]})[:20]


def look_at(store: Store, run_id: str) -> FinishedRun | Unfinished:
    """What a run is, or why it is none to be copied.

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
    evidence = _evidence(store, finished, None if training is None else training.adapter_digest)
    return FinishedRun(
        run_id=run_id,
        run=run,
        identity=identity,
        folder=folder,
        training=training,
        finished=finished,
        evidence=evidence,
    )


def refuse_links(root: Path, paths: Sequence[Path]) -> None:
    """Refuse links below a folder: what is copied must be what lies there.

    Raises:
        InputError: one line for each.
    """
    links = [place for path in paths for place in _between(root, path) if place.is_symlink()]
    if links:
        raise InputError(*(f"{place}: is a link; put what it leads to in its place" for place in dict.fromkeys(links)))


def _between(root: Path, path: Path) -> Iterator[Path]:
    """A path and the folders that it lies in, below ``root``."""
    for part in (path, *path.parents):
        if part == root:
            return
        yield part


def _spec(store: Store, run_id: str) -> tuple[Run, Mapping[str, Any]]:
    path = store.run_folder(run_id) / RUN
    try:
        told = store.spec(run_id) or {}
        run = Run(label=str(told["label"]), counts=dict(told["counts"]), seed=int(told["seed"]))
        identity = dict(told["identity"])
        whole = run.is_base == ("base" in identity) and (run.is_base or identity["counts"] == run.counts)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; {_NO_COPY}") from error
    if not whole or digest.of_value(identity)[:20] != run_id:
        raise InputError(f"{path}: its folder's name is not that of what it says; {_NO_COPY}")
    return run, identity


def _finished(store: Store, run_id: str) -> Finished:
    try:
        return store.finished(run_id)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{store.run_folder(run_id) / SCORES}: damaged; {_NO_COPY}") from error


def _check_adapter(root: Path, training: TrainingRecord) -> None:
    refuse_links(root, sorted(training.adapter.rglob("*")))
    if verify_adapter(training.adapter).digest != training.adapter_digest:
        raise InputError(f"{training.adapter}: is not the adapter of the run's record {TRAINING}; {_NO_COPY}")


def _evidence(store: Store, finished: Finished, adapter: str | None) -> dict[Where, Evidence]:
    """The answers of every cell."""
    faults: list[str] = []
    found: dict[Where, Evidence] = {}
    opened: dict[str, AnswerStore] = {}
    for where, cell in finished.cells.items():
        try:
            if cell.answers not in opened:
                opened[cell.answers] = _open(store, cell.answers, adapter)
            found[where] = _answered(opened[cell.answers], where, cell)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return found


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


def _answered(answers: AnswerStore, where: Where, cell: Cell) -> Evidence:
    items, record = answers.finished(set_name(*where))
    try:
        same = len(items) == cell.total and tally(worth(items)) == cell.correct
    except (ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same:
        raise InputError(f"{answers.items_path(set_name(*where))}: is not what the run's {SCORES} says; {_NO_COPY}")
    return Evidence(cell=cell, items=items, record=record)


def worth(items: Items) -> list[float]:
    """What each answer earned."""
    return [float(item.get("credit", item["correct"])) for item in items]
