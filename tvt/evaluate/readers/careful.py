"""tvt's own reading of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvt.core.question import LETTERS
from tvt.evaluate.readers.contract import Reader


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
        from tvt.evaluate.readers.cleaning import parts
        from tvt.evaluate.readers.naming import mark
        from tvt.evaluate.readers.option_texts import option_texts

        texts = option_texts(tuple(options))
        for part in parts(text):
            whole = _whole(part)
            found = texts.whole(part) if whole is None else whole
            if found is None:
                found = decide(mark(part, texts), texts)
            if found is not None:
                return LETTERS[found] if 0 <= found < len(options) else None
        return None

    def read_number(self, text: str) -> float | None:
        """See :class:`Careful`."""
        from tvt.evaluate.readers.quantities import quantity

        return quantity(text)


def _whole(part: str) -> int | None:
    """The letter that is the whole of a text, but for brackets and punctuation."""
    said = part.strip(" \t\n()[]{}<>.,:;!?-|'\"")
    return LETTERS.index(said.upper()) if len(said) == 1 and said.upper() in LETTERS else None
