"""The sentences of a marked text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SENTENCE_END = re.compile(r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bfig)[.!?]+(?=[\s)\]]|$)|[。！？;；]|\n+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence or a line."""

    text: str
    start: int
    """Where it begins in the whole text."""
    end: str
    """What ends it."""
    last: bool
    fresh: bool
    """Whether it begins a line."""


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences and lines; one that announces something (":", "is") goes on in the next line."""
    begin = 0
    spans: list[tuple[int, str, str]] = []
    for match in [*SENTENCE_END.finditer(text), None]:
        at, end = (len(text), "") if match is None else (match.start(), match.group())
        said = text[begin:at].strip()
        if end.startswith("\n") and re.search(r"(?::|\bis|\banswer|=)$", said):
            continue
        if said:
            spans.append((begin, said, end))
        begin = at + len(end)
    for k, (start, said, end) in enumerate(spans):
        before = text[:start].rstrip(" \t")
        fresh = not before or before.endswith("\n")
        yield Sentence(text=" ".join(said.split()), start=start, end=end, last=k == len(spans) - 1, fresh=fresh)
