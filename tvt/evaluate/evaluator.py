"""Many adapters on one loaded base model, each asked the questions of many tasks; what is known is not asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvt.core.choices import READERS
from tvt.core.health import refuse
from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.errors import InputError, NotFiniteScoreError
from tvt.evaluate.asked import asked_rows
from tvt.evaluate.batches import compose
from tvt.evaluate.identity import SCORER_VERSION, CheckedAdapter, check_adapter, item_digest, model_identity, run_identity
from tvt.evaluate.loading import attached
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.readers import find_reader
from tvt.evaluate.results import CellResult, ItemResult, judge
from tvt.evaluate.scorer import Outcome, Scorer
from tvt.evaluate.store import AnswerStore, Row, plain, superseded_answers
from tvt.io.names import quoted_name, same_files
from tvt.model.base import Loaded
from tvt.model.families import family_checks, question_fault
from tvt.model.limits import load_limits

FLUSH_SECONDS = 5.0
FLUSH_ITEMS = 512

Progress = Callable[[int, int], None]
"""Called with how many questions are done and how many there are, over all adapters and tasks."""


def _silent(done: int, total: int) -> None:
    pass


def _no_note(text: str) -> None:
    pass


class Evaluator:
    """Scores adapters of one base model, which is loaded when the first question is really asked.

    Args:
        model: the base model.
        settings: how to score.
        folder: where answers are kept; share it between evaluations, also of other models.
        base: the model itself, where others use it too.
        reader: name of what reads the letter or number in a generated answer (:mod:`tvt.evaluate.readers`); another one asks
            nothing again.
        note: called with a sentence that is worth knowing, never twice with the same.
        flush_seconds: answers are on disk after so many seconds at the latest,
        flush_items: or after so many questions.

    Raises:
        InputError: the settings' prompt cannot be used, or the reader is unknown.
    """

    def __init__(
        self,
        model: ModelConfig,
        settings: EvaluationConfig,
        folder: Path,
        *,
        base: Loaded | None = None,
        reader: str = READERS.default,
        note: Callable[[str], None] = _no_note,
        flush_seconds: float = FLUSH_SECONDS,
        flush_items: int = FLUSH_ITEMS,
    ) -> None:
        self.model = model
        self.settings = settings
        self.folder = folder
        self.reader = find_reader(reader)
        self._profile = read_profile(settings.prompt)
        self._note = _once(note)
        self._flush_seconds, self._flush_items = flush_seconds, flush_items
        self._base = base or Loaded(config=model)
        self._identity: dict[str, Any] | None = None
        self._superseded_noted = False
        self._scorer: Scorer | None = None
        self.load_seconds = 0.0
        """How long loading the model took so far, questions held against its limits included."""
        self._checked: set[str] = set()
        """Digests of the questions that were held against the model."""
        self._composed: dict[str, tuple[list[Question], list[str], list[list[int]]]] = {}

    def evaluate(
        self,
        adapters: Sequence[Path | None],
        questions: Mapping[str, Sequence[Question]],
        progress: Progress = _silent,
    ) -> list[dict[str, CellResult]]:
        """Score every adapter on every task; ``None`` is the base model.

        All adapters are checked before the first question is asked.

        Returns:
            For each adapter its cells by task, in the order given.

        Raises:
            InputError: adapters, questions or the model cannot be used; what is scored already stays.
        """
        self._compose(questions)
        checked = _check_all(adapters)
        self._note_first(checked)
        total = len(checked) * sum(len(items) for items, _, _ in self._composed.values())
        done = 0
        results = []
        for adapter in checked:
            cells = self._evaluate_one(adapter, _after(done, total, progress))
            done += sum(cell.total for cell in cells.values())
            results.append(cells)
        return results

    def _compose(self, questions: Mapping[str, Sequence[Question]]) -> None:
        """Digests and batches of every task's questions, the same for all adapters."""
        faults = same_files(questions, quoted_name)
        without = question_fault(self.model)
        images: dict[bytes, str] = {}
        for task, asked in questions.items():
            items = list(asked)[: self.settings.questions]
            if not items:
                faults.append(f"{task}: no questions; leave the task out")
            ids = [item.id for item in items]
            if len(set(ids)) < len(ids):
                double = next(name for name in ids if ids.count(name) > 1)
                faults.append(f"{task}: two questions have the id '{double}'; give each its own")
            if without and (bare := [item.id for item in items if not item.images]):
                faults.append(f"{task}: {len(bare)} questions have no image, e.g. {bare[0]}: {without}")
            if items:
                try:
                    digests = [item_digest(item, self.settings, self._profile, images) for item in items]
                    self._composed[task] = (items, digests, compose(items, self.settings.batch_size, self.model.max_pixels))
                except InputError as error:
                    faults += error.faults
        self._composed = {task: self._composed[task] for task in questions if task in self._composed}
        if faults:
            raise InputError(*faults)

    def store(self, adapter: CheckedAdapter | None) -> AnswerStore:
        """Where the answers of an adapter are kept."""
        identity = run_identity(
            self.model, self._base_identity(), self.settings, self._profile, adapter.digest if adapter else None
        )
        about = {"model": self.model.model_name_or_path, "adapter": adapter.name if adapter else None}
        return AnswerStore(self.folder, identity, about)

    def _base_identity(self) -> dict[str, Any]:
        if self._identity is None:
            self._identity = model_identity(self.model, self.folder / "model-digests.json")
        return self._identity

    def _evaluate_one(self, adapter: CheckedAdapter | None, progress: Callable[[int], None]) -> dict[str, CellResult]:
        """One adapter on all tasks."""
        store = self.store(adapter)
        with store.locked():
            known = store.load()
            asked = self._ask_missing(adapter, store, known, progress)
            cells = {}
            for task, (items, digests, _) in self._composed.items():
                judged = tuple(judge(q, item, known[item], self.reader) for q, item in zip(items, digests, strict=True))
                cells[task] = CellResult(
                    adapter=adapter.name if adapter else None,
                    digest=adapter.digest if adapter else None,
                    key=store.key,
                    target=task,
                    items=judged,
                    asked=asked[task],
                    reader=self.reader,
                )
                store.finish(task, [_row(item) for item in judged], {"task": task, **cells[task].summary()})
        return cells

    def _ask_missing(
        self, adapter: CheckedAdapter | None, store: AnswerStore, known: dict[str, Outcome], progress: Callable[[int], None]
    ) -> dict[str, int]:
        """Ask what is not known yet, adding to ``known`` and to the store; returns how many questions of each task."""
        asked = dict.fromkeys(self._composed, 0)
        todo = self._missing(known)
        done = sum(len(items) for items, _, _ in self._composed.values()) - sum(len(batch) for _, batch in todo)
        progress(done)
        if not todo:
            return asked
        scorer = self._scorer_ready()
        batches = [([self._composed[t][0][k] for k in batch], [self._composed[t][1][k] for k in batch]) for t, batch in todo]
        with _naming(adapter), attached(self._base, adapter, self._note) as model, self._writing(store) as write:
            for (task, _), (questions, digests), outcomes in zip(todo, batches, scorer.score_all(model, batches), strict=True):
                known.update(zip(digests, outcomes, strict=True))
                write([(d, task, q.id, o) for d, q, o in zip(digests, questions, outcomes, strict=True)])
                asked[task] += len(outcomes)
                done += len(outcomes)
                progress(done)
        return asked

    def _note_first(self, checked: Sequence[CheckedAdapter | None]) -> None:
        """What must be known before any score: what is special about adapters, and which kept answers are not used."""
        for adapter in checked:
            if adapter is not None and adapter.caution:
                self._note(f"{adapter.name}: {adapter.caution}")
        digests = {None if adapter is None else adapter.digest for adapter in checked}
        count = superseded_answers(self.folder, self._base_identity(), digests, SCORER_VERSION)
        if count and not self._superseded_noted:  # a study asks run after run: one line will do
            self._superseded_noted = True
            self._note(
                f"{self.folder}: {count:,} answers were given to an earlier version of the scorer and are not used; "
                "their questions are asked again"
            )

    @contextmanager
    def _writing(self, store: AnswerStore) -> Iterator[Callable[[list[Row]], None]]:
        """Give a function that takes answers and writes them in chunks; what is left is written also when an error ends it."""
        waiting: list[Row] = []
        written = time.monotonic()

        def write(rows: list[Row]) -> None:
            nonlocal written
            waiting.extend(rows)
            if len(waiting) >= self._flush_items or time.monotonic() - written > self._flush_seconds:
                store.append(waiting)
                waiting.clear()
                written = time.monotonic()

        try:
            yield write
        finally:
            if waiting:
                store.append(waiting)

    def _missing(self, known: Mapping[str, Outcome]) -> list[tuple[str, list[int]]]:
        """Batches of what must be asked, each question once, also where two tasks share it."""
        seen = set(known)
        todo = []
        for task, (_, digests, batches) in self._composed.items():
            for batch in batches:
                left = []
                for k in batch:
                    if digests[k] not in seen:
                        seen.add(digests[k])
                        left.append(k)
                if left:
                    todo.append((task, left))
        return todo

    def _scorer_ready(self) -> Scorer:
        """The scorer, once the questions that are new to it were held against the model."""
        started = time.monotonic()
        new = [task for task, (_, digests, _) in self._composed.items() if not self._checked.issuperset(digests)]
        self._check_limits(new)
        known = self._scorer is not None or list(family_checks(self.model))
        self._base.load()
        if not known:  # its config.json may have come from the hub just now
            refuse(family_checks(self.model), self._note)
        if self._scorer is None:
            self._scorer = Scorer(self._base, self.settings, self._profile)
        self._scorer.check(self._composed[task][0][0] for task in new)
        self._checked.update(*(self._composed[task][1] for task in new))
        self.load_seconds += time.monotonic() - started
        return self._scorer

    def _check_limits(self, tasks: Sequence[str]) -> None:
        """Hold questions against the model's limits before its weights are loaded.

        Raises:
            InputError: questions that the model cannot take, by task and id.
        """
        faults: list[str] = []
        if not tasks:
            return
        limits = load_limits(self.model)
        for task in tasks:
            try:
                limits.check(asked_rows(task, self._composed[task][0], self._profile))
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(*faults)


