"""VSI-Bench's reading of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvt.core.question import LETTERS
from tvt.evaluate.readers.contract import Reader


@dataclass(frozen=True, kw_only=True)
class VsiBench(Reader):
    """As VSI-Bench's own code reads an answer: its first word is the letter, large or small, or the number.

    Source: vision-x-nyu/thinking-in-space, ``lmms_eval/tasks/vsibench/utils.py``; the same in lmms-eval until 0.7.2.
    """

    name: str = "vsi-bench"
    version: int = 1
    title: str = "VSI-Bench's own code"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """See :class:`VsiBench`."""
        word = _first_word(text).upper()
        return word if len(word) == 1 and word in LETTERS[: len(options)] else None

    def read_number(self, text: str) -> float | None:
        """See :func:`first_number`."""
        return first_number(text)


def first_number(text: str) -> float | None:
    """The answer up to its first space, without full stops at its end, where Python takes that for a number (so ``3.`` counts,
    ``3m``, ``1,200`` and ``About 3`` do not).
    """
    try:
        value = float(_first_word(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _first_word(text: str) -> str:
    return text.split(" ", maxsplit=1)[0].rstrip(".").strip()
