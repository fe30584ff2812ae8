"""BLINK's official reading of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvt.evaluate.readers.contract import Reader
from tvt.evaluate.readers.vsi_bench import first_number

_LETTERS = "ABCDE"


@dataclass(frozen=True, kw_only=True)
class Official(Reader):
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
        """See :class:`Official`."""
        if len(text) == 1 and text in _LETTERS:
            return text
        if len(text) == 3 and text[0] == "(" and text[2] == ")" and text[1] in _LETTERS:
            return text[1]
        known = {f"({letter})": letter for letter in _LETTERS[: len(options)]}
        everywhere = known.keys() & set(text.split())
        at_end = known.keys() & set(text.rpartition("\n\n")[2].split())
        for found in (at_end, everywhere):
            if len(found) == 1:
                return known[found.pop()]
        return None

    def read_number(self, text: str) -> float | None:
        """See :func:`tvt.evaluate.readers.vsi_bench.first_number`."""
        return first_number(text)
