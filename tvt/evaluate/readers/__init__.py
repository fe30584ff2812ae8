"""How the option or the number that a free answer names is read: what a reader is, tvt's own, those of other projects' code,
and how one is found by its name.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvt.core.choices import READERS
from tvt.core.question import LETTERS
from tvt.errors import InputError
from tvt.evaluate.readers.numbers import ONES, TENS


@dataclass(frozen=True, kw_only=True)
class Reader(ABC):
    """Reads the option or the number that a free answer names.

    How answers are read decides accuracies, and finetuning changes how a model answers. So a reader has a name and a version,
    which stand beside its results, and ``None`` (nothing could be read) is counted apart from wrong answers. Readers see the
    raw answer, which is stored, so that another reader asks no model again.
    """

    name: str
    """What ``--extract`` takes."""
    version: int
    """Raise it with every change that can change a reading."""
    title: str
    """Half a sentence for help and docs."""

    @abstractmethod
    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """The upper-case letter of the option that an answer names.

        Args:
            text: the raw answer.
            options: the options' texts, ``A`` first.
        """

    @abstractmethod
    def read_number(self, text: str) -> float | None:
        """The finite number that an answer names."""

    @property
    def identity(self) -> dict[str, str | int]:
        """Name and version, as plain values."""
        return {"name": self.name, "version": self.version}


OLD_NAMES = {"lmms-eval": "lmms-eval-0.7.2"}
"""Names that older scripts use, each with the reader that it means."""


def find_reader(name: str) -> Reader:
    """The reader of a name, or of an old one.

    Raises:
        InputError: there is none.
    """
    reader: Reader = READERS.find(OLD_NAMES.get(name, name))
    return reader


def offered() -> str:
    """The readers with their titles, and old names with what they mean, in one line for help."""
    old = (f"{name} means {reader}" for name, reader in OLD_NAMES.items())
    return "; ".join((*(_titled(name) for name in READERS.names), *old))


def _titled(name: str) -> str:
    """A reader's name and title; of one of a package outside that is broken, the name: choosing it raises its error."""
    try:
        return f"{name} ({READERS.find(name).title})"
    except (InputError, AttributeError):
        return name


def read_answer(text: str, options: Sequence[str], reader: str = READERS.default) -> str | None:
    """The letter of the option that a model's answer names.

    Args:
        text: the answer as the model gave it.
        options: the options' texts, that of ``A`` first.
        reader: how it is read: a name of :data:`tvt.core.choices.READERS`, see ``tvt evaluate --extract``.

    Returns:
        An upper-case letter, or ``None`` where the answer clearly names no single option.

    Raises:
        InputError: unknown reader, no options, or more than there are letters.
    """
    chosen = find_reader(reader)
    if isinstance(options, str) or not 0 < len(options) <= 26:
        raise InputError("options: give the list of the options' texts, 1 to 26 of them")
    return chosen.read_letter(text, options)


@dataclass(frozen=True, kw_only=True)
class Careful(Reader):
    """Only an option or a number that the answer clearly names.

    Thinking, markup, quotes, boxes and JSON around an answer change nothing. Every letter is found by the same rules, and an
    option's text and labels such as "Point B" count as its letter does. The clearest places decide: an answer in a box or a
    key of JSON; an answer stated ("the answer is B", "B is correct", "I would guess B"), of which the last one counts; the
    option that the answer begins with; one in a conclusion; one said to be the most or the best; the only one that is named.
    Options that are negated, compared with or only considered do not count. Several options are no answer.
    """

    name: str = "careful"
    version: int = 2
    title: str = "tvt's own: what the answer clearly names, in any form"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """See :class:`Careful`."""
        from tvt.evaluate.readers.claims import decide
        from tvt.evaluate.readers.naming import mark
        from tvt.evaluate.readers.numbers import parts
        from tvt.evaluate.readers.option_texts import option_texts

        texts = option_texts(tuple(options))
        for part in parts(text):
            whole = _whole(part)
            option = texts.whole(part) if whole is None else whole
            if option is None:
                option = decide(mark(part, texts), texts)
            if option is not None:
                return LETTERS[option] if 0 <= option < len(options) else None
        return None

    def read_number(self, text: str) -> float | None:
        """See :class:`Careful`."""
        from tvt.evaluate.readers.numbers import quantity

        return quantity(text)


def _whole(part: str) -> int | None:
    """The letter that a text consists of, apart from brackets and punctuation."""
    said = part.strip(" \t\n()[]{}<>.,:;!?-|'\"")
    return LETTERS.index(said.upper()) if len(said) == 1 and said.upper() in LETTERS else None


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
        """See :func:`tvt.evaluate.readers.first_number`."""
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
        for item in (re.findall(stated, rest, re.IGNORECASE), re.findall(rf"\({letter}\)", rest)):
            if item:
                return str(item[-1]).upper()
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


_LETTERS = "ABCDE"


@dataclass(frozen=True, kw_only=True)
class BlinkOfficial(Reader):
    """As BLINK's official code reads an answer before it asks a language model, which is ``None`` here.

    The whole answer is a letter or a letter in brackets; or exactly one of ``(A)``, ``(B)``, ... stands as a word of its own in
    the last paragraph, or else in the whole answer. The whole answer may be any of ``A`` to ``E``, whatever options there are.
    BLINK asks for no numbers; they are read as VSI-Bench's code reads them.

    Source: ``analyze_answer`` in zeyofu/BLINK_Benchmark, eval/test_benchmark.py, read at commit 0cca9a3. There all other
    answers go to gpt-3.5-turbo (eval/multiple_choice.py). tvt asks no other model: they are unparsed and count as wrong, so
    that accuracies are lower than with that step by at most the unparsed share.
    """

    name: str = "official"
    version: int = 1
    title: str = "BLINK's official code, without its question to GPT-3.5"

    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """See :class:`BlinkOfficial`."""
        if len(text) == 1 and text in _LETTERS:
            return text
        if len(text) == 3 and text[0] == "(" and text[2] == ")" and text[1] in _LETTERS:
            return text[1]
        known = {f"({letter})": letter for letter in _LETTERS[: len(options)]}
        everywhere = known.keys() & set(text.split())
        at_end = known.keys() & set(text.rpartition("\n\n")[2].split())
        for item in (at_end, everywhere):
            if len(item) == 1:
                return known[item.pop()]
        return None

    def read_number(self, text: str) -> float | None:
        """See :func:`tvt.evaluate.readers.first_number`."""
        return first_number(text)


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
