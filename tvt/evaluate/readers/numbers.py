"""Texts of answers made comparable, and the numbers in them: in English words, and the one that a free answer names."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence

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

    result = _RUN.sub(figure, text)
    result = _DECIMALS.sub(lambda m: m.group(1) + "." + "".join(_digit(word) for word in m.group(2).split()), result)
    result = re.sub(r"\b(\d+)\s+and\s+(?:a|1)\s+half\b", r"\1.5", result, flags=re.IGNORECASE)
    return re.sub(r"\bhalf\s+an?\b", "0.5", result, flags=re.IGNORECASE)


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
"""Two numbers where one is required: "2 or 3", "2-3", "between 2 and 3 meters"."""
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
    read = [_numbers(part) for part in parts(_TIMES.sub(" × ", answer))]
    named = [numbers for numbers in read if numbers is not None]
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
        return _amount(whole.group(1))
    stated = [match for pattern in (_STATED, _EQUATION) for match in pattern.finditer(plain)]
    if stated:
        return _amount(max(stated, key=lambda match: match.start("number")).group("number"))
    paragraphs = plain.rpartition("\n\n")[2]
    concluding = [line for line in re.split(r"(?<=[.!?])\s+|\n+", plain) if _CONCLUDES.search(line)]
    for part in (plain, *concluding[-1:], paragraphs):
        numbers = _distinct(part)
        if len(numbers) == 1:
            return numbers.pop()
    if not re.search(r"\d|\|", plain):
        return 0.0 if _NONE_THERE.search(plain) else None
    return math.nan


def _distinct(text: str) -> set[float]:
    return {
        _amount(match.group("number"))
        for match in _ANY.finditer(text)
        if not _NEGATED.search(text, max(0, match.start() - 24), match.start())
    }


def _amount(text: str) -> float:
    return float(text.replace(",", ""))


LONGEST = 24_000
"""Of a longer answer only the beginning and the end are read, where answers stand; patterns take time for every character."""
_HEAD = 8_000

_THINK = r"(?:think(?:ing)?|thought|reasoning|reflection|analysis|seed:think|caption|summary|scratchpad)"
_OPEN = re.compile(rf"<{_THINK}>|\[think\]|◁think▷", re.IGNORECASE)
_CLOSE = re.compile(rf"</{_THINK}>|\[/think\]|◁/think▷", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>|<\|start_of_response\|>", re.IGNORECASE)
_ANALYSIS = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)\b", re.IGNORECASE)
_TURN = re.compile(
    r"<\|?(?:im_end|im_start|eot_id|eot|end|endoftext|end_of_text|end_of_utterance|end_of_turn|end_of_sentence|return|"
    r"eos)\|?>"
    r"|</s>|\[/?INST\]|\n[ \t]*(?:#+ *)?(?:USER|User|Human|HUMAN|Question)\s*:",
)
"""Where the answer ends and a next turn begins."""
_BOX_TOKENS = re.compile(r"<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"<(answer|final[_ ]?answer|conclusion|final|output|response|choice)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)
_BOX = re.compile(r"\\f?boxed\s*\{")
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:s|pad|unk|bos|eos|image|box|ref|quad|/box|/ref|/s)>", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_COMMAND = re.compile(
    r"\\(?:(?:text|math)(?:rm|bf|it|sf|tt)?|rm|bf|displaystyle|left|right|quad|operatorname|large|Large|"
    r"huge)(?![A-Za-z])|\\[,;!]"
)
_DELIMITERS = re.compile(r"\\[()\[\]]|\$+|\\\\")
_TAGS = re.compile(
    r"</?(?:strong|em|code|pre|div|span|p|br|ul|ol|li|h\d|table|tr|td|th|tbody|font|center|sub|sup|mark)\b[^<>]{0,60}/?>"
    r"|<([biu])>(?=[^<>]{0,400}</\1>)|</[biu]>",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[*`\u200b\u200e\u200f\ufeff\u00ad]|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-•●▪◦–][ \t]+|[✓✔✅☑➡→⇒]\s*)+", re.MULTILINE)
_QUOTES = re.compile(r"[\"“”„‟«»「」『』″]|(?<![^\W_])['‘’‚](?=\S)|(?<=\S)['‘’](?![^\W_])")
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f\u0900-\u097f\u0600-\u06ff"
_SEAM = re.compile(rf"(?<=[{_CJK}])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[{_CJK}])")
_BLANKS = re.compile(r"\s{3,}")
_DIALOGUE = re.compile(r"^\s*Q\s*:[^\n]*\n+\s*A\s*:\s*(?=\S)")
"""A question repeated, and "A:" before the answer."""
_BRACES = re.compile(r"\{\s*([^{}]{0,200}?)\s*\}")
_VALUE = r"(?P<value>\"(?:[^\"\\]|\\.){0,400}\"|'(?:[^'\\]|\\.){0,400}'|\[[^\[\]]{0,200}\]|[^,{}\[\]\"'\n]{1,200})"
_ANSWER_KEY = re.compile(
    r"[\"']?\b(?:(?:final|correct|selected|chosen|best|predicted|my)?[ _-]?(?:answer|choice|option|prediction|"
    r"selection))[\"']?\s*:\s*" + _VALUE,
    re.IGNORECASE,
)
_OTHER_KEY = re.compile(
    r"[\"']?\b(?:letter|label|result|response|final|output|count|number|value)[\"']?\s*:\s*" + _VALUE, re.IGNORECASE
)


def parts(answer: str) -> list[str]:
    """What of an answer is to be read, one after the other until something names an option.

    The last box, tagged answer or value of an answer's key in JSON stands alone; else these are the values of other keys, and
    then the whole. Each is free of thinking and markup; an answer that is cut off inside its thinking has none.
    """
    text = _without_thinking(_bounded(answer))
    explicit = list(_explicit(text))
    if explicit:
        return [part for part in map(plain, explicit[:1]) if part]
    return [part for part in map(plain, (*_values(text, _OTHER_KEY), _unboxed(text))) if part]


def _bounded(text: str) -> str:
    text = _BLANKS.sub(lambda match: "\n" * min(2, match.group().count("\n")) or " ", text)
    return text if len(text) <= LONGEST else f"{text[:_HEAD]}\n\n{text[_HEAD - LONGEST :]}"


def _without_thinking(text: str) -> str:
    """The text behind the last end of thinking, up to where thinking begins again, of the first turn."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        text = text[channels[-1].end() :]
    elif _ANALYSIS.search(text):
        return ""
    closed = list(_CLOSE.finditer(text))
    rest = text[closed[-1].end() :] if closed else text
    opened = _OPEN.search(rest)
    rest = rest[: opened.start()] if opened else rest
    if closed and not rest.strip():  # an answer may come first, and its reasoning behind it
        first = _OPEN.search(text)
        rest = text[: first.start()] if first else ""
    turns = _TURN.split(rest)
    return next((turn for turn in turns if turn and turn.strip()), "")


