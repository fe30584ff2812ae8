"""Scores of adapters on tasks of lmms-eval, stored like answers to tvt's own questions; what is there is not asked again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvt.core.recipe import EvaluationConfig, ModelConfig, identity
from tvt.errors import InputError
from tvt.evaluate.adapters import CheckedAdapter
from tvt.evaluate.harness.samples import Sample, TaskResult, read_result
from tvt.evaluate.harness.task import HarnessTask, remember, run
from tvt.evaluate.results import CellResult, ItemResult
from tvt.evaluate.scorer import RawAnswer
from tvt.evaluate.store import AnswerStore
from tvt.io import digest

FOLDER, LOG = ".lmms-eval.unfinished", "lmms-eval.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class HarnessItem(ItemResult):
    """One question's result, as lmms-eval scored it."""

    credit: float

    @property
    def score(self) -> float:
        """What the answer is worth, in [0, 1]."""
        return self.credit


@dataclass(frozen=True, kw_only=True)
class HarnessCell(CellResult):
    """An adapter's result on a task of lmms-eval."""

    measured: str
    """The metric, as lmms-eval names it."""

    @property
    def mark(self) -> str:
        """What tables put before its value."""
        return self.measured


@dataclass(frozen=True, kw_only=True)
class HarnessEvaluator:
    """Has lmms-eval score adapters of one base model.

    Args:
        model: the base model.
        settings: how many questions go in a pass; how they are put is lmms-eval's affair.
        folder: where scores are stored.
        note: called with a sentence that is worth knowing.
    """

    model: ModelConfig
    settings: EvaluationConfig
    folder: Path
    note: Callable[[str], None]

    def evaluate(
        self,
        adapters: Sequence[CheckedAdapter | None],
        targets: Mapping[str, HarnessTask],
        base: Mapping[str, Any],
        progress: Callable[[int], None],
    ) -> list[dict[str, CellResult]]:
        """Score every adapter on every target; ``None`` is the base model.

        Args:
            adapters: checked.
            targets: tasks of lmms-eval by the target's name.
            base: identity of the base model's content.
            progress: called with how many questions are done, over all adapters.

        Raises:
            InputError: lmms-eval or the model cannot be used, or a task's scores cannot be a target's.
            TrainingError: the process of lmms-eval died.
        """
        cells = [
            (place, name, self._store(adapter, targets[name], base))
            for place, adapter in enumerate(adapters)
            for name in targets
        ]
        with ExitStack() as held:
            for _, store in sorted({store.key: store for _, _, store in cells}.items()):
                held.enter_context(store.locked())
            known = {(place, name): _finished(store, name, targets[name].metric) for place, name, store in cells}
            missing = {(place, name): store for place, name, store in cells if known[place, name] is None}
            done = sum(targets[name].questions for place, name in known if (place, name) not in missing)
            progress(done)
            if missing:
                self._ask(adapters, targets, missing, lambda count: progress(done + count))
            results: list[dict[str, CellResult]] = [{} for _ in adapters]
            for place, name, store in cells:
                items = _finished(store, name, targets[name].metric) or ()
                asked = len(items) if (place, name) in missing else 0
                results[place][name] = _cell(adapters[place], store, name, items, asked=asked, measured=targets[name].metric)
        return results

    def _store(self, adapter: CheckedAdapter | None, target: HarnessTask, base: Mapping[str, Any]) -> AnswerStore:
        loading = {
            name: value for name, value in identity(self.model).items() if name not in ("model_name_or_path", "freeze_vision")
        }
        what = {
            "harness": target.identity,
            "base": dict(base),
            "loading": loading,
            "adapter": adapter.digest if adapter else None,
        }
        about = {"model": self.model.model_name_or_path, "adapter": adapter.name if adapter else None}
        return AnswerStore(self.folder, what, about)

    def _ask(
        self,
        adapters: Sequence[CheckedAdapter | None],
        targets: Mapping[str, HarnessTask],
        missing: Mapping[tuple[int, str], AnswerStore],
        progress: Callable[[int], None],
    ) -> None:
        """Have lmms-eval ask what is missing: one process for each environment, in which the base model is loaded once."""
        answered = 0
        for python in dict.fromkeys(targets[name].python for _, name in missing):
            cells = {cell: store for cell, store in missing.items() if targets[cell[1]].python == python}

            def on_message(kind: str, what: Any, cells: Mapping[tuple[int, str], AnswerStore] = cells) -> None:
                nonlocal answered
                if kind == "note":
                    self.note(what)
                elif kind == "changed":
                    remember(targets[what[0]], what[1])
                elif kind == "done":
                    place, name = what
                    target = targets[name]
                    self._keep(cells[place, name], name, target)
                    answered += target.questions
                    progress(answered)

            self._run(python, adapters, targets, cells, on_message)

    def _run(
        self,
        python: str | None,
        adapters: Sequence[CheckedAdapter | None],
        targets: Mapping[str, HarnessTask],
        cells: Mapping[tuple[int, str], AnswerStore],
        on_message: Callable[[str, Any], None],
    ) -> None:
        for (_, name), store in cells.items():
            shutil.rmtree(_place(store, name), ignore_errors=True)  # of a process that was killed
        names = dict.fromkeys(name for _, name in cells)
        places = dict.fromkeys(place for place, _ in cells)
        job = {
            "act": "score",
            "model": self.model.model_dump(mode="json"),
            "batch_size": self.settings.batch_size,
            "tasks": {name: targets[name].data.model_dump(mode="json") for name in names},
            "said": {name: _said(targets[name]) for name in names},
            "parts": [
                {
                    "place": place,
                    "adapter": _plain(adapters[place]),
                    "tasks": {name: str(_place(store, name).absolute()) for (of, name), store in cells.items() if of == place},
                }
                for place in places
            ],
        }
        folder = next(iter(cells.values())).folder
        run(job, python, folder, folder / LOG, on_message)
        (folder / LOG).unlink(missing_ok=True)

    def _keep(self, store: AnswerStore, name: str, target: HarnessTask) -> None:
        """Store what lmms-eval wrote of one task, and remove its files."""
        place = _place(store, name)
        result = read_result(place, target.name, target.metric, target.score_key)
        if len(result.samples) != target.questions:
            raise InputError(
                f"{name}: lmms-eval scored {len(result.samples)} of the {target.questions} questions of {target.name}; run "
                "lmms-eval alone to see why"
            )
        if not result.is_mean:
            self.note(
                f"{name}: lmms-eval's own {target.metric} of {target.name} is {result.reported:.4g} and no mean over the "
                "questions; the score here is the mean over the questions"
            )
        store.finish(name, [_row(sample) for sample in result.samples], _record(name, target, result))
        shutil.rmtree(place, ignore_errors=True)


