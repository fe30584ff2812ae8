"""The option letter that a free answer names, in four manners.

How an answer is read decides accuracies, and finetuning changes how a model answers: so the manner is named, ``None`` (no
letter found) is counted apart from wrong answers, and raw answers are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from tvt.core.question import LETTERS

Manner = Literal["careful", "official", "lmms-eval", "vsi-bench"]

Extractor = Callable[[str, Sequence[str]], str | None]

_OFFICIAL_LETTERS = "ABCDE"
_FOLDED_LETTERS = "\u0130\u0131\u017f\u212a"
"""Letters that Python's ``re`` finds for ``[A-Z]`` where case does not count: dotted and dotless I, long s, the kelvin sign."""

_MARKS = re.compile(r"[*_`$]|\\(?:text|mathrm|mathbf|textbf)\b")
_BOXED = re.compile(r"\\boxed\s*\{+\s*\(?([A-Za-z])\)?\s*\}+")
_BARE = re.compile(r"[\s(\[{\"'<]*([A-Za-z])[\s)\]}\"'>.,:;!]*")
_STATED = re.compile(
    r"\b(?:answer|choice|option|conclusion)\b(?:\s+(?:here|should|would|must|to\s+this|to\s+the\s+question))*"
    r"(?:\s*(?:is|be|was|[:=]|->|→))+\s*(?:the\s+)?(?:(?:option|choice|letter)\s*:?\s*)?"
    r"(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z])(?![\w'’]))",
    re.IGNORECASE,
)
_LEADING = re.compile(r"([A-Z])\s*(?:[).:,\]]|\s-)\s*\S")
_BRACKETED = re.compile(r"(?<!\w)[(\[]\s*([A-Za-z])\s*[)\]](?!\w)")
_ALONE = re.compile(r"(?<![\w'’.-])([A-Z])(?![\w'’-])")
_ARTICLE = re.compile(r"\s+(?!(?:as|and|because|but|for|since|which)\b)[a-z]")
"""What follows an "A" that is no letter but an article."""
_NEGATED = re.compile(r"(?:\bnot|n't|neither|nor|rather than|instead of)\s+(?:option\s+|choice\s+)?$", re.IGNORECASE)


def official(answer: str, options: Sequence[str]) -> str | None:
    """As BLINK's official code reads an answer before it asks a language model, which is ``None`` here.

    The whole answer is a letter or a letter in brackets; or exactly one of ``(A)``, ``(B)``, ... stands as a word of its own in
    the last paragraph, or else in the whole answer. The whole answer may be any of ``A`` to ``E``, whatever options there are.

    Source: ``analyze_answer`` in zeyofu/BLINK_Benchmark, eval/test_benchmark.py, read at commit 0cca9a3. There all other
    answers go to gpt-3.5-turbo (eval/multiple_choice.py). tvt asks no other model: they are unparsed and count as wrong, so
    that accuracies are lower than with that step by at most the unparsed share.
    """
    if len(answer) == 1 and answer in _OFFICIAL_LETTERS:
        return answer
    if len(answer) == 3 and answer[0] == "(" and answer[2] == ")" and answer[1] in _OFFICIAL_LETTERS:
        return answer[1]
    known = {f"({letter})": letter for letter in _OFFICIAL_LETTERS[: len(options)]}
    everywhere = known.keys() & set(answer.split())
    at_end = known.keys() & set(answer.rpartition("\n\n")[2].split())
    for found in (at_end, everywhere):
        if len(found) == 1:
            return known[found.pop()]
    return None


def lmms_eval(answer: str, _options: Sequence[str]) -> str | None:
    """As lmms-eval reads BLINK answers: the very first letter after opening brackets, whatever word it begins.

    So ``Answer: B`` gives ``A`` and ``**B**`` gives nothing. The letter may be none of the options; then it is simply wrong.

    Source: ``_extract_answer_letter`` in EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/blink/utils.py, read at commit 205d72d.
    Its pattern ignores case, and so takes four characters beyond ASCII for letters; where it finds nothing, that is wrong too.
    """
    rest = answer.strip()
    while rest and (rest[0] == "(" or rest[0].isspace()):
        rest = rest[1:]
    first = rest[:1]
    return first.upper() if (first.isascii() and first.isalpha()) or (first and first in _FOLDED_LETTERS) else None


def first_word(answer: str) -> str:
    """What VSI-Bench's code looks at, in letters and numbers alike: all up to the first space, without full stops at its end.

    Source: vision-x-nyu/thinking-in-space and EvolvingLMMs-Lab/lmms-eval, ``lmms_eval/tasks/vsibench/utils.py``.
    """
    return answer.split(" ", maxsplit=1)[0].rstrip(".").strip()


