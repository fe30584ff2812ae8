"""Join studies whose work was divided: copy the finished runs of other folders into one.

A run is copied in the order in which it was made, each file wholly or not at all: its answers, what it is, its adapter, the
record of its training, its scores. So a merge that was interrupted leaves what a killed run leaves, and the same merge goes on.
What this folder has stays as it is: of two versions its own stays, and a line says so.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvt.core.scores import Run, set_name, tally
from tvt.errors import InputError
from tvt.evaluate.scorer import RawAnswer
from tvt.evaluate.store import IDENTITY, AnswerStore, Row, outcome_of
from tvt.io import atomic, machine
from tvt.io.adapter_file import CONFIG, RECORD, WEIGHTS, dropped_digest, is_full, verify_adapter
from tvt.io.atomic import exclusively
from tvt.io.yaml_files import load_recipe
from tvt.study.jobs import Where
from tvt.study.run_folders import RUN, clear, tidy
from tvt.study.store import RECIPE, SCORES, Cell, Cells, Finished, Store
from tvt.study.verify import CheckedCell, FinishedRun, refuse_links, verify_run, worth
from tvt.train.record import ADAPTER, CARD, CHECKPOINTS, TrainingRecord, save_training_record
from tvt.train.record import RUN as TRAINED_AS

Report = Callable[[str], object]
_Planned = dict[str, tuple[str | None, Finished]]
_LEFT = (CHECKPOINTS, "mixed", ".rows")
"""Files of a run that is in training, in its folder."""


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


def merge(folder: Path, others: Sequence[Path], *, dry_run: bool = False, report: Report = str) -> list[Merged]:
    """Copy the finished runs of other study folders into ``folder``, which is made if need be.

    Args:
        folder: of the study that shall have the runs.
        others: folders to copy from, in this order; nothing is written there.
        dry_run: check everything, and write nothing here either.
        report: called with the id of the run that is checked next.

    Returns:
        What became of the runs, folder by folder. Damaged runs are among it, in :attr:`Merged.refused`.

    Raises:
        InputError: a folder cannot be used; nothing was written then. Or the disk is full; what is copied stays.
    """
    _check_places(folder, others)
    if dry_run:
        planned: _Planned = {}
        return [_Merging(Store(folder), Store(other), planned).do(report) for other in others]
    folder.mkdir(parents=True, exist_ok=True)
    with machine.resource_errors(folder, "copying runs"):
        with exclusively(folder / ".views"):
            if not (folder / RECIPE).exists():
                atomic.write_bytes(folder / RECIPE, (others[0] / RECIPE).read_bytes())
        tidy(folder)  # of what an interrupted merge left, too
        return [_Merging(Store(folder), Store(other), None).do(report) for other in others]


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

    def do(self, report: Report) -> Merged:
        """All of them, the base models first: other runs' scores are paired with theirs."""
        ids = [run_id for run_id, folder in self.there.folders.all().items() if (folder / RUN).exists()]
        for run_id in sorted(ids, key=lambda run_id: (self._is_trained(run_id), run_id)):
            report(run_id)
            try:
                self._look_and_take(run_id)
            except InputError as error:
                self.result.refused[run_id] = error.faults
        return self.result

    def _is_trained(self, run_id: str) -> bool:
        try:
            spec = self.there.spec(run_id)
            return spec is None or not spec.run.is_base
        except InputError:  # its check reports it
            return True

    def _look_and_take(self, run_id: str) -> None:
        run = verify_run(self.there, run_id)
        if not isinstance(run, FinishedRun):
            self.result.left[run] += 1
            return
        with self._held(run_id, run.run) as mine:
            if mine:
                self._take(run)
            else:
                self.result.left["at work here"] += 1

    @contextmanager
    def _held(self, run_id: str, run: Run) -> Iterator[bool]:
        """Hold the run here, unless another process does."""
        if self.planned is not None:
            yield not self.here.held(run_id)
            return
        with self.here.claim(run_id, run) as free:
            if free:
                clear(self.here.run_folder(run_id))
            yield free

    def _take(self, run: FinishedRun) -> None:
        """Copy what is missing here of a run."""
        adapter_here, before = self._state(run.run_id)
        if run.training is not None and adapter_here not in (None, run.training.adapter_digest):
            self._conflict(run, "was trained there too, to another adapter; this folder's is kept, with its own scores")
            return
        adapter = run.training if adapter_here is None else None
        if adapter is not None:  # cells of an adapter that is gone are no part of the run that comes
            before = replace(before, cells=self.here.of_adapter(before.cells, adapter.adapter_digest))
        cells = self._missing(run, before.cells)
        new = adapter is not None or (run.training is None and not before.cells)
        if self.planned is None:
            self._write(run, adapter, before, cells)
        else:
            whole = {**before.cells, **{where: checked.cell for where, checked in cells.items()}}
            self.planned[run.run_id] = _digest(run.training), replace(before, cells=whole)
        if not new and not cells:
            self.result.known.append(run.run_id)
        elif new:
            self.result.copied.append(run.run_id)
        else:
            self.result.extended[run.run_id] = len(cells)

    def _state(self, run_id: str) -> tuple[str | None, Finished]:
        """The digest of a run's adapter here, and its cells."""
        if self.planned is not None and run_id in self.planned:
            return self.planned[run_id]
        return _digest(self.here.training(run_id)), self.here.finished(run_id)

    def _missing(self, run: FinishedRun, before: Cells) -> dict[Where, CheckedCell]:
        """The cells that this folder has not."""
        missing = {}
        for where, checked in run.cells.items():
            cell = before.get(where)
            if cell is not None and cell.key != checked.cell.key:
                self._conflict(run, f"was asked other questions of {set_name(*where)} there; this folder's score is kept")
            elif cell is not None and not cell.same_score(checked.cell):
                counts = f"{checked.cell.correct:g} there and {cell.correct:g} here, of {cell.total}"
                self._conflict(run, f"has other scores on {set_name(*where)} there ({counts}); this folder's is kept")
            elif cell is None and self._contradicted(checked):
                what = f"some questions of {set_name(*where)} were answered otherwise here"
                self._conflict(run, f"{what}; its score there is not taken, and tvt study run makes this folder's own")
            elif cell is None:
                missing[where] = checked
        return missing

    def _contradicted(self, checked: CheckedCell) -> bool:
        """Whether this folder knows another answer to one of a cell's questions."""
        place = self.here.answers / checked.cell.answers
        known = AnswerStore.reopen(place).load() if (place / IDENTITY).is_file() else {}
        return any(
            item["item"] in known and _answer(known[item["item"]]) != _answer(outcome_of(item)) for item in checked.items
        )

    def _conflict(self, run: FinishedRun, what: str) -> None:
        self.result.conflicts.append(f"{self.there.folder}: {run.run.name}: {what}")

    def _write(
        self, run: FinishedRun, adapter: TrainingRecord | None, before: Finished, cells: Mapping[Where, CheckedCell]
    ) -> None:
        folder = self.here.run_folder(run.run_id)
        for key in dict.fromkeys(checked.cell.answers for checked in cells.values()):
            chosen = {where: checked for where, checked in cells.items() if checked.cell.answers == key}
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

    def _write_answers(self, key: str, adapter: Path | None, cells: Mapping[Where, CheckedCell]) -> None:
        """Add the answers that are not known here to those of the same model, adapter and settings."""
        theirs = AnswerStore.reopen(self.there.answers / key)
        place = str(adapter.absolute()) if adapter is not None else None
        mine = AnswerStore(self.here.answers, theirs.identity, {**theirs.about, "adapter": place})
        rows: dict[str, Row] = {row[0]: row for row in theirs.rows()}
        for where, checked in cells.items():
            for item in checked.items:
                rows.setdefault(item["item"], (item["item"], set_name(*where), item["id"], outcome_of(item)))
        with mine.locked():
            known = mine.load()
            new = [row for item, row in rows.items() if item not in known]
            if new:
                mine.append(new)
            for where, checked in cells.items():
                mine.finish(set_name(*where), checked.items, checked.record)

    def _write_adapter(self, run: FinishedRun, training: TrainingRecord) -> None:
        """Copy the adapter, check the copy, and write last that it is there."""
        folder = self.here.run_folder(run.run_id)
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)  # without a record beside it, it is half of one
        with atomic.new_folder(folder / ADAPTER) as fresh:
            full = is_full(training.adapter)
            for path in sorted(training.adapter.iterdir()):
                if path.is_file() and (full or path.name in (WEIGHTS, CONFIG, RECORD, CARD)):
                    shutil.copyfile(path, fresh / path.name)
            if (dropped_digest(fresh) or verify_adapter(fresh).digest) != training.adapter_digest:
                raise InputError(f"{training.adapter}: changed while it was copied; merge again when nothing writes there")
        if (run.folder / TRAINED_AS).is_file():
            atomic.write_bytes(folder / TRAINED_AS, (run.folder / TRAINED_AS).read_bytes())
        save_training_record(training, folder)

    def _joined(self, run: FinishedRun, before: Finished, cells: Mapping[Where, CheckedCell]) -> Finished:
        """This folder's record of a run with more cells, and with the part of the time that these took."""
        share = sum(checked.cell.total for checked in cells.values()) / sum(c.total for c in run.finished.cells.values())
        taken = {where: self._paired(run, where, checked) for where, checked in cells.items()}
        order = dict.fromkeys([*run.finished.cells, *before.cells])
        both = {**before.cells, **taken}
        loads = (before.load_seconds, run.finished.load_seconds)
        return Finished(
            cells={where: both[where] for where in order if where in both},
            scoring_seconds=before.scoring_seconds + share * run.finished.scoring_seconds,
            questions=before.questions + round(share * run.finished.questions),
            load_seconds=None if loads[0] is None or loads[1] is None else loads[0] + share * loads[1],
        )

    def _paired(self, run: FinishedRun, where: Where, checked: CheckedCell) -> Cell:
        """A cell, paired with the answers that the base model gave as this folder has them."""
        cell = checked.cell
        base = self.here.finished(run.base_id).cells.get(where)
        if run.training is None or base is None or base.key != cell.key:
            return cell
        answers = AnswerStore.reopen(self.here.answers / base.answers)
        theirs, _ = answers.finished(set_name(*where))
        if [item["item"] for item in theirs] != [item["item"] for item in checked.items]:
            path = answers.items_path(set_name(*where))
            scores = self.here.run_folder(run.base_id) / SCORES
            raise InputError(
                f"{path}: holds other questions than {scores} stands on; delete the latter and run the study again"
            )
        pairs = zip(worth(checked.items), worth(theirs), strict=True)
        return replace(cell, both_correct=tally(mine * other for mine, other in pairs))


def _digest(training: TrainingRecord | None) -> str | None:
    return None if training is None else training.adapter_digest


def _answer(outcome: RawAnswer) -> str | int | None:
    """What an outcome says, whatever its last digits."""
    return outcome.raw if outcome.scores is None else outcome.scores.index(max(outcome.scores))