@contextmanager
def _naming(adapter: CheckedAdapter | None) -> Iterator[None]:
    """Say of which model scores are that are not finite."""
    try:
        yield
    except NotFiniteScoreError as error:
        name = "the base model" if adapter is None else adapter.name
        raise NotFiniteScoreError(f"{name}: {error}", base=adapter is None) from error


def _once(note: Callable[[str], None]) -> Callable[[str], None]:
    """``note``, called with no sentence twice: a model may be loaded many times."""
    said: set[str] = set()

    def once(text: str) -> None:
        if text not in said:
            said.add(text)
            note(text)

    return once


def _after(before: int, total: int, progress: Progress) -> Callable[[int], None]:
    """Progress of one adapter as progress of all, ``before`` questions of which are done."""
    return lambda done: progress(before + done, total)


def _check_all(adapters: Sequence[Path | None]) -> list[CheckedAdapter | None]:
    """Check every adapter; all faults in one go."""
    checked: list[CheckedAdapter | None] = []
    faults: list[str] = []
    for folder in adapters:
        try:
            checked.append(None if folder is None else check_adapter(folder))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return checked


def _row(item: ItemResult) -> dict[str, Any]:
    told = {
        "id": item.id,
        "item": item.item,
        **plain(item.outcome),
        "predicted": item.predicted,
        "answer": item.answer,
        "correct": item.correct,
    }
    return {**told, "credit": item.credit} if item.numeric else told
