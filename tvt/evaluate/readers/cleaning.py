"""An answer without what is around it: thinking, special tokens, markup, quotes, boxes and JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

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
