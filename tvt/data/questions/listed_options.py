"""Options that stand in a text as a list with letters, such as ``(A) a cat``, and answers that name one of them.

Three styles are read: ``(A) cat``, ``A. cat`` and ``A) cat`` (or ``A: cat``), each at the start of a line, and, on one line,
``(A) cat (B) dog``. A list begins at A and has at least two options; of several lists the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tvt.core.question import LETTERS

_LINE = re.compile(r"^[ \t]*(?:\(([A-Z])\)|([A-Z])[.):])[ \t]*(?=\S)", re.MULTILINE)
_INLINE = re.compile(r"\(([A-Z])\)\s*(?=\S)")
_BARE = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_SAID = re.compile(r"(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?:?\s*\(?([A-Z])\)?\.?", re.IGNORECASE)
_LETTERED = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s*(.*)", re.DOTALL)


def listed_options(text: str) -> tuple[str, ...]:
    """The options that a text lists with letters, without these; empty where it lists none."""
    return _run(text, _LINE) or _run(text, _INLINE)


def _run(text: str, mark: re.Pattern[str]) -> tuple[str, ...]:
    """The options behind the last marks A, B, ... in their order."""
    marks = [(match.group(1) or match.group(match.lastindex or 1), match) for match in mark.finditer(text)]
    for start in range(len(marks) - 1, -1, -1):
        if marks[start][0] != "A":
            continue
        count = 1
        while start + count < len(marks) and count < len(LETTERS) and marks[start + count][0] == LETTERS[count]:
            count += 1
        if count < 2:
            continue
        run = [match for _, match in marks[start : start + count]]
        line_end = text.find("\n", run[-1].end())
        ends = [match.start() for match in run[1:]] + [len(text) if line_end < 0 else line_end]
        options = tuple(text[match.end() : end].strip() for match, end in zip(run, ends, strict=True))
        if all(options):
            return options
    return ()


def letter_of(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the option that an answer names, or ``None`` where it names none and is an answer in words.

    Read are a letter (``B``, ``(B)``, ``B.``), a letter with its option (``B. a dog``), ``The answer is B``, and the text of
    one option.

    Raises:
        ValueError: it is a letter of none of the options.
    """
    text = answer.strip()
    same = [letter for letter, option in zip(LETTERS, options, strict=False) if _plain(option) == _plain(text)]
    if len(same) == 1:
        return same[0]
    if match := _BARE.fullmatch(text) or _SAID.fullmatch(text):
        letter = match.group(1).upper()
        if letter not in LETTERS[: len(options)]:
            raise ValueError(f"the answer '{text[:40]}' is none of {', '.join(LETTERS[: len(options)])}")
        return letter
    if match := _LETTERED.fullmatch(text):
        letter = match.group(1) or match.group(2)
        at = LETTERS.index(letter)
        if at < len(options) and _plain(match.group(3)) == _plain(options[at]):
            return letter
    return None


def without_letter(text: str, letter: str) -> str:
    """An option without the letter in front of it; as it is where none is there.

    Raises:
        ValueError: it has another letter.
    """
    listed = _LETTERED.fullmatch(text)
    if listed is None:
        return text
    if (listed.group(1) or listed.group(2)) != letter:
        raise ValueError(f"option '{text[:40]}' stands where {letter} is expected; mend the options")
    return listed.group(3).strip()


def in_brackets(answer: str) -> str:
    """The letter of an answer such as ``(A)``; any other answer as it is."""
    return answer[1] if len(answer) == 3 and answer[0] == "(" and answer[2] == ")" else answer


def _plain(text: str) -> str:
    """A text without what writers of answers leave out or add: case, white space, a full stop at the end."""
    return " ".join(text.split()).rstrip(".").casefold()
