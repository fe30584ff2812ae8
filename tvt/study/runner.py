"""Do one run, in this process: mix its rows, train its adapter, score it. Every step finds what is done already."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tvt.core.events import Done, Failed, Held, Nothing, Phase
from tvt.core.mixture import Mixture
from tvt.core.scores import PlaceboKind, set_name
from tvt.data.controls import Asked, Control, asked
from tvt.data.mixing.dataset import write_mix
from tvt.data.mixing.plan import plan_mix
from tvt.data.task_questions import as_file, read
from tvt.errors import InputError, NotFiniteScoreError, ProcessDiedError, ProcessFailedError, TrainingError
from tvt.evaluate.evaluator import Evaluator, Target
from tvt.evaluate.harness.task import describe
from tvt.evaluate.results import CellResult
from tvt.evaluate.sharing import ScoringProcesses
from tvt.io import machine
from tvt.io.adapter_file import drop_weights, verify_adapter
from tvt.io.atomic import exclusively
from tvt.io.processes import Machines
from tvt.model.base import Loaded
from tvt.study.jobs import Job, RunTask, Where
from tvt.study.run_folders import clear
from tvt.study.store import Cell, Finished, Store
from tvt.train import TrainingProgress, train
from tvt.train.checkpoints import remove_other_layouts, steps_done
from tvt.train.record import ADAPTER, CHECKPOINTS, RUN
from tvt.train.record import RECORD as TRAINING

ShowPhase = Callable[[Phase, int, int], None]
"""Called with what a run is at, how much of it is done, and of how much."""
_LEFT = (CHECKPOINTS, "mixed", ".rows")
"""What a run needs until its adapter is there."""


@dataclass(kw_only=True)
class Runner:
    """Does runs one after the other. Those of one process train and are scored on one base model, which is loaded once."""

    job: Job
    note: Callable[[str], None]
    machines: Machines | None = None
    """Where processes are started that train and score; default: on this machine."""

    def __post_init__(self) -> None:
        self.store = Store(self.job.folder)
        recipe = self.job.recipe
        self._base = Loaded(config=recipe.model, note=self.note)
        self._evaluator = Evaluator(
            recipe.model,
            recipe.evaluation,
            self.store.answers,
            base=self._base,
            together=ScoringProcesses(processes=recipe.runtime.num_processes, machines=self.machines or Machines()),
            note=self.note,
            endpoint=recipe.runtime.endpoint,
        )
        self._questions: dict[Where, Target] = {}
        self._prompts: dict[str, tuple[Asked, ...]] = {}

    def do(self, task: RunTask, show: ShowPhase) -> Done | Failed | Held | Nothing:
        """Do what is missing of a run.

        Returns:
            How the attempt ended; the reason of a failure is recorded.

        Raises:
            InputError: something that would stop every run: the disk is full, memory is too small, files are gone.
            ProcessFailedError: the run failed, which is recorded, by an exception that may come again in other runs.
        """
        show(*self.stands(task))  # before anything that may take the process down
        with self.store.turn(task.run_id, task.run, task.keys) as turn:
            if turn != "mine":
                return Held(run=task.run_id) if turn == "held" else Nothing(run=task.run_id)
            clear(self.store.run_folder(task.run_id))
            try:
                with machine.resource_errors(self.job.folder, task.run.name, self.job.recipe):
                    self.store.begin(task.run_id, task.run, task.identity)
                    started = time.monotonic()
                    adapter, trained = (None, 0.0) if task.run.is_base else self._adapter(task, show)
                    self._score(task, adapter, show, prepared=max(0.0, time.monotonic() - started - trained))
            except ProcessDiedError:
                raise
            except NotFiniteScoreError as error:
                if error.base:
                    raise
                self.store.fail(task.run_id, error.faults[0])
                return Failed(run=task.run_id)
            except TrainingError as error:
                if not (self.store.run_folder(task.run_id) / TRAINING).is_file():  # else scoring failed
                    self._discard(task)
                self.store.fail(task.run_id, str(error).splitlines()[0])
                if isinstance(error, ProcessFailedError):
                    raise
                return Failed(run=task.run_id)
            self.store.forgive(task.run_id)  # another process may have given it up meanwhile
            if adapter is not None and self.job.recipe.drops_weights:
                drop_weights(adapter)
        return Done(run=task.run_id)

    def stands(self, task: RunTask) -> tuple[Phase, int, int]:
        """Where a run stands, as far as the disk knows."""
        folder = self.store.run_folder(task.run_id)
        if task.run.is_base or (folder / TRAINING).is_file():
            return "scoring", 0, 0
        return ("training", steps_done(folder), 0) if (folder / "mixed").is_dir() else ("mixing", 0, task.run.examples)

    def _adapter(self, task: RunTask, show: ShowPhase) -> tuple[Path, float]:
        """The run's adapter, trained if it is not there or was damaged, and the seconds of training steps just now."""
        folder = self.store.run_folder(task.run_id)
        if (folder / TRAINING).is_file():
            try:
                verify_adapter(folder / ADAPTER)
            except InputError as error:
                self.note(f"{task.run.name}: {error.faults[0]}; training it anew")
                self._discard(task)
            else:
                self._clear(folder)  # a kill may have come between the record and this
                return folder / ADAPTER, 0.0
        mixed = folder / "mixed"
        recipe = self.job.recipe
        if remove_other_layouts(recipe, folder):
            self.note(f"{task.run.name}: its checkpoints are of another batch or number of processes; training it anew")
        if not mixed.is_dir():
            counts = {source: count for source, count in task.run.counts.items() if count}
            paths = {source: self._rows(source) for source in counts}
            control = self._control(task.run.placebo, list(counts))
            write_mix(plan_mix(Mixture.of_counts(counts), paths, seed=task.run.seed, control=control), mixed)

        def show_steps(progress: TrainingProgress) -> None:
            show("training", progress.step, progress.steps)

        record = train(
            recipe,
            mixed,
            folder,
            seed=task.run.seed,
            resume=True,
            machines=self.machines,
            progress=show_steps,
            rows_checked=True,
            base=self._base,
        )
        self._clear(folder)
        return folder / ADAPTER, record.seconds

    @staticmethod
    def _clear(folder: Path) -> None:
        for name in _LEFT:
            shutil.rmtree(folder / name, ignore_errors=True)

    def _control(self, kind: PlaceboKind | None, sources: Sequence[str]) -> Control | None:
        """What is done to the rows of a placebo on these sources."""
        if kind is None:
            return None
        for source in sources:
            if source not in self._prompts:
                self._prompts[source] = asked(read(self.job.rows[source], source))
        return Control(kind=kind, prompts={source: self._prompts[source] for source in sources})

    def _rows(self, source: str) -> Path:
        """A source's training rows as a file; drawn ones are written once for all runs."""
        with exclusively(self.job.folder / "data" / ".lock"):
            return as_file(self.job.rows[source], source, self.job.folder / "data")

    def _score(self, task: RunTask, adapter: Path | None, show: ShowPhase, prepared: float) -> None:
        """Score what is missing, paired with the base model's answers.

        Args:
            task: the run.
            adapter: its adapter.
            show: shows progress.
            prepared: seconds since the run was begun, those of training steps left out.
        """
        before = self.store.finished(task.run_id)
        if adapter is not None and (record := self.store.training(task.run_id)) is not None:  # it may have been trained anew
            before = replace(before, cells=self.store.of_adapter(before.cells, record.adapter_digest))
        missing = [where for where, key in task.keys.items() if (c := before.cells.get(where)) is None or c.key != key]
        sets = {set_name(*where): self._asked(where) for where in missing}
        started, loaded = time.monotonic(), self._evaluator.load_seconds
        results = [self._ask(who, sets, show) for who in ([None] if adapter is None else [None, adapter])]
        loaded = self._evaluator.load_seconds - loaded
        seconds = time.monotonic() - started - loaded
        base, mine = results[0], results[-1]
        cells = {
            where: _cell(mine[set_name(*where)], None if adapter is None else base[set_name(*where)], task.keys[where])
            for where in missing
        }
        asked = sum(cell.asked for result in results for cell in result.values())
        self.store.save(
            task.run_id,
            Finished(
                cells={**before.cells, **cells},
                scoring_seconds=before.scoring_seconds + seconds,
                questions=before.questions + asked,
                load_seconds=None if before.load_seconds is None else before.load_seconds + prepared + loaded,
            ),
        )

    def _ask(self, adapter: Path | None, sets: Mapping[str, Target], show: ShowPhase) -> dict[str, CellResult]:
        """The cells of one adapter; where all is known (of the base, as a rule), that is no news."""

        def show_answers(done: int, total: int) -> None:
            if adapter is not None or done < total:
                show("scoring", done, total)

        return self._evaluator.evaluate([adapter], sets, show_answers)[0]

    def _asked(self, where: Where) -> Target:
        if where not in self._questions:
            data, recipe = self.job.questions[where], self.job.recipe
            if data.harness is None:
                self._questions[where] = tuple(read(data, where[0]))
            else:
                limit, python = recipe.evaluation.questions, recipe.runtime.lmms_eval_python
                self._questions[where] = describe(data, limit=limit, python=python)
        return self._questions[where]

    def _discard(self, task: RunTask) -> None:
        """Remove what training left, so that it can be done anew."""
        folder = self.store.run_folder(task.run_id)
        for name in (TRAINING, RUN):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        self._clear(folder)


def _cell(mine: CellResult, base: CellResult | None, key: str) -> Cell:
    result = mine.statistics
    return Cell(
        key=key,
        correct=mine.correct,
        total=mine.total,
        both_correct=None if base is None else mine.both_correct(base),
        unparsed=mine.unparsed,
        collapsed=mine.collapsed,
        answers=mine.key,
        choices=result.choices,
        letter=result.letter,
        letter_share=result.letter_share,
        letter_right=result.letter_right,
        letter_mass=result.letter_mass,
    )
