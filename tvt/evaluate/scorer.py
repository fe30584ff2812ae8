"""A model's answers: scores of the option letters, or text generated greedily, as answers to open-ended questions always are.

Inputs are prepared by several threads ahead of the device, and stored for the next adapter as far as memory allows.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, assert_never

from tvt.core.question import Question
from tvt.core.recipe import EvaluationConfig
from tvt.errors import InputError, NotFiniteScoreError, needs_train_extra
from tvt.evaluate.prompts import Profile, read_profile
from tvt.io import machine
from tvt.model.base import Loaded
from tvt.model.chat import Chat, Message, Prompt
from tvt.model.inputs import Sample, check_agreement, prompt_inputs
from tvt.model.picture import PictureError, decode

_LOG = logging.getLogger(__name__)

PREPARED_AHEAD = 2
"""Batches that are prepared while another one is in the model, beside those that further threads prepare."""

Batch = tuple[Sequence[Question], Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawAnswer:
    """What the model gave for a question, before it is judged."""

    scores: tuple[float, ...] | None = None
    """Log-probability of each option's letter as the next token; their sum may be far below 1. For mode *options*."""
    raw: str | None = None
    """The generated answer as it is. For mode *generate*, and for open-ended questions."""


class Scorer:
    """Scores questions on one loaded base model, with any adapter on it.

    Args:
        loaded: base model and processor.
        settings: mode and generation settings.
        profile: how questions are put; default: as the settings say.

    Raises:
        InputError: the settings' prompt cannot be used.
    """

    def __init__(self, loaded: Loaded, settings: EvaluationConfig, profile: Profile | None = None) -> None:
        self.processor = loaded.processor
        self.device = loaded.device
        self.settings = settings
        self._pixels = loaded.config.max_pixels, loaded.config.min_pixels
        self._profile = profile or read_profile(settings.prompt)
        self.tokenizer = loaded.processor.tokenizer
        self._chat = Chat(loaded.processor)
        self._loaded = loaded
        self._keeps_logits = "logits_to_keep" in inspect.signature(loaded.model.forward).parameters
        self._letters: dict[str, list[list[int]]] = {}
        self.stored = StoredInputs()
        # A tokenizer serves one thread at a time, and this one's the letters that are looked up while batches are prepared.
        self._copies = Copies(lambda: Chat(loaded.processor))

    def score_all(self, model: Any, batches: Sequence[Batch]) -> Iterator[list[RawAnswer]]:
        """Score batches one after the other, while the next ones are being prepared.

        Args:
            model: the base model, or it with an adapter on.
            batches: questions with equally many images, all or none of them open-ended, and their digests.
        """
        self.stored.next_turn()
        threads = preparing_threads(self.device)
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Any]] = deque()
            for place, (questions, _) in enumerate(batches):
                for ahead in batches[place + len(waiting) : place + threads + PREPARED_AHEAD]:
                    waiting.append(pool.submit(self._inputs, *ahead))
                yield self._answer(model, waiting.popleft().result(), questions)
        _LOG.debug(
            "prepared inputs: %d batches were stored, %d were not; %d bytes",
            self.stored.hits,
            self.stored.misses,
            self.stored.bytes,
        )

    def score(self, model: Any, questions: Sequence[Question]) -> list[RawAnswer]:
        """Score questions with equally many images in one pass."""
        return self._answer(model, self._inputs(questions, ()), questions)

    def _answer(self, model: Any, prepared: Any, questions: Sequence[Question]) -> list[RawAnswer]:
        """One pass, or two smaller ones where memory does not suffice."""
        with needs_train_extra():
            import torch
        act = self._generate if questions[0].open_ended else self._act()
        try:
            with torch.inference_mode():
                return act(model, prepared.to(self.device), questions)
        except torch.OutOfMemoryError as error:
            if len(questions) == 1:
                line = f"{questions[0].task}, question {questions[0].id}: does not fit into the GPU's memory even alone"
                raise InputError(f"{line}; use a smaller model, 4 bits or smaller images (model.max_pixels)") from error
        _LOG.debug("%d questions do not fit into the GPU's memory; they are asked in halves", len(questions))
        torch.cuda.empty_cache()
        half = len(questions) // 2
        return [*self.score(model, questions[:half]), *self.score(model, questions[half:])]

    def _act(self) -> Callable[[Any, Any, Sequence[Question]], list[RawAnswer]]:
        """How questions with options are answered."""
        match self.settings.mode:
            case "options":
                return self._options
            case "generate":
                return self._generate
            case unknown:
                assert_never(unknown)

    def _options(self, model: Any, inputs: Any, questions: Sequence[Question]) -> list[RawAnswer]:
        """Log-probabilities of the option letters as the very next token."""
        import torch

        outcomes = []
        for best, question in zip(self.letter_scores(model, inputs, questions), questions, strict=True):
            if not torch.isfinite(best).all():  # the largest of NaNs would be the first letter
                raise self._not_finite(question)
            outcomes.append(RawAnswer(scores=tuple(best.tolist())))
        return outcomes

    def letter_scores(self, model: Any, inputs: Any, questions: Sequence[Question]) -> list[Any]:
        """Log-probabilities of each question's option letters as the very next token, a tensor (options,) each.

        Args:
            model: the base model, or it with an adapter on.
            inputs: from :meth:`prepare`, on the model's device.
            questions: with options.
        """
        import torch

        extra = {"logits_to_keep": 1} if self._keeps_logits else {}
        positions = self._positions(inputs)
        logits = model(**inputs, **positions, **extra, use_cache=False).logits[:, -1].float()
        scores = torch.log_softmax(logits, -1)
        return [
            torch.stack([row[tokens] for tokens in self.letter_tokens(question)]).max(0).values
            for row, question in zip(scores, questions, strict=True)
        ]

    def _generate(self, model: Any, inputs: Any, questions: Sequence[Question]) -> list[RawAnswer]:
        """Greedy answers; the model's own sampling habits and penalties are switched off."""
        import transformers

        library: Any = transformers
        greedy = library.GenerationConfig(
            max_new_tokens=self.settings.max_new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            repetition_penalty=1.0,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self._loaded.model.generation_config.eos_token_id or self.tokenizer.eos_token_id,
        )
        check = FiniteLogits()
        with _generating(self._loaded.model, greedy):
            tokens = model.generate(**inputs, generation_config=greedy, logits_processor=library.LogitsProcessorList([check]))
        if check.bad is not None and check.bad.any():
            raise self._not_finite(questions[int(check.bad.int().argmax())])
        answers = self.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [RawAnswer(raw=answer) for answer in answers]

    def _not_finite(self, question: Question) -> NotFiniteScoreError:
        dtype = self._loaded.config.dtype
        step = (
            "score and train in bfloat16 or float32"
            if dtype == "float16"
            else "look for damaged weights, or lower the learning rate"
        )
        return NotFiniteScoreError(
            f"{question.task}, question {question.id}: the scores are not finite numbers, in {dtype}; {step}", base=True
        )

    def _positions(self, inputs: Any) -> dict[str, Any]:
        """Positions counted from each prompt's first token, as generation counts them, whatever the padding.

        Left to itself the forward pass of some models counts padding too, and of Qwen-VL reuses offsets of an earlier batch.
        """
        base = self._loaded.model
        prepare = getattr(base, "_prepare_position_ids_for_generation", None)
        if prepare is None or "position_ids" not in inspect.signature(base.forward).parameters:
            return {}
        return {"position_ids": prepare(inputs["input_ids"], dict(inputs))}

    def letter_tokens(self, question: Question) -> list[list[int]]:
        """Token ids of a question's letters where an answer to it is trained, once per spelling (``A`` and `` A``).

        Raises:
            InputError: in no spelling are they single, distinct tokens.
        """
        letters = question.letters
        if letters not in self._letters:  # what precedes an answer is the template's, the same for all questions
            tokens = self._chat.letters(self._prompt(self._chat, question), letters)
            if not tokens:
                names = ", ".join(letters)
                raise InputError(f"the model's tokenizer has no single tokens for the letters {names}; use --mode generate")
            self._letters[letters] = tokens
        return self._letters[letters]

    def _inputs(self, questions: Sequence[Question], keys: Sequence[str]) -> Any:
        """Prepared inputs, from an earlier adapter's turn where they are still there."""
        return self.stored.get(tuple(keys), lambda: self.prepare(questions)) if keys else self.prepare(questions)

    def prepare(self, questions: Sequence[Question]) -> Any:
        """Left-padded model inputs on the CPU: what the profile makes of each question, up to where an answer begins.

        Args:
            questions: with equally many images.
        """
        pictures = [_decoded(question, *self._pixels) for question in questions]

        def made(chat: Chat) -> Any:
            prompts = [self._prompt(chat, question).text for question in questions]
            return prompt_inputs(chat.processor, prompts, pictures)

        return self._copies.use(made)

    def check(self, questions: Iterable[Question]) -> None:
        """Check that questions are scored as they would be trained.

        Raises:
            InputError: see :func:`tvt.model.inputs.check_agreement`.
        """
        check_agreement(self.processor, map(self.sample, questions))

    def sample(self, question: Question) -> Sample:
        """A question with its right answer, as a row that is trained on."""
        return Sample(
            name=f"{question.task}, question {question.id}",
            images=_decoded(question, *self._pixels),
            prompt=self._messages(question),
            completion=[{"role": "assistant", "content": question.answer}],
        )

    def _prompt(self, chat: Chat, question: Question) -> Prompt:
        return chat.prompt(self._messages(question))

    def _messages(self, question: Question) -> list[Message]:
        return conversation(question, self._profile)


