"""How far a study is, read from its folder: what is done, what each run at work is at, and how long the rest takes.

The processes that do the runs may be anywhere, so that all is read from the disk: checkpoints, records, and answers as they
come in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from tvt.core.scores import set_name
from tvt.errors import InputError
from tvt.evaluate.store import AnswerStore
from tvt.io import json_lines
from tvt.study.jobs import RunTask, Where
from tvt.study.plan import Study
from tvt.study.store import Status, Store
from tvt.train.batches import Order
from tvt.train.checkpoints import steps_done

Phase = Literal["mixing", "training", "scoring"]


@dataclass(frozen=True, kw_only=True)
class Position:
    """What a run at work is at."""

    name: str
    phase: Phase
    done: int
    """Steps, or questions; as of the last checkpoint, or the last answers that were written."""
    total: int
    """0 where nobody counts."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment."""

    states: dict[str, Status]
    """By run id."""
    at_work: tuple[Position, ...]
    seconds_left: float | None
    """By the speed of finished runs and as many at work as now; ``None`` before there is one, or where none is at work."""

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return all(state in ("done", "failed") for state in self.states.values())


class Watch:
    """Looks at a study; what cannot change any more is read once.

    Args:
        study: what the runs are of.
        store: where they are.
        tasks: the runs.
    """

    def __init__(self, study: Study, store: Store, tasks: Sequence[RunTask]) -> None:
        self._study, self._store, self._tasks = study, store, tasks
        self._done: set[str] = set()
        self._answers = _Answers(store.answers)
        self._training_seconds = self._scoring_seconds = 0.0
        self._examples = self._questions = 0
        self._loads: list[float] = []

    def look(self) -> Snapshot:
        """How far it is now.

        Raises:
            InputError: a record is damaged.
        """
        states = {task.run_id: self._state(task) for task in self._tasks}
        positions: list[Position] = []
        examples = questions = 0.0
        waiting = 0
        for task in self._tasks:
            if states[task.run_id] in ("done", "failed"):
                continue
            steps, answers = self._training(task), self._scoring(task)
            examples += task.run.examples * (1 - steps[0] / steps[1] if steps[1] else 0)
            questions += answers[1] - answers[0]
            if states[task.run_id] == "running":
                positions.append(self._position(task, steps, answers))
            else:
                waiting += 1
        left = self._left(examples, questions, waiting, len(positions))
        return Snapshot(states=states, at_work=tuple(positions), seconds_left=left)

    def _state(self, task: RunTask) -> Status:
        if task.run_id in self._done:
            return "done"
        state = self._store.status(task.run_id, task.keys)
        if state == "done":
            self._done.add(task.run_id)
            self._clock(task)
        return state

    def _clock(self, task: RunTask) -> None:
        """Take the speed of a run that is done."""
        finished, record = self._store.finished(task.run_id), self._store.training(task.run_id)
        self._scoring_seconds += finished.scoring_seconds
        self._questions += finished.questions
        self._loads.append(finished.load_seconds or 0.0)
        if record is not None and record.rows_per_second > 0:
            self._training_seconds += record.rows / record.rows_per_second
            self._examples += task.run.examples

    def _left(self, examples: float, questions: float, waiting: int, at_work: int) -> float | None:
        if not at_work or not self._questions or (examples and not self._examples):
            return None
        training = examples * self._training_seconds / self._examples if self._examples else 0.0
        loading = waiting * median(self._loads)
        return (loading + training + questions * self._scoring_seconds / self._questions) / at_work

    def _training(self, task: RunTask) -> tuple[int, int]:
        """Steps that are safe, and how many there are; none of both where the adapter is there."""
        if task.run.is_base or self._store.training(task.run_id) is not None:
            return 0, 0
        training = self._study.recipe.training
        order = Order(
            rows=task.run.examples,
            epochs=training.num_train_epochs,
            seed=task.run.seed,
            global_batch=training.global_batch_size,
            per_device=training.per_device_train_batch_size,
        )
        return steps_done(self._store.run_folder(task.run_id)), order.steps

    def _scoring(self, task: RunTask) -> tuple[int, int]:
        """Answers that are written of the cells that a run lacks, and how many these will be."""
        cells = self._store.finished(task.run_id).cells
        missing = [where for where, key in task.keys.items() if where not in cells or cells[where].key != key]
        total = sum(self._study.sizes[where] for where in missing)
        record = None if task.run.is_base else self._store.training(task.run_id)
        if record is None and not task.run.is_base:
            return 0, total
        return min(self._answers.count(record.adapter_digest if record else None, missing), total), total

    def _position(self, task: RunTask, steps: tuple[int, int], answers: tuple[int, int]) -> Position:
        if not steps[1]:
            return Position(name=task.run.name, phase="scoring", done=answers[0], total=answers[1])
        if not (self._store.run_folder(task.run_id) / "mixed").is_dir():
            return Position(name=task.run.name, phase="mixing", done=0, total=0)
        return Position(name=task.run.name, phase="training", done=steps[0], total=steps[1])


class _Answers:
    """Counts answers by adapter and task. Folders and chunks never change, so that each is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._adapters: dict[Path, str | None] = {}
        self._chunks: dict[Path, Counter[str]] = {}

    def count(self, adapter: str | None, cells: Sequence[Where]) -> int:
        """How many questions of some cells an adapter has answered; in the way of answering that is furthest."""
        for place in self._root.glob("*/"):
            if place not in self._adapters and (place / "identity.json").is_file():
                self._adapters[place] = _adapter(place)
        names = [set_name(*where) for where in cells]
        folders = [place for place, item in self._adapters.items() if item == adapter]
        return max((sum(self._counts(place)[name] for name in names) for place in folders), default=0)

    def _counts(self, place: Path) -> Counter[str]:
        counts: Counter[str] = Counter()
        for path in place.glob("chunk-*.jsonl"):
            if path not in self._chunks:
                self._chunks[path] = Counter(row["task"] for row in json_lines.read(path))
            counts += self._chunks[path]
        return counts


def _adapter(place: Path) -> str | None:
    """Whose answers a folder holds; of one that is damaged, nobody's."""
    try:
        result = AnswerStore.reopen(place).identity.get("adapter")
    except InputError:
        return ""
    return None if result is None else str(result)
