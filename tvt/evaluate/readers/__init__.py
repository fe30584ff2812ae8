"""How the option or the number that a free answer names is read: a registry of readers."""

from __future__ import annotations

from collections.abc import Sequence

from tvt.errors import InputError, suggest
from tvt.evaluate.readers.careful import Careful
from tvt.evaluate.readers.contract import Reader
from tvt.evaluate.readers.lmms_eval import LmmsEval072, LmmsEval073
from tvt.evaluate.readers.official import Official
from tvt.evaluate.readers.vsi_bench import VsiBench

READERS: tuple[Reader, ...] = (Careful(), Official(), LmmsEval072(), LmmsEval073(), VsiBench())
"""Every reader; what commands offer, help and docs say of readers follows from this."""
NAMES = tuple(reader.name for reader in READERS)
OLD_NAMES = {"lmms-eval": "lmms-eval-0.7.2"}
"""Names that older scripts use, each with the reader that it means."""
DEFAULT = NAMES[0]


def find_reader(name: str) -> Reader:
    """The reader of a name, or of an old one.

    Raises:
        InputError: there is none.
    """
    for reader in READERS:
        if reader.name == OLD_NAMES.get(name, name):
            return reader
    raise InputError(f"reader: no '{name}'{suggest(name, NAMES)}; there are {', '.join(NAMES)}")


def offered() -> str:
    """The readers with their titles, in one line for help."""
    return "; ".join(f"{reader.name} ({reader.title})" for reader in READERS)


def read_answer(text: str, options: Sequence[str], reader: str = DEFAULT) -> str | None:
    """The letter of the option that a model's answer names.

    Args:
        text: the answer as the model gave it.
        options: the options' texts, that of ``A`` first.
        reader: how it is read: one of :data:`NAMES`, see ``tvt evaluate --extract``.

    Returns:
        An upper-case letter, or ``None`` where the answer clearly names no single option.

    Raises:
        InputError: unknown reader, no options, or more than there are letters.
    """
    found = find_reader(reader)
    if isinstance(options, str) or not 0 < len(options) <= 26:
        raise InputError("options: give the list of the options' texts, 1 to 26 of them")
    return found.read_letter(text, options)