def conversation(question: Question, profile: Profile) -> list[Message]:
    """A question as a model is asked it: the images and the first prompt, then what was said since, if anything.

    Earlier turns stand as rows have them, as in training; the profile puts a question without them, or the last prompt.
    """
    if not question.turns:
        return [{"role": "user", "content": profile.content(question)}]
    shown = [{"type": "image"} for _ in question.images]
    messages: list[Message] = []
    for turn in question.turns:
        messages.append({"role": "user", "content": [*(shown if not messages else ()), {"type": "text", "text": turn.prompt}]})
        messages.append({"role": "assistant", "content": turn.answer})
    return [*messages, {"role": "user", "content": profile.content(replace(question, images=()))}]


def _decoded(question: Question, max_pixels: int | None = None, min_pixels: int | None = None) -> list[Any]:
    return [_decode(question, place, max_pixels, min_pixels) for place in range(len(question.images))]


def _decode(question: Question, place: int, max_pixels: int | None, min_pixels: int | None) -> Any:
    """An image of a question, as RGB."""
    try:
        return decode(question.images[place], max_pixels, min_pixels)
    except PictureError as error:
        line = f"{question.task}, question {question.id}: image {place + 1} cannot be read"
        raise InputError(f"{line}: {error}; replace the file") from error


@contextmanager
def _generating(model: Any, settings: Any) -> Iterator[None]:
    """Put settings in the place of the model's own, from which generation would take whatever they leave open."""
    own = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = own


