"""Questions put to adapters on one base model, in this process; answers go to their stores in chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig
from tvt.errors import NotFiniteScoreError, refuse
from tvt.evaluate.identity import CheckedAdapter
from tvt.evaluate.loading import attached
from tvt.evaluate.prompts import Profile
from tvt.evaluate.scorer import Batch, Scorer
from tvt.evaluate.store import AnswerStore, Row
from tvt.model.base import Loaded
from tvt.model.families import family_checks


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is to be asked of one adapter."""

    adapter: CheckedAdapter | None
    """``None`` is the base model."""
    store: AnswerStore
    """Where its answers go; held by whoever has it asked."""
    batches: Sequence[tuple[str, Batch]]
    """Each of one task: its questions and their digests."""

    @property
    def questions(self) -> int:
        """How many are to be asked."""
        return sum(len(questions) for _, (questions, _) in self.batches)


@dataclass(frozen=True, kw_only=True)
class Flush:
    """When answers are written."""

    seconds: float = 5.0
    """They are on disk after so many at the latest,"""
    items: int = 512
    """or after so many questions."""


class Asker:
    """Asks questions of one base model with whatever adapter on it.

    Args:
        base: the model, loaded when the first question is asked.
        settings: how to score.
        profile: how questions are put.
        note: told in a sentence what is worth knowing.
        flush: when answers are written.
        writer: the number of this process where several write into one store.
    """

    def __init__(
        self,
        base: Loaded,
        settings: EvaluationConfig,
        profile: Profile,
        note: Callable[[str], None],
        *,
        flush: Flush,
        writer: int | None = None,
    ) -> None:
        self._base, self._settings, self._profile = base, settings, profile
        self._note, self._flush, self._writer = note, flush, writer
        self._scorer: Scorer | None = None

    def prepare(self, samples: Iterable[Question]) -> None:
        """Load the model, and check that questions are put as they would be trained.

        Raises:
            InputError: the model cannot be used, or not for these questions.
        """
        model = self._base.config
        known = self._scorer is not None or list(family_checks(model))
        self._base.load()
        if not known:  # its config.json may have come from the hub just now
            refuse(family_checks(model), self._note)
        if self._scorer is None:
            self._scorer = Scorer(self._base, self._settings, self._profile)
        self._scorer.check(samples)

    def ask(self, part: Part, answered: Callable[[int], None]) -> None:
        """Ask all of a part and write the answers; what was answered is written also when an error ends it.

        Args:
            part: the questions.
            answered: told after each batch how many it had.

        Raises:
            InputError: the adapter does not fit, a question does not fit into memory, or scores are not finite.
        """
        self.prepare(())
        assert self._scorer is not None  # noqa: S101 - it was prepared
        batches = [batch for _, batch in part.batches]
        with (
            _naming(part.adapter),
            attached(self._base, part.adapter, self._note) as model,
            self._writing(part.store) as write,
        ):
            for (task, (questions, digests)), outcomes in zip(
                part.batches, self._scorer.score_all(model, batches), strict=True
            ):
                write([(d, task, q.id, o) for d, q, o in zip(digests, questions, outcomes, strict=True)])
                answered(len(outcomes))

    @contextmanager
    def _writing(self, store: AnswerStore) -> Iterator[Callable[[list[Row]], None]]:
        """Give a function that takes answers and writes them in chunks; what is left is written also when an error ends it."""
        waiting: list[Row] = []
        written = time.monotonic()

        def write(rows: list[Row]) -> None:
            nonlocal written
            waiting.extend(rows)
            if len(waiting) >= self._flush.items or time.monotonic() - written > self._flush.seconds:
                store.append(waiting, self._writer)
                waiting.clear()
                written = time.monotonic()

        try:
            yield write
        finally:
            if waiting:
                store.append(waiting, self._writer)


@contextmanager
def _naming(adapter: CheckedAdapter | None) -> Iterator[None]:
    """Say of which model scores are that are not finite."""
    try:
        yield
    except NotFiniteScoreError as error:
        name = "the base model" if adapter is None else adapter.name
        raise NotFiniteScoreError(f"{name}: {error}", base=adapter is None) from error
