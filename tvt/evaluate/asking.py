"""Questions put to adapters on one base model, in this process, in batches of like size; answers go to stores in chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig
from tvt.errors import InputError, NotFiniteScoreError, refuse
from tvt.evaluate.adapters import CheckedAdapter, attached
from tvt.evaluate.prompts import Profile
from tvt.evaluate.scorer import Batch, Scorer
from tvt.evaluate.store import AnswerStore, Row
from tvt.model.base import Loaded
from tvt.model.families import family_checks
from tvt.model.limits import ShownRow
from tvt.model.picture import PictureError, shown_size


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """The questions for one adapter."""

    adapter: CheckedAdapter | None
    """``None`` is the base model."""
    store: AnswerStore
    """Where its answers go; the caller holds its lock."""
    batches: Sequence[tuple[str, Batch]]
    """Each of one task: its questions and their digests."""

    @property
    def questions(self) -> int:
        """How many there are."""
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
        note: called with a sentence that is worth knowing.
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
        self.base, self._settings, self._profile = base, settings, profile
        self._note, self._flush, self._writer = note, flush, writer
        self._scorer: Scorer | None = None

    def prepare(self, samples: Iterable[Question]) -> None:
        """Load the model, and check that questions are put as they would be trained.

        Raises:
            InputError: the model cannot be used, or not for these questions.
        """
        model = self.base.config
        known = self._scorer is not None or list(family_checks(model))
        self.base.load()
        if not known:  # its config.json may have come from the hub just now
            refuse(family_checks(model), self._note)
        if self._scorer is None:
            self._scorer = Scorer(self.base, self._settings, self._profile)
        self._scorer.check(samples)

    def ask(self, request: ScoringRequest, answered: Callable[[int], None]) -> None:
        """Ask all questions of a request and write the answers; what was answered is written also when an error ends it.

        Args:
            request: the questions.
            answered: called after each batch with its number of questions.

        Raises:
            InputError: the adapter does not fit, a question does not fit into memory, or scores are not finite.
        """
        self.prepare(())
        assert self._scorer is not None  # noqa: S101 - it was prepared
        batches = [batch for _, batch in request.batches]
        with (
            naming(request.adapter),
            attached(self.base, request.adapter, self._note) as model,
            writing(request.store, self._flush, self._writer) as write,
        ):
            for (task, (questions, digests)), outcomes in zip(
                request.batches, self._scorer.score_all(model, batches), strict=True
            ):
                write([(d, task, q.id, o) for d, q, o in zip(digests, questions, outcomes, strict=True)])
                answered(len(outcomes))


@contextmanager
def writing(store: AnswerStore, flush: Flush, writer: int | None = None) -> Iterator[Callable[[list[Row]], None]]:
    """Give a function that takes answers and writes them in chunks; what is left is written also when an error ends it."""
    waiting: list[Row] = []
    written = time.monotonic()

    def write(rows: list[Row]) -> None:
        nonlocal written
        waiting.extend(rows)
        if len(waiting) >= flush.items or time.monotonic() - written > flush.seconds:
            store.append(waiting, writer)
            waiting.clear()
            written = time.monotonic()

    try:
        yield write
    finally:
        if waiting:
            store.append(waiting, writer)


@contextmanager
def naming(adapter: CheckedAdapter | None) -> Iterator[None]:
    """Name the model in an error about scores that are not finite."""
    try:
        yield
    except NotFiniteScoreError as error:
        name = "the base model" if adapter is None else adapter.name
        raise NotFiniteScoreError(f"{name}: {error}", base=adapter is None) from error


TOKENS_PER_QUESTION = 2048
"""A batch is padded to at most this many tokens a question on average; larger questions go in smaller batches."""
_PIXELS_PER_TOKEN = 28 * 28
_LETTERS_PER_TOKEN = 3


def compose(
    questions: Sequence[Question], batch_size: int, max_pixels: int | None = None, min_pixels: int | None = None
) -> list[list[int]]:
    """Indices in batches of questions with equally many images and of similar size, the largest first; open-ended ones,
    whose answers are always generated, apart from the others and after them.

    The composition depends on these questions alone, not on which of them are done already, so that an evaluation which goes
    on after an interruption pads as the uninterrupted one did. Equal image counts keep text-only questions apart, which many
    processors cannot mix with others. The largest come first, so that a lack of memory shows at once.

    Args:
        questions: in any order.
        batch_size: questions in a batch, at most.
        max_pixels: to which pictures are scaled down.
        min_pixels: to which they are scaled up.

    Raises:
        InputError: images that cannot be read, one line each.
    """
    sizes = _sizes(questions, max_pixels, min_pixels)
    order = sorted(range(len(questions)), key=lambda k: (questions[k].open_ended, -len(questions[k].images), -sizes[k], k))
    batches: list[list[int]] = []
    for k in order:
        batch = batches[-1] if batches else None
        fits = (
            batch is not None
            and questions[batch[0]].open_ended == questions[k].open_ended
            and len(questions[batch[0]].images) == len(questions[k].images)
            and len(batch) < batch_size
            and (len(batch) + 1) * sizes[batch[0]] <= TOKENS_PER_QUESTION * batch_size
        )
        if fits and batch is not None:
            batch.append(k)
        else:
            batches.append([k])
    return batches


def _sizes(questions: Sequence[Question], max_pixels: int | None, min_pixels: int | None) -> list[int]:
    """About how many tokens each question takes."""
    sizes, faults = [], []
    known: dict[bytes, int] = {}  # the questions about a video share its frames
    for question in questions:
        size = sum(map(len, (question.prompt, *(text for turn in question.turns for text in turn)))) // _LETTERS_PER_TOKEN
        for place, data in enumerate(question.images):
            try:
                if data not in known:
                    width, height = shown_size(data, max_pixels, min_pixels)
                    known[data] = width * height // _PIXELS_PER_TOKEN
                size += known[data]
            except PictureError as error:
                where = f"{question.task}, question {question.id}: image {place + 1}"
                faults.append(f"{where} cannot be read ({error}); replace the file")
        sizes.append(size)
    if faults:
        raise InputError(*faults)
    return sizes


def question_rows(task: str, questions: Iterable[Question], profile: Profile) -> Iterator[ShownRow]:
    """Texts and pictures of each question, named by task and id.

    Raises:
        InputError: a question cannot be put as the profile says.
    """
    for question in questions:
        texts = [piece["text"] for piece in profile.content(question) if "text" in piece]
        earlier = [text for turn in question.turns for text in turn]
        yield ShownRow(name=f"{task}, question {question.id}", texts=(*earlier, *texts), images=question.images)
