"""Places: one character for each place where an answer names an option, in a text that is otherwise in lower case."""

from __future__ import annotations

LETTER, ENTITY, TEXT, NEGATED, COMPARED = (chr(0xE000 + 0x40 * k) for k in range(5))
"""First character of each kind of place; the option's number is added. *LETTER*: "(B)", "option B"; *ENTITY*: "Point B" and the
like; *TEXT*: the option's text; *NEGATED* and *COMPARED*: named to say that it is not the answer, or to compare with it."""
SEVERAL = chr(0xE200)
"""A place that names several options: "A or B"."""
_KINDS = 0x40
NONE_OF_THEM = _KINDS - 1
"""The number that a negated place of several options has."""


def place(kind: str, option: int) -> str:
    """The character for a place that names an option."""
    return chr(ord(kind) + option)


def kind_of(character: str) -> str:
    """The kind of a place."""
    return SEVERAL if character == SEVERAL else chr((ord(character) - ord(LETTER)) // _KINDS * _KINDS + ord(LETTER))


def option_of(character: str) -> int:
    """The number of the option that a place names."""
    return (ord(character) - ord(LETTER)) % _KINDS


def span(*kinds: str) -> str:
    """A character class, without its brackets, of all places of some kinds."""
    return "".join(f"{kind}-{chr(ord(kind) + _KINDS - 1)}" for kind in kinds)


OWN = f"[{span(LETTER, TEXT, ENTITY)}]"
"""A place that names one option."""
NAMING = f"[{span(LETTER, TEXT, ENTITY)}{SEVERAL}]"
"""A place that names one or several."""
PLACE = f"[{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
"""Any place."""
COMPARED_ONE = f"[{span(COMPARED)}]"
WORD = f"[^{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}.;!?\\n]"
"""A character inside a sentence that is no place."""
BLANK = rf"[^\w{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
"""Punctuation or white space."""