def vsi_bench(answer: str, options: Sequence[str]) -> str | None:
    """As VSI-Bench's code reads an answer: its first word is the letter, large or small."""
    word = first_word(answer).upper()
    return word if len(word) == 1 and word in LETTERS[: len(options)] else None


def careful(answer: str, options: Sequence[str]) -> str | None:
    """Only a letter that the answer clearly names, in the order of how clearly: boxed, the whole answer, stated ("the answer
    is B"), leading ("B. left"), the only one in brackets, an option's text, the only one standing alone. Else ``None``.
    """
    letters = LETTERS[: len(options)]
    text = _MARKS.sub("", answer).strip()
    short = _BOXED.findall(answer)[-1:] or [match.group(1) for match in [_BARE.fullmatch(text)] if match]
    if short:
        return short[0].upper() if short[0].upper() in letters else None
    stated = [letter for letter in _stated(text) if letter in letters]
    if stated:
        return stated[-1]
    return _marked(text, letters) if _mentions(_BRACKETED, text, letters) or _LEADING.match(text) else _unmarked(text, options)


def _marked(text: str, letters: str) -> str | None:
    """A letter set apart: at the very beginning, or the only one in brackets, overall or in the last paragraph."""
    bracketed = _mentions(_BRACKETED, text, letters)
    leading = _LEADING.match(text)
    if leading and leading.group(1) in letters and not bracketed - {leading.group(1)}:
        return None if _enumerates(text, letters) else leading.group(1)
    for found in (bracketed, _mentions(_BRACKETED, text.rpartition("\n\n")[2], letters)):
        if len(found) == 1:
            return found.pop()
    return None


def _unmarked(text: str, options: Sequence[str]) -> str | None:
    """An option told in words, or else a letter that stands alone."""
    return _by_text(text, options) or _alone(text, LETTERS[: len(options)])


def _stated(text: str) -> list[str]:
    """Letters that the answer says are its answer; a lower-case one counts only in brackets, else "the answer is a dog"."""
    found = []
    for match in _STATED.finditer(text):
        bracketed, plain = match.groups()
        if bracketed:
            found.append(bracketed.upper())
        elif plain.isupper() and not (plain == "A" and _ARTICLE.match(text, match.end())):
            found.append(plain)
    return found


def _mentions(pattern: re.Pattern[str], text: str, letters: str) -> set[str]:
    """The option letters that ``pattern`` finds, without those just after a "not"."""
    return {
        letter
        for match in pattern.finditer(text)
        if (letter := match.group(1).upper()) in letters
        and not _NEGATED.search(text, max(0, match.start() - 24), match.start())
    }


def _enumerates(text: str, letters: str) -> bool:
    """Whether several lines begin with an option letter: the options told again, which is no answer."""
    leads = (_LEADING.match(line.strip()) for line in text.splitlines())
    return len({lead.group(1) for lead in leads if lead and lead.group(1) in letters}) > 1


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The one option whose text is the answer, or the only one that the answer contains as whole words."""
    said = _plain(text)
    plain = [_plain(option) for option in options]
    equal = [k for k, option in enumerate(plain) if option and option == said]
    if equal:
        return LETTERS[equal[0]] if len(equal) == 1 else None
    rest = f" {said} "
    found = []
    # Longest first, each taken out of the text: "upper left" must not also count for "left".
    for k in sorted(range(len(plain)), key=lambda k: -len(plain[k])):
        if plain[k] and f" {plain[k]} " in rest:
            found.append(k)
            rest = rest.replace(f" {plain[k]} ", " | ")
    return LETTERS[found[0]] if len(found) == 1 else None


def _plain(text: str) -> str:
    """Words alone, in lower case."""
    return " ".join(re.findall(r"[\w']+(?:[.,]\d+)?", text.casefold()))


def _alone(text: str, letters: str) -> str | None:
    """The only capital that stands alone; an "A" before a small letter is an article."""
    found = {
        match.group(1)
        for match in _ALONE.finditer(text)
        if match.group(1) in letters and not (match.group(1) in "AI" and _ARTICLE.match(text, match.end()))
    }
    negated = {
        match.group(1) for match in _ALONE.finditer(text) if _NEGATED.search(text, max(0, match.start() - 24), match.start())
    }
    found -= negated
    return found.pop() if len(found) == 1 else None


EXTRACTORS: dict[Manner, Extractor] = {
    "careful": careful,
    "official": official,
    "lmms-eval": lmms_eval,
    "vsi-bench": vsi_bench,
}
