"""How the texts of options may be said in an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from tvt.core.question import LETTERS
from tvt.evaluate.readers.numbers import ORDINALS, in_figures, plain

_ARTICLES = ("the", "a", "an")
_COMMON = frozenset(
    [
        "in",
        "on",
        "at",
        "it",
        "is",
        "to",
        "of",
        "up",
        "by",
        "as",
        "be",
        "or",
        "and",
        "no",
        "so",
        "both",
        "all",
        "i",
        "he",
        "she",
        "they",
        "we",
        "you",
        "me",
    ]
)
"""Texts that say nothing where they stand among other words."""
_PICTURE = (
    r"(?:images?|pictures?|photos?|photographs?|paintings?|artworks?|figures?|pics?|shots?|art[ ]?pieces?|drawings?|frames?|"
    r"panels?|views?|puzzle pieces?|pieces?|patch(?:es)?|ones?|candidates?)"
)
_ORDINAL = re.compile(
    rf"(?:the )?(?:(?P<word>{'|'.join(ORDINALS)})|(?P<nth>\d+)(?:st|nd|rd|th))(?: {_PICTURE})?|{_PICTURE} (?P<number>\d+)",
    re.IGNORECASE,
)
_AFTER_ORDINAL = (
    r"(?=\s*(?:$|[.,;:!?)\n])|\s+(?:is|was|has|and|or|nor|because|since|as|than|not|matches|shares|appears|seems|looks|"
    r"would|does|in|to|from|with|for|fits|shows|depicts)\b)"
)
_ANY_ORDINAL = rf"(?:{'|'.join(ORDINALS)}|\d(?:st|nd|rd|th))"
_LISTED = re.compile(
    rf"\b(?:the\s+)?({_ANY_ORDINAL})((?:\s*,\s*(?:and\s+|or\s+|nor\s+)?|\s+(?:and|or|nor|&)\s+)(?:the\s+)?{_ANY_ORDINAL})+"
    rf"(?:\s+{_PICTURE})?\b",
    re.IGNORECASE,
)
_YES_NO = {
    "yes": r"\b(?:yes|yeah|yep)\b(?!\s+or\s+no\b)(?!/no)",
    "no": (
        r"(?:(?<=^)|(?<=\n)|(?<=[.!?:(]\s)|(?<=[.!?:(])|(?<=\bis\s)|(?<=\bbe\s)|(?<=\bsay\s)|(?<=,\s)|(?<=\)\s)|(?<=\bso\s))"
        r"no(?=\s*(?:$|[.,;:!)\n\u2014\u2013]|-\s|because\b|since\b|as\b)|\s+(?:it|that|this|they|there|the|he|she)\b)"
    ),
}
_NONE_THERE = (
    r"\bthere\s+(?:are|is|were|was)\s+no(?:t\s+any|ne)?\b(?!\s+(?:other|more|additional|further|way|one))"
    r"|\bthere\s+(?:aren't|isn't)\s+any\b|\bno\s+[\w-]+(?:\s+[\w-]+)?\s+(?:are|is)\s+(?:visible|present|seen|shown|in)\b"
)
_NUMBERING = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+(?=\S)", re.MULTILINE)


class OptionTexts:
    """The texts of a question's options.

    Attributes:
        labels: the options whose texts have a label of their own ("Point B", "B is closer"), by that letter.
        predicates: what such texts say of their label ("is closer"), as the words that carry it; by option.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._clean = [_without_letter(plain(option), LETTERS[k : k + 1]) for k, option in enumerate(options)]
        self.words = [words(text) for text in self._clean]
        self.yes_no = {"yes", "no"} <= set(self.words)
        self.labels: dict[str, int] = {}
        self.predicates: dict[int, frozenset[str]] = {}
        for k, text in enumerate(self._clean):
            label = _label(text)
            if label is not None:
                self.labels.setdefault(label[0], k)
                self.predicates[k] = label[1]
        self.numeric = any(re.fullmatch(r"\d+(?:\.\d+)?", text) for text in self.words)
        self._pattern = self._compile()

    def __len__(self) -> int:
        return len(self._clean)

    def whole(self, text: str) -> int | None:
        """The only option whose text is the whole of ``text``."""
        said = words(in_figures(text)) if self.numeric else words(text)
        matches = [k for k, option in enumerate(self.words) if option and said in (option, words(in_figures(self._clean[k])))]
        return matches[0] if len(matches) == 1 else None

    def mark(self, text: str, kind: str) -> str:
        """``text`` with a character instead of each option's text, counted from ``kind``."""
        if self.numeric:
            text = in_figures(_unnumbered(text))
        if self._pattern is None:
            return text
        text = _LISTED.sub(_spread, text)

        def place(match: re.Match[str]) -> str:
            return chr(ord(kind) + int((match.lastgroup or "o0")[1:]))

        return self._pattern.sub(place, text)

    def _compile(self) -> re.Pattern[str] | None:
        """All texts as one pattern, long ones first; texts that two options share are left out."""
        forms = {k: _forms(text) for k, text in enumerate(self._clean) if text and k not in self.predicates}
        every = [core for _, core in forms.values()]
        named = [(k, pattern, core) for k, (pattern, core) in forms.items() if every.count(core) == 1 and core not in _COMMON]
        named += [(k, _YES_NO["no"], "no") for k, (_, core) in forms.items() if core == "no" and every.count(core) == 1]
        named += [(k, _NONE_THERE, "0") for k, (_, core) in forms.items() if core == "0"]
        if not named:
            return None
        named.sort(key=lambda form: -len(form[2]))
        counted = [f"(?P<o{k}>{pattern})" for k, pattern, _ in named if pattern is not _NONE_THERE]
        absent = [f"(?P<z{k}>{pattern})" for k, pattern, _ in named if pattern is _NONE_THERE]
        return re.compile("|".join([*absent, *counted]), re.IGNORECASE)


