"""The number that a free answer names."""

from __future__ import annotations

import math
import re

from tvt.evaluate.readers.cleaning import parts
from tvt.evaluate.readers.number_words import in_figures

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?(?![\d]|[.,]\d)"
_FREE = rf"(?<![\w.,/^])(?P<number>{_NUMBER})(?!\s*/\s*\d|\s*\+|\s+or\s+(?:more|fewer|less))"
"""Not inside a word (``m2``), a longer figure (``1.2.3``) or a fraction."""
_ANY = re.compile(_FREE)
_ABOUT = r"(?:about|around|approximately|approx\.?|roughly|nearly|almost|exactly|only|just|some|estimated at|~|≈|=)"
_UNIT = r"(?:(?!\s*(?:or|and|to|plus)\b)\s*[^\W\d_]+\.?(?:\s+[^\W\d_]+){0,2}(?:\s*\^?\s*[23])?)?"
_WHOLE = re.compile(rf"(?:{_ABOUT}\s*)*({_NUMBER})(?:{_UNIT}|\s*[^\w\s]{{1,2}})[.!]?", re.IGNORECASE)
_STATED = re.compile(
    rf"(?:\b(?:answer|total|result|estimate|count|number|guess|say|conclude)\b[^.\d\n]{{0,80}}?(?:\b(?:is|are|was|be|of|"
    rf"say|to)\b|[=:])|"
    rf"\b(?:so|therefore|thus|hence|consequently)\b[^.\d\n]{{0,80}}?(?:\b(?:is|are|be|of)\b|[=:])|"
    rf"\b(?:guess|say|estimate)\b(?:\s+(?:that|it|there|is|are|it's))*)\s*(?:{_ABOUT}\s*|\b(?:a|the|is)\s+)*{_FREE}",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(r"\b(?:answer|result|estimate|total|count)\s*(?:is)?\s*:?\s*\n+\s*", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?<![\w.,]){_NUMBER}\s*(?:[^\W\d]+\s*)?(?:[-–—~]|\bto\b|\bor\b|\band\b)\s*(?:maybe\s+|about\s+|even\s+|"
    rf"possibly\s+)?{_NUMBER}(?!\w)(?:[ \t]*[^\W\d]+)?",
    re.IGNORECASE,
)
"""Two numbers where one was asked for: "2 or 3", "2-3", "between 2 and 3 meters"."""
_EQUATION = re.compile(rf"[\d)]\s*[^\W\d]*\s*=\s*(?:{_ABOUT}\s*)?{_FREE}", re.IGNORECASE)
_NEGATED = re.compile(
    r"(?:\bnot|n't|rather than|instead of|(?:more|less|fewer|larger|smaller|greater|higher|lower) than|over|under|"
    r"at least|at most|up to)\s+$",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so|consequently|in conclusion|overall|in total|altogether|total|finally|as a result|final)\b",
    re.IGNORECASE,
)
_NONE_THERE = re.compile(
    r"\bthere\s+(?:are|is|were|was)\s+no(?:t\s+any|ne)?\b(?!\s+(?:other|more|additional|further|way|information|clear|"
    r"indication|reference))",
    re.IGNORECASE,
)
_NUMBERING = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+(?=\S)", re.MULTILINE)
_TIMES = re.compile(r"(?<=[\d.a-z)])\s*\*\s*(?=[\d.(])")
_ORDINAL = re.compile(r"\b(?:step|image|figure|frame|picture|video|option|room|point)\s+#?\d+\b:?", re.IGNORECASE)


def quantity(answer: str) -> float | None:
    """Only a number that the answer clearly names.

    In the order of how clearly: in a box or a key of JSON, the whole answer with or without a unit, stated ("the answer is
    3.5"), the only one in the answer, in its conclusion, or in its last paragraph. Number words count as figures do. Ranges
    ("2 or 3") and fractions are no answer, and units are not converted.
    """
    found = [_numbers(part) for part in parts(_TIMES.sub(" × ", answer))]
    named = [numbers for numbers in found if numbers is not None]
    return named[0] if named and math.isfinite(named[0]) else None


def _numbers(text: str) -> float | None:
    """The number of one part of an answer; not a number (``nan``) where it names several."""
    figures = in_figures(text)
    figures = _ORDINAL.sub("", _NUMBERING.sub("", figures) if len(_NUMBERING.findall(figures)) > 1 else figures)
    figures = re.sub(r"\b(?:minus|negative)\s+(?=\d)", "-", figures, flags=re.IGNORECASE)
    figures = _ANNOUNCED.sub("The answer is ", figures)
    plain = _RANGE.sub(" | ", figures).strip()
    whole = _WHOLE.fullmatch(plain)
    if whole:
        return _value(whole.group(1))
    stated = [match for pattern in (_STATED, _EQUATION) for match in pattern.finditer(plain)]
    if stated:
        return _value(max(stated, key=lambda match: match.start("number")).group("number"))
    paragraphs = plain.rpartition("\n\n")[2]
    concluding = [line for line in re.split(r"(?<=[.!?])\s+|\n+", plain) if _CONCLUDES.search(line)]
    for part in (plain, *concluding[-1:], paragraphs):
        found = _distinct(part)
        if len(found) == 1:
            return found.pop()
    if not re.search(r"\d|\|", plain):
        return 0.0 if _NONE_THERE.search(plain) else None
    return math.nan


def _distinct(text: str) -> set[float]:
    return {
        _value(match.group("number"))
        for match in _ANY.finditer(text)
        if not _NEGATED.search(text, max(0, match.start() - 24), match.start())
    }


def _value(text: str) -> float:
    return float(text.replace(",", ""))
