"""The number that a free answer names, in the manners of :mod:`tvt.evaluate.extraction`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from tvt.evaluate.extraction import Manner, first_word

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?![\d]|[.,]\d)"
_FREE = rf"(?<![\w.,/^])(?P<number>{_NUMBER})(?!\s*/\s*\d)"
"""Not inside a word (``m2``), a longer figure (``1.2.3``) or a fraction."""
_ANY = re.compile(_FREE)
_MARKS = re.compile(r"[*_`$]|\\(?:text|mathrm|mathbf|textbf)\b")
_BOXED = re.compile(rf"\\boxed\s*\{{+\s*({_NUMBER})[^}}]*\}}")
_WHOLE = re.compile(rf"(?:about|around|approximately|roughly|~|≈|=)?\s*({_NUMBER})\s*[^\W\d]*[.!]?", re.IGNORECASE)
_STATED = re.compile(
    rf"\b(?:answer|total|result|estimate|count)\b[^.\d\n]{{0,40}}?(?:\b(?:is|are|was|be|of)\b|[=:])"
    rf"\s*(?:(?:about|around|approximately|roughly)\s+|[~≈]\s*)?{_FREE}",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"(?<![\w.,]){_NUMBER}\s*(?:[^\W\d]+\s*)?(?:[-–—]|\bto\b|\bor\b|\band\b)\s*{_NUMBER}(?!\w)",
    re.IGNORECASE,
)
"""Two numbers where one was asked for: "2 or 3", "2-3", "between 2 and 3 meters"."""
_NEGATED = re.compile(r"(?:\bnot|n't|rather than|instead of)\s+$", re.IGNORECASE)
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += [f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
_TENS = [f"{stem}ty" for stem in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine")]
_WORDS = {**{word: k for k, word in enumerate(_ONES)}, **{word: 20 + 10 * k for k, word in enumerate(_TENS)}}
_SPELLED = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})[-\s](?P<ones>{'|'.join(_ONES[1:10])})|(?P<word>{'|'.join(_WORDS)}))\b", re.IGNORECASE
)
_COUNTED_ONE = re.compile(r"(?:^|\b(?:is|are|was|were|about|exactly|only|just|answer|has|have|see)\s+|:\s*)$", re.IGNORECASE)
"""What stands before a "one" that counts; elsewhere it is "the one by the door"."""


def benchmark(answer: str) -> float | None:
    """As VSI-Bench's own code and lmms-eval read a number: the answer up to its first space, without full stops at its end,
    where Python takes that for a number (so ``3.`` counts, ``3m``, ``1,200`` and ``About 3`` do not).
    """
    try:
        value = float(first_word(answer))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def careful(answer: str) -> float | None:
    """Only a number that the answer clearly names, in the order of how clearly: boxed, the whole answer with or without a
    unit, stated ("the answer is 3.5"), the only one in the answer or else in its last paragraph, spelled out ("three"). Else
    ``None``: two numbers ("2 or 3") are no answer. Units are not converted.
    """
    boxed = _BOXED.findall(answer)
    text = _RANGE.sub(" | ", _MARKS.sub("", answer).replace("−", "-")).strip()
    whole = _WHOLE.fullmatch(text)
    if boxed or whole:
        return _value(boxed[-1] if boxed else whole.group(1))  # type: ignore[union-attr]
    stated = [match.group("number") for match in _STATED.finditer(text)]
    if stated:
        return _value(stated[-1])
    for part in (text, text.rpartition("\n\n")[2]):
        found = {
            _value(match.group("number"))
            for match in _ANY.finditer(part)
            if not _NEGATED.search(part, max(0, match.start() - 24), match.start())
        }
        if len(found) == 1:
            return found.pop()
    return None if re.search(r"\d|\|", text) else _spelled(text)


def _value(text: str) -> float | None:
    value = float(text.replace(",", ""))
    return value if math.isfinite(value) else None


def _spelled(text: str) -> float | None:
    """The only number in words, up to ninety-nine."""
    found = set()
    for match in _SPELLED.finditer(text):
        if match.group("word") and match.group("word").lower() == "one" and not _COUNTED_ONE.search(text, 0, match.start()):
            continue
        parts = [match.group("word")] if match.group("word") else [match.group("tens"), match.group("ones")]
        found.add(float(sum(_WORDS[part.lower()] for part in parts)))
    return found.pop() if len(found) == 1 else None


READERS: dict[Manner, Callable[[str], float | None]] = {
    "careful": careful,
    "official": benchmark,
    "lmms-eval": benchmark,
    "vsi-bench": benchmark,
}
