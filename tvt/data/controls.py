"""Controls: the same questions with answers that teach nothing of the task.

What finetuning on them does to a target is what any finetuning does to it: learning the form of answers, undoing habits of the
base model, forgetting.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from tvt.core.task import Question

_REMEMBERED = 256
"""Answers among which one is drawn for a question without options."""


def shuffled(questions: Iterable[Question], share: float, task: str) -> Iterator[Question]:
    """The questions with the answers of a share of them replaced at random; a question's draw does not depend on the others'.

    The answer to a question with options becomes any of their letters, the right one among them; that to a question without
    options becomes the answer of one of the questions before it.

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
        yield replace(question, answer=among[int(draws.integers(len(among)))]) if changed else question


def _draws(*parts: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