def _explicit(text: str) -> Iterator[str]:
    """The last box, the last tagged answer, the last value of an answer's key in JSON."""
    yield from [*_BOX_TOKENS.findall(text), *_latex_boxes(text)][-1:]
    yield from [content for _, content in _TAGGED.findall(text)][-1:]
    yield from _values(text, _ANSWER_KEY)


def _values(text: str, key: re.Pattern[str]) -> list[str]:
    """The last value of a key in JSON, or in a Python dictionary."""
    values = [match.group("value") for match in key.finditer(text, text.index("{"))] if "{" in text else []
    return [_decoded(value).strip(" \t[]") for value in values[-1:]]


def _decoded(value: str) -> str:
    """A JSON string without its escapes; anything else as it is."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def _latex_boxes(text: str) -> Iterator[str]:
    r"""The contents of ``\boxed{...}``, with braces inside them balanced; one that is cut off goes to the end."""
    for match in _BOX.finditer(text):
        depth, end = 1, match.end()
        while end < len(text) and end - match.end() < 400 and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield text[match.end() : end - (depth == 0)]


def _unboxed(text: str) -> str:
    return re.sub(r"\\f?boxed\b", "", text)


def plain(text: str) -> str:
    """The text in ordinary characters, without marks that say nothing."""
    text = unicodedata.normalize("NFKC", text.replace("²", " ^2").replace("³", " ^3").replace("½", ".5"))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    text = text.replace("\\n", "\n") if "\n" not in text else text
    for pattern in (_STRUCK, _SPECIAL, _COMMAND, _DELIMITERS, _TAGS, _QUOTES, _LINE_MARKS, _MARKS, _LINE_MARKS):
        text = pattern.sub("", text)
    for _ in range(2):
        text = _BRACES.sub(r"\1", text)
    text = _DIALOGUE.sub("", text)
    text = text.replace("−", "-").replace("’", "'").replace("‘", "'")
    return _SEAM.sub(" ", text).strip()
