"""How the option or the number that a free answer names is read: a registry of readers."""

from __future__ import annotations

from collections.abc import Sequence

from tvt.core.choices import READERS
from tvt.errors import InputError
from tvt.evaluate.readers.contract import Reader

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
    """The readers with their titles, in one line for help."""
    return "; ".join(_titled(name) for name in READERS.names)


def _titled(name: str) -> str:
    """A reader's name and title; of one of a package outside that is broken, the name: who asks for it is told why."""
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
    found = find_reader(reader)
    if isinstance(options, str) or not 0 < len(options) <= 26:
        raise InputError("options: give the list of the options' texts, 1 to 26 of them")
    return found.read_letter(text, options)
