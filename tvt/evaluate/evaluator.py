"""Many adapters on one loaded base model, each asked the questions of many tasks; stored answers are not asked for again."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tvt.core.choices import READERS
from tvt.core.metrics import metric_of
from tvt.core.question import Question
from tvt.core.recipe import EndpointConfig, EvaluationConfig, ModelConfig
from tvt.errors import InputError
from tvt.evaluate.adapters import CheckedAdapter, check_adapter
from tvt.evaluate.asking import Asker, Flush, ScoringRequest, compose, question_rows
from tvt.evaluate.endpoint import EndpointAsker, endpoint_faults
from tvt.evaluate.harness.evaluator import HarnessEvaluator
from tvt.evaluate.harness.task import HarnessTask
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.readers import find_reader
from tvt.evaluate.results import CellResult, ItemResult, judge, metric_faults
from tvt.evaluate.scorer import Batch, RawAnswer
from tvt.evaluate.sharing import ScoringProcesses, ask_together
from tvt.evaluate.store import SCORER_VERSION, AnswerStore, item_digest, model_identity, plain, run_identity, superseded_answers
from tvt.io.names import quoted_name, same_files
from tvt.model.base import Loaded
from tvt.model.families import question_fault
from tvt.model.limits import ModelLimits, load_limits
from tvt.types import silent

_LOG = logging.getLogger(__name__)

Target = Sequence[Question] | HarnessTask
"""What a target asks: questions, or a task whose questions lmms-eval asks."""
Progress = Callable[[int, int], None]
"""Called with how many questions are done and how many there are, over all adapters and tasks."""


class Evaluator:
    """Scores adapters of one base model, which is loaded when the first question without a stored answer comes.

    Args:
        model: the base model.
        settings: how to score.
        folder: where answers are stored; share it between evaluations, also of other models.
        base: the model itself, where others use it too.
        together: the processes that ask; each loads the model for itself, and this one does not.
        reader: name of what reads the letter or number in a generated answer (:mod:`tvt.evaluate.readers`); another one asks
            nothing again.
        note: called with a sentence that is worth knowing, never twice with the same.
        flush: when answers are written.
        endpoint: the server that is asked, where the settings say so.

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
        together: ScoringProcesses | None = None,
        reader: str = READERS.default,
        note: Callable[[str], None] = silent,
        flush: Flush | None = None,
        endpoint: EndpointConfig | None = None,
    ) -> None:
        self.model = model
        self.settings = settings
        self.folder = folder
        self.reader = find_reader(reader)
        self._profile = read_profile(settings.prompt)
        self._note = _once(note)
        self._flush = flush or Flush()
        self._together = together or ScoringProcesses()
        self._asker: Asker | EndpointAsker
        if settings.backend == "endpoint":
            server = endpoint or EndpointConfig()
            self._together = ScoringProcesses()  # a server is asked by one
            self._asker = EndpointAsker(model, settings, self._profile, server, self._note, self._flush)
        else:
            self._asker = Asker(base or Loaded(config=model), settings, self._profile, self._note, flush=self._flush)
        self._pixels = model.max_pixels, model.min_pixels
        self._identity: dict[str, Any] | None = None
        self._superseded_noted = False
        self.load_seconds = 0.0
        """How long loading the model took so far, checking questions against its limits included."""
        self._checked: set[str] = set()
        """Digests of the questions that were checked against the model's limits."""
        self._composed: dict[str, tuple[list[Question], list[str], list[list[int]]]] = {}

    def evaluate(
        self,
        adapters: Sequence[Path | None],
        questions: Mapping[str, Target],
        progress: Progress = silent,
    ) -> list[dict[str, CellResult]]:
        """Score every adapter on every task; ``None`` is the base model. lmms-eval's tasks come last.

        All adapters are checked before the first question is asked.

        Returns:
            For each adapter its cells by task, in the order given.

        Raises:
            InputError: adapters, questions or the model cannot be used; what is scored already stays.
        """
        beside = {task: asked for task, asked in questions.items() if isinstance(asked, HarnessTask)}
        own = {task: asked for task, asked in questions.items() if not isinstance(asked, HarnessTask)}
        if not beside:
            return self._evaluate(adapters, own, progress)
        if self.settings.backend == "endpoint":
            step = "take evaluation.backend: local, or leave them out"
            raise InputError(f"{', '.join(beside)}: lmms-eval scores its tasks on the model itself, not by an endpoint; {step}")
        total, more = (
            len(adapters) * sum(question_count(asked, self.settings.questions) for asked in of.values()) for of in (own, beside)
        )
        results = self._evaluate(adapters, own, lambda done, _: progress(done, total + more)) if own else [{} for _ in adapters]
        checked = _check_all(adapters)
        self._note_first(checked)
        self._make_room()
        harness = HarnessEvaluator(model=self.model, settings=self.settings, folder=self.folder, note=self._note)
        scored = harness.evaluate(checked, beside, self._base_identity(), lambda done: progress(total + done, total + more))
        return [{task: (mine | theirs)[task] for task in questions} for mine, theirs in zip(results, scored, strict=True)]

    def _make_room(self) -> None:
        """Release the model where another process could not load it beside: on a GPU most of whose memory is taken."""
        if not isinstance(self._asker, Asker):
            return
        loaded = self._asker.base
        if loaded.device is None or loaded.device.type != "cuda":
            return
        import torch

        free, whole = torch.cuda.mem_get_info(loaded.device)
        if free < whole / 2:
            loaded.release()

    def _evaluate(
        self, adapters: Sequence[Path | None], questions: Mapping[str, Sequence[Question]], progress: Progress
    ) -> list[dict[str, CellResult]]:
        """Score every adapter on tasks whose questions are here."""
        self._compose(questions)
        checked = _check_all(adapters)
        if self.settings.backend == "endpoint" and (faults := endpoint_faults(checked)):
            raise InputError(*faults)
        self._note_first(checked)
        each = sum(len(items) for items, _, _ in self._composed.values())
        # Processes load the model once for all adapters; one process has it, and holds no store longer than it need be.
        groups = [checked] if self._together.processes > 1 else [[adapter] for adapter in checked]
        results: list[dict[str, CellResult]] = []
        for group in groups:
            results += self._evaluate_together(group, _after(len(results) * each, len(checked) * each, progress))
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
            faults += metric_faults(task, items, self.settings.mode)
            if without and (bare := [item.id for item in items if not item.images]):
                faults.append(f"{task}: {len(bare)} questions have no image, e.g. {bare[0]}: {without}")
            if items:
                try:
                    digests = [item_digest(item, self.settings, self._profile, images) for item in items]
                    self._composed[task] = (items, digests, compose(items, self.settings.batch_size, *self._pixels))
                except InputError as error:
                    faults += error.faults
        self._composed = {task: self._composed[task] for task in questions if task in self._composed}
        if faults:
            raise InputError(*faults)

    def store(self, adapter: CheckedAdapter | None) -> AnswerStore:
        """Where the answers of an adapter are stored."""
        identity = run_identity(
            self.model, self._base_identity(), self.settings, self._profile, adapter.digest if adapter else None
        )
        about = {"model": self.model.model_name_or_path, "adapter": adapter.name if adapter else None}
        return AnswerStore(self.folder, identity, about)

    def _base_identity(self) -> dict[str, Any]:
        if self._identity is None:
            self._identity = model_identity(self.model, self.folder / "model-digests.json")
        return self._identity

    def _evaluate_together(
        self, adapters: Sequence[CheckedAdapter | None], progress: Callable[[int], None]
    ) -> list[dict[str, CellResult]]:
        """Some adapters on all tasks; their stores are held, in an order that is the same in all processes."""
        stores = [self.store(adapter) for adapter in adapters]
        with ExitStack() as held:
            for _, store in sorted({store.key: store for store in stores}.items()):
                held.enter_context(store.locked())
            known = {store.key: store.load() for store in stores}
            parts = {
                store.key: ScoringRequest(adapter=adapter, store=store, batches=self._missing(known[store.key]))
                for adapter, store in zip(reversed(adapters), reversed(stores), strict=True)
            }
            self._ask([part for part in parts.values() if part.batches], len(adapters), progress)
            for key, part in parts.items():
                if part.batches:
                    known[key] = part.store.load()
                    _check_answered(part, known[key])
            return [
                self._cells(adapter, parts.pop(store.key, None), store, known[store.key])
                for adapter, store in zip(adapters, stores, strict=True)
            ]

    def _cells(
        self, adapter: CheckedAdapter | None, part: ScoringRequest | None, store: AnswerStore, known: Mapping[str, RawAnswer]
    ) -> dict[str, CellResult]:
        """An adapter's cells from its answers; ``part`` is what was asked for them just now."""
        asked = Counter(dict.fromkeys(self._composed, 0))
        for task, (questions, _) in part.batches if part is not None else ():
            asked[task] += len(questions)
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

    def _ask(self, parts: Sequence[ScoringRequest], adapters: int, progress: Callable[[int], None]) -> None:
        """Ask what is not known yet, here or in processes of their own."""
        total = adapters * sum(len(items) for items, _, _ in self._composed.values())
        done = total - sum(part.questions for part in parts)
        _LOG.debug("%d of %d answers are stored", done, total)
        progress(done)
        if not parts:
            return

        def answered(count: int) -> None:
            nonlocal done
            done += count
            progress(done)

        started = time.monotonic()
        new = [task for task, (_, digests, _) in self._composed.items() if not self._checked.issuperset(digests)]
        self._check_limits(new)
        if self._together.processes > 1:
            self.load_seconds += time.monotonic() - started
            self.load_seconds += ask_together(
                parts, self.model, self.settings, self._flush, self._together, self._note, answered
            )
        else:
            self._asker.prepare(self._composed[task][0][0] for task in new)
            self.load_seconds += time.monotonic() - started
            for part in parts:
                self._asker.ask(part, answered)
        self._checked.update(*(self._composed[task][1] for task in new))

    def _note_first(self, checked: Sequence[CheckedAdapter | None]) -> None:
        """What must be known before any score: what is special about adapters, and which stored answers are not used."""
        for adapter in checked:
            cautions = () if adapter is None else (adapter.caution, adapter.size_caution(*self._pixels))
            for text in filter(None, cautions):
                self._note(f"{adapter.name}: {text}" if adapter is not None else text)
        digests = {None if adapter is None else adapter.digest for adapter in checked}
        count = superseded_answers(self.folder, self._base_identity(), digests, SCORER_VERSION)
        if count and not self._superseded_noted:  # a study evaluates run after run: one line will do
            self._superseded_noted = True
            self._note(
                f"{self.folder}: {count:,} answers were given to an earlier version of the scorer and are not used; "
                "their questions are asked again"
            )

    def _missing(self, known: Mapping[str, RawAnswer]) -> list[tuple[str, Batch]]:
        """Batches of what must be asked, each question once, also where two tasks share it."""
        covered = set(known)
        todo: list[tuple[str, Batch]] = []
        for task, (items, digests, batches) in self._composed.items():
            for batch in batches:
                left = []
                for k in batch:
                    if digests[k] not in covered:
                        covered.add(digests[k])
                        left.append(k)
                if left:
                    todo.append((task, ([items[k] for k in left], [digests[k] for k in left])))
        return todo

    def _note_length(self, task: str, limits: ModelLimits) -> None:
        """Note where right answers are longer than generated ones may be: no answer could be right then."""
        texts = [q for q in self._composed[task][0] if (metric := metric_of(q)) is not None and metric.reads == "text"]
        tokens = [_shortest(question, limits) for question in texts]
        long = sum(count > self.settings.max_new_tokens for count in tokens)
        if long:
            self._note(
                f"{task}: {long:,} of {len(tokens):,} right answers are longer than max_new_tokens = "
                f"{self.settings.max_new_tokens} (the longest has {max(tokens):,} tokens), so no answer matches them; raise it"
            )

    def _check_limits(self, tasks: Sequence[str]) -> None:
        """Check questions against the model's limits before its weights are loaded.

        Raises:
            InputError: questions that the model cannot take, by task and id.
        """
        faults: list[str] = []
        if not tasks:
            return
        limits = load_limits(self.model)
        for task in tasks:
            self._note_length(task, limits)
            try:
                limits.check(question_rows(task, self._composed[task][0], self._profile))
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(*faults)


def _shortest(question: Question, limits: ModelLimits) -> int:
    """Tokens of the shortest accepted answer."""
    return min(map(limits.text_tokens, question.accepted))


def question_count(asked: Target, limit: int | None) -> int:
    """How many questions a target asks, at most ``limit``."""
    count = asked.questions if isinstance(asked, HarnessTask) else len(asked)
    return count if limit is None else min(count, limit)


def _check_answered(part: ScoringRequest, known: Mapping[str, RawAnswer]) -> None:
    """Refuse to go on where processes answered, and their answers did not arrive."""
    lost = sum(digest not in known for _, (_, digests) in part.batches for digest in digests)
    if lost:
        raise InputError(
            f"{part.store.folder}: {lost:,} answers of other machines are not there; use a folder on a disk that all share"
        )


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
    row = {
        "id": item.id,
        "item": item.item,
        **plain(item.outcome),
        "predicted": item.predicted,
        "answer": item.answer,
        "correct": item.correct,
    }
    return {**row, "credit": item.score} if item.open_ended else row