class FiniteLogits:
    """Checks every step's logits and changes none: a NaN would be generated as some token."""

    def __init__(self) -> None:
        self.bad: Any = None
        """For each question of the batch, whether any step had a NaN or plus infinity."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        bad = (scores.isnan() | scores.isposinf()).any(-1)
        self.bad = bad if self.bad is None else self.bad | bad
        return scores


STORED_SHARE = 0.25
"""Stored inputs take at most this share of the memory that is free or holds them, so that workers leave each other some."""
THREADS = 4
"""At most so many batches are prepared at once beside a GPU: decoding and scaling pictures leaves Python's lock."""


def preparing_threads(device: Any) -> int:
    """How many batches are prepared at once; on a CPU the model has the cores."""
    return max(1, min(THREADS, machine.cores() - 1)) if device.type == "cuda" else 1


class StoredInputs:
    """Inputs that were prepared, stored for the next adapter, which is asked the same questions in the same order.

    What came first stays, and what there is no room for is not stored: to drop the oldest for the newest would leave of a round
    of questions larger than the room just those that are asked last, and none would ever be used again. Only inputs that a
    full turn did not use make room.
    """

    def __init__(self) -> None:
        self.hits = self.misses = 0
        """How often inputs were stored already, and how often not."""
        self.bytes = 0
        """Of the tensors that are stored."""
        self._inputs: dict[Hashable, tuple[Any, int]] = {}
        self._asked: dict[Hashable, int] = {}
        self._turn = 0
        self._lock = Lock()

    def next_turn(self) -> None:
        """Another adapter is asked all questions."""
        self._turn += 1

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The inputs of a key, made where they are not stored; the mapping is the caller's own, and its tensors are shared."""
        with self._lock:
            if key in self._inputs:
                self.hits += 1
                self._asked[key] = self._turn
                return self._inputs[key][0].copy()
            self.misses += 1
        made = make()
        with self._lock:
            self._store(key, made)
        return made

    def _store(self, key: Hashable, made: Any) -> None:
        size = stored_bytes(made)
        if key in self._inputs:
            return
        if not self._room(size):
            self._drop_unasked()
        if self._room(size):
            self._inputs[key], self._asked[key] = (made.copy(), size), self._turn
            self.bytes += size

    def _room(self, size: int) -> bool:
        return self.bytes + size <= STORED_SHARE * (machine.memory()[0] + self.bytes)

    def _drop_unasked(self) -> None:
        for key in [key for key, turn in self._asked.items() if turn < self._turn - 1]:
            self.bytes -= self._inputs.pop(key)[1]
            del self._asked[key]


class Copies:
    """Copies of something that serves one thread at a time, such as a tokenizer; as many as are in use at once."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: LifoQueue[Any] = LifoQueue()
        self._making = Lock()

    def use(self, act: Callable[[Any], Any]) -> Any:
        """What ``act`` makes of a copy that no other thread uses meanwhile."""
        try:
            one = self._free.get_nowait()
        except Empty:
            with self._making:
                one = copy.deepcopy(self._make())
        try:
            return act(one)
        finally:
            self._free.put(one)


def stored_bytes(inputs: Any) -> int:
    """Bytes of memory that the tensors hold: of a part of a larger one, all of it; of what two share, once."""
    tensors = [value for value in inputs.values() if hasattr(value, "untyped_storage")]
    stores = {store.data_ptr(): store.nbytes() for store in (tensor.untyped_storage() for tensor in tensors)}
    return sum(stores.values())