def _place(store: AnswerStore, name: str) -> Path:
    """Where lmms-eval writes what a target got."""
    return store.folder / f"{FOLDER}-{digest.of_value(name)[:8]}"


def _said(target: HarnessTask) -> dict[str, Any]:
    """What lmms-eval said of a task."""
    return {name: value for name, value in vars(target).items() if name not in ("data", "python")}


def _plain(adapter: CheckedAdapter | None) -> dict[str, Any] | None:
    return None if adapter is None else {**asdict(adapter), "folder": str(adapter.folder.absolute())}


def _record(name: str, target: HarnessTask, result: TaskResult) -> dict[str, Any]:
    correct = {"task": name, "total": len(result.samples), "accuracy": result.mean}
    return {**correct, "harness": target.identity, "reported": result.reported}


def _row(sample: Sample) -> dict[str, Any]:
    values = {"raw": sample.answer, "predicted": sample.predicted, "answer": sample.target}
    return {"id": sample.id, "item": sample.item, **values, "correct": sample.credit == 1, "credit": sample.credit}


def _finished(store: AnswerStore, name: str, metric: str) -> tuple[HarnessItem, ...] | None:
    """The items of a target that was scored before; ``None`` where it was not.

    Raises:
        InputError: they were changed since.
    """
    if not store.record_path(name).exists():
        return None
    rows, _ = store.finished(name)
    return tuple(
        HarnessItem(
            id=row["id"],
            item=row["item"],
            outcome=RawAnswer(raw=row["raw"]),
            predicted=row["predicted"],
            answer=row["answer"],
            metric=f"lmms-eval {metric}",
            credit=row["credit"],
        )
        for row in rows
    )


def _cell(
    adapter: CheckedAdapter | None, store: AnswerStore, name: str, items: Sequence[HarnessItem], *, asked: int, measured: str
) -> HarnessCell:
    return HarnessCell(
        adapter=adapter.name if adapter else None,
        digest=adapter.digest if adapter else None,
        key=store.key,
        target=name,
        items=tuple(items),
        asked=asked,
        measured=measured,
    )