@lru_cache(maxsize=4096)
def option_texts(options: tuple[str, ...]) -> OptionTexts:
    """:class:`OptionTexts`, made once for many answers."""
    return OptionTexts(options)


def words(text: str) -> str:
    """Words alone, in lower case, without an article before them."""
    matches = re.findall(r"[\w']+(?:[.,]\d+)?", text.casefold())
    return " ".join(matches[1:] if len(matches) > 1 and matches[0] in _ARTICLES else matches)


def _without_letter(text: str, letter: str) -> str:
    return re.sub(rf"^(?:\({letter}\)|{letter}[.:)])\s*(?=\S)", "", text) if letter else text


def _label(text: str) -> tuple[str, frozenset[str]] | None:
    """The label in a text such as "Point B" or "B is closer", and what is said of it."""
    letters = re.findall(r"(?<![\w'-])([A-Z])(?![\w'-])", text)
    if len(letters) != 1:
        return None
    rest = (
        text.replace(letters[0], " ", 1) if text[:1] == letters[0] else re.sub(rf"(?<![\w'-]){letters[0]}(?![\w'-])", " ", text)
    )
    said = rest.casefold().split()
    if text.startswith(("A ", "I ")) and said and said[0] not in ("is", "has", "are", "was", "will", "does"):
        return None
    if len(said) > 4:
        return None
    predicate = frozenset(said[1:]) if said[:1] in (["is"], ["has"], ["are"]) else frozenset[str]()
    return letters[0], predicate


def _forms(text: str) -> tuple[str, str]:
    """A pattern for the ways in which a text is said, and the text's words, which name it."""
    core = words(text)
    ordinal = _ORDINAL.fullmatch(" ".join(re.findall(r"[\w']+", text)))
    if ordinal:
        number = int(ordinal["nth"] or ordinal["number"] or ORDINALS.index(ordinal["word"].lower()) + 1)
        return _as_picture(number), f"picture {number}"
    if core in _YES_NO:
        return _YES_NO[core], core
    if re.fullmatch(r"\d+(?:\.\d+)?", core):
        before = r"(?<![\w.,#/-])(?<!image )(?<!picture )(?<!figure )(?<!photo )(?<!frame )(?<!step )(?<!point )(?<!option )"
        return (
            rf"{before}(?:exactly\s+|about\s+|approximately\s+|only\s+)?{re.escape(core)}(?![\w%/]|[.,]\d)",
            core,
        )
    said = [re.escape(word) for word in core.split()]
    inner = r"[\W_]+".join(said)
    if core == "right":
        inner += (
            r"(?:wards?)?(?!\s+(?:above|next|behind|below|beside|there|now|away|under|underneath|on top|at|after|before|"
            r"answer|"
            r"choice|option|one|here|in front)\b)"
        )
    if core == "left":
        inner += r"(?:wards?)?"
    if core.startswith(("about the same", "approximately the same", "roughly the same")):
        inner = (
            r"(?:(?:about|approximately|roughly|nearly|almost)[ ])?the[ ]same"
            r"|(?:similar|equal)(?=[ ](?:in|surface|albedo|color|darkness|reflectance))"
        )
    return rf"(?<![\w-])(?:(?:the|an?)\s+)?(?:{inner})(?!\w|-[a-z])", core


def _as_picture(number: int) -> str:
    """Ways to name a picture by its place: "the second image", "image 2", "the second is"."""
    word = ORDINALS[number - 1] if number <= len(ORDINALS) else f"{number}th"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
    spelled = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")[number - 1 : number] or ("-",)
    nth = rf"(?:{word}|{number}{ending})"
    style = r"(?:art|reference|given|last|remaining|latter|provided|candidate|option)[ ]"
    return (
        rf"(?<![\w-])(?:(?:the|this|a)\s+)?{nth}[ ]+(?:{style})?{_PICTURE}(?![\w-])|(?<![\w-])the\s+{nth}{_AFTER_ORDINAL}"
        rf"|(?<![\w-]){nth}(?=\s*[.!]?\s*$)|(?<![\w-])(?:the[ ])?{_PICTURE}[ ]*(?:no\.?|number|#)?[ -]*(?:{number}|"
        rf"{spelled[0]})(?![\w%]|[.,]\d)"
    )


def _spread(match: re.Match[str]) -> str:
    """What "the first, third and fourth images" means, with the noun at each."""
    ordinals = re.findall(_ANY_ORDINAL, match.group(), re.IGNORECASE)
    last = "or" if re.search(r"\bn?or\b", match.group(), re.IGNORECASE) else "and"
    return f" {last} ".join(f"the {word} image" for word in ordinals)


def _unnumbered(text: str) -> str:
    """Without the numbers of a list's lines, where there is such a list."""
    return _NUMBERING.sub("", text) if len(_NUMBERING.findall(text)) > 1 else text
