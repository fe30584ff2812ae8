"""Numbers in English words."""

from __future__ import annotations

import re
from collections.abc import Sequence

ONES = {
    word: value
    for value, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
            *(f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")),
        )
    )
}
TENS = {f"{stem}ty": 20 + 10 * k for k, stem in enumerate(("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"))}
SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

_WORD = "|".join([*ONES, *TENS, *SCALES])
_RUN = re.compile(
    rf"(?<![\w-])(?:(?:an?|half\s+an?|half)\s+(?=hundred|thousand|million|dozen))?(?:(?:{_WORD})(?:(?:\s+|-|"
    rf"\s+and\s+)(?:{_WORD}))*"
    r"(?:\s+dozen)?|dozen)(?![\w-])",
    re.IGNORECASE,
)
_DECIMALS = re.compile(rf"(\d)\s+point((?:\s+(?:{'|'.join([*ONES][:10])}|\d))+)\b", re.IGNORECASE)
_NOT_COUNTED = re.compile(
    r"\b(?:the|this|that|which|each|every|no|any|some|other|another|second|first|third|last|right|left|correct|best|same)"
    r"(?:\s+only)?\s+$",
    re.IGNORECASE,
)
"""What stands before a "one" that counts nothing: "the one by the door"."""
_OF = re.compile(r"\s+(?:of|is|that|which|who|by|in|on|at|can|could|might|would|should|another)\b", re.IGNORECASE)


def in_figures(text: str) -> str:
    """A text with its number words as figures: "about one hundred and five chairs" has ``105`` in it. A run of words that is
    no number, such as "two three", and a "one" that counts nothing stay as they are.
    """

    def figure(match: re.Match[str]) -> str:
        said = match.group()
        if said.lower() == "one" and _counts_nothing(text, match):
            return said
        value = _value(re.split(r"[\s-]+", said.lower()))
        return said if value is None else f"{value:g}" if value % 1 else str(int(value))

    found = _RUN.sub(figure, text)
    found = _DECIMALS.sub(lambda m: m.group(1) + "." + "".join(_digit(word) for word in m.group(2).split()), found)
    found = re.sub(r"\b(\d+)\s+and\s+(?:a|1)\s+half\b", r"\1.5", found, flags=re.IGNORECASE)
    return re.sub(r"\bhalf\s+an?\b", "0.5", found, flags=re.IGNORECASE)


def _counts_nothing(text: str, match: re.Match[str]) -> bool:
    return bool(_NOT_COUNTED.search(text[max(0, match.start() - 24) : match.start()]) or _OF.match(text, match.end()))


def _digit(word: str) -> str:
    return str(ONES.get(word.lower(), word))


def _value(words: Sequence[str]) -> float | None:
    """What words come to, ``None`` where they do not follow each other as in a number."""
    factor = 0.5 if words[0] == "half" else 1.0
    rest = [word for word in words if word not in ("a", "an", "half", "and")]
    dozen = rest[-1] == "dozen"
    if dozen:
        rest, factor = rest[:-1], factor * 12
    value = _composed(rest) if rest else 1
    return None if value is None else factor * value


def _composed(words: Sequence[str]) -> int | None:
    """Scales fall, and below each stand at most tens and ones: "two thousand three hundred and twenty-one"."""
    total, below, last = 0, 0, 10**9
    room = 1000
    """What comes next must be smaller than this."""
    for word in words:
        if word in SCALES and word != "hundred":
            if SCALES[word] >= last:
                return None
            last = SCALES[word]
            total, below, room = total + max(below, 1) * last, 0, 1000
        elif word == "hundred":
            if below >= 100 or (below == 0 and room < 1000):
                return None
            below, room = max(below, 1) * 100, 100
        else:
            value = ONES.get(word, TENS.get(word, 0))
            if value >= room or (value == 0 and len(words) > 1):
                return None
            below, room = below + value, 10 if value in TENS.values() else 0
            if value < 20:
                room = 0
        if word == "hundred":
            room = 100
    return total + below
