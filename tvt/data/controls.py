"""Controls: the same questions with answers that teach nothing of the task.

What finetuning on them does to a target is what any finetuning does to it: learning the form of answers, undoing habits of the
base model, forgetting. A share of a task's answers can be replaced (``shuffled``), and whole runs can be made of such rows
(:class:`Control`), which are called placebos.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tvt.core.question import LETTERS, Question
from tvt.core.scores import PlaceboKind

CONTROL_VERSION = 1
"""Raised whenever a placebo's rows would be others."""
PROMPTS = 256
"""Rows of a source whose prompts (and answers, where these are no letters) other rows are given."""
_REMEMBERED = 256
"""Answers among which one is drawn for a question without options."""
_TRIES = 64
"""Draws of another prompt before all are looked at: most differ from a row's own."""


def shuffled(questions: Iterable[Question], share: float, task: str) -> Iterator[Question]:
    """The questions with the answers of a share of them replaced at random; a question's draw does not depend on the others'.

    The answer to a question with options becomes any of their letters, the right one among them; that to a question without
    options becomes the answer of one of the questions before it. Earlier turns, whose answers are right, are left out then.

    Args:
        questions: of one task.
        share: how many of them get another answer, 0 to 1.
        task: with a question's id, the seed of its draws.
    """
    earlier: deque[str] = deque(maxlen=_REMEMBERED)
    for question in questions:
        draws = _draws(task, question.id)
        changed = draws.random() < share
        among = question.letters or earlier or (question.answer,)
        earlier.append(question.answer)
        answer = among[int(draws.integers(len(among)))]
        yield replace(question, answer=answer, answers=(), turns=()) if changed else question


class Asked(NamedTuple):
    """What a row asks, without its pictures."""

    prompt: str
    options: tuple[str, ...]
    answer: str


def asked(questions: Iterable[Question]) -> tuple[Asked, ...]:
    """What the first questions of a source ask."""
    return tuple(Asked(q.prompt, q.options, q.answer) for q in islice(questions, PROMPTS))


@dataclass(frozen=True, kw_only=True)
class Control:
    """Replaces prompts and answers of training rows, so that they teach nothing of their task; pictures stay, earlier turns do
    not.

    A row's draws depend on its source and id alone: every run that uses the row shows it alike.
    """

    kind: PlaceboKind
    prompts: Mapping[str, tuple[Asked, ...]]
    """By source, from :func:`asked`."""

    def row(self, source: str, row_id: str, own: Asked) -> Asked:
        """What a row asks and is answered by, in place of its own.

        *shuffled*: its own prompt, with one of its options (or an answer of its source, where it has none) by chance. *format*:
        the prompt of a row of another source, with an answer that is drawn likewise.
        """
        draws = _draws("placebo", self.kind, source, row_id)
        owner, shown = (source, own) if self.kind == "shuffled" else self._other(source, own, draws)
        among = LETTERS[: len(shown.options)] or [other.answer for other in self.prompts[owner]]
        return Asked(shown.prompt, shown.options, among[int(draws.integers(len(among)))])

    def _other(self, source: str, own: Asked, draws: np.random.Generator) -> tuple[str, Asked]:
        """A prompt of another source that is not this row's own: two tasks may ask alike."""
        others = sorted(name for name in self.prompts if name != source)
        for _ in range(_TRIES):
            owner = others[int(draws.integers(len(others)))]
            found = self.prompts[owner][int(draws.integers(len(self.prompts[owner])))]
            if found.prompt != own.prompt:
                return owner, found
        every = [(owner, found) for owner in others for found in self.prompts[owner] if found.prompt != own.prompt]
        return every[int(draws.integers(len(every)))] if every else (owner, found)

    def question(self, source: str, question: Question) -> Question:
        """A row of a source as a run shows it."""
        found = self.row(source, question.id, Asked(question.prompt, question.options, question.answer))
        return replace(
            question, prompt=found.prompt, options=found.options, answer=found.answer, question=None, answers=(), turns=()
        )


def control_identity(kind: PlaceboKind, source: str, training: Mapping[str, str]) -> dict[str, Any]:
    """What decides a placebo's rows of a source: plain values for a digest.

    Args:
        kind: of the placebo.
        source: whose rows they are.
        training: digest of every source's own rows.
    """
    others = {name: rows for name, rows in sorted(training.items()) if name != source}
    plain = {"placebo": kind, "version": CONTROL_VERSION, "rows": training[source]}
    return {**plain, "prompts": others} if kind == "format" else plain


def control_faults(kind: PlaceboKind, first: Mapping[str, Asked]) -> Iterator[str]:
    """Why a placebo cannot be made of sources, by what their first rows ask.

    Args:
        kind: of the placebo.
        first: by source.
    """
    single = [name for name, own in first.items() if len(own.options) == 1]
    if single:
        step = f"drop {kind} from 'placebo:', or these sources"
        yield f"placebo: {kind} draws an answer among a row's options, and rows of {', '.join(single)} have one option; {step}"
    if kind == "format" and len(first) > 1 and len({own.prompt for own in first.values()}) == 1:
        yield "placebo: format takes the prompts of other tasks, and all sources ask the same; drop it, or add other sources"


def _draws(*parts: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
