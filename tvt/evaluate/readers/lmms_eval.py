"""lmms-eval's reading of BLINK's letters and VSI-Bench's numbers, in the two versions that read otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvt.core.question import LETTERS
from tvt.evaluate.readers.contract import Reader
from tvt.evaluate.readers.number_words import ONES, TENS
from tvt.evaluate.readers.vsi_bench import first_number

_FOLDED_LETTERS = "\u0130\u0131\u017f\u212a"
"""Letters that Python's ``re`` finds for ``[A-Z]`` where case does not count: dotted and dotless I, long s, the kelvin sign."""
_TERSE = 4
"""Longest first line that may be nothing but a letter."""
_DIGITS = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[a-z]+")
_NUMBER_WORDS = {**ONES, **TENS, "hundred": 100, "thousand": 1000}


@dataclass(frozen=True, kw_only=True)
class LmmsEval072(Reader):
    """As lmms-eval reads BLINK answers up to 0.7.2: the very first letter after opening brackets, whatever word it begins.

    So ``Answer: B`` gives ``A`` and ``**B**`` gives nothing. The letter may be none of the options; then it is simply wrong.
    Numbers are read as VSI-Bench's own code reads them.

    Source: ``_extract_answer_letter`` in EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/blink/utils.py, and ``fuzzy_matching``
    with ``to_float`` in lmms_eval/tasks/vsibench/utils.py, release 0.7.2. The first one's pattern ignores case, and so takes
    four characters beyond ASCII for letters; where it finds nothing, that is wrong too.
    """

    name: str = "lmms-eval-0.7.2"
    version: int = 1
    title: str = "lmms-eval up to 0.7.2"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """See :class:`LmmsEval072`."""
        rest = text.strip()
        while rest and (rest[0] == "(" or rest[0].isspace()):
            rest = rest[1:]
        first = rest[:1]
        return first.upper() if (first.isascii() and first.isalpha()) or (first and first in _FOLDED_LETTERS) else None

    def read_number(self, text: str) -> float | None:
        """See :func:`tvt.evaluate.readers.vsi_bench.first_number`."""
        return first_number(text)


@dataclass(frozen=True, kw_only=True)
class LmmsEval073(Reader):
    """As lmms-eval 0.7.3 reads BLINK answers: only letters of options count, and the first step that finds one decides.

    1. The first line has at most four characters and is a letter, maybe in brackets and with punctuation behind it.
    2. The last letter behind the word "answer" or "answers", with or without "is", a colon or a hyphen, and a bracket between
       them. Case does not count, so that "the answer is a dog" gives ``A``.
    3. The last capital in round brackets.
    4. The very first letter after opening brackets, whatever word it begins.

    Numbers are the first figure or number word of the answer: ``About 3`` gives 3, ``1,200`` gives 1.

    Source: ``_extract_answer_letter`` and ``blink_process_results`` in lmms_eval/tasks/blink/utils.py, ``extract_number`` in
    lmms_eval/tasks/vsibench/utils.py, release 0.7.3.
    """

    name: str = "lmms-eval-0.7.3"
    version: int = 1
    title: str = "lmms-eval 0.7.3"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """See :class:`LmmsEval073`."""
        rest, letter = text.strip(), f"([{LETTERS[: len(options)] or LETTERS}])"
        line = rest.split("\n", 1)[0].strip()
        terse = re.fullmatch(rf"\(?{letter}\)?[.:,)\s]*", line, re.IGNORECASE) if len(line) <= _TERSE else None
        if terse:
            return terse.group(1).upper()
        stated = rf"answers?(?:\s+is)?\s*[-:]?\s*\(?{letter}\)?(?![a-z])"
        for found in (re.findall(stated, rest, re.IGNORECASE), re.findall(rf"\({letter}\)", rest)):
            if found:
                return str(found[-1]).upper()
        leading = re.match(rf"[(\s]*{letter}", rest, re.IGNORECASE)
        return leading.group(1).upper() if leading else None

    def read_number(self, text: str) -> float | None:
        """See :class:`LmmsEval073`."""
        lower = text.strip().lower()
        figure = _DIGITS.search(lower)
        start, words = _first_words(lower)
        if figure and (not words or figure.start() < start):
            value = float(figure.group())
            return value if math.isfinite(value) else None
        return float(_sum(words)) if words else None


def _first_words(text: str) -> tuple[int, list[str]]:
    """Where the first number word stands, and the run of number words that begins there; an "and" does not end it."""
    start, run = 0, list[str]()
    for match in _WORD.finditer(text):
        if match.group() in _NUMBER_WORDS:
            start = start if run else match.start()
            run.append(match.group())
        elif run and match.group() != "and":
            break
    return start, run


def _sum(words: Sequence[str]) -> int:
    """What a run of number words comes to: "three hundred twenty" is 320, and "two three" is 5."""
    total = below = 0
    for value in _values(words):
        if value == 1000:
            total, below = total + max(below, 1) * 1000, 0
        else:
            below = max(below, 1) * 100 if value == 100 else below + value
    return total + below


def _values(words: Sequence[str]) -> Iterator[int]:
    return (_NUMBER_WORDS[word] for word in words)
