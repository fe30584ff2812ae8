"""The sentences of a marked text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SENTENCE_END = re.compile(r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bfig)[.!?]+(?=[\s)\]]|$)|[。！？;；]|\n+")


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    start: int
    end: str
    """What ends it."""
    last: bool
    fresh: bool
    """Whether it begins a line."""


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences and lines; one that announces something (":", "is") goes on in the next line."""
    begin = 0
    spans = []
    for match in [*SENTENCE_END.finditer(text), None]:
        end = len(text) if match is None else match.start()
        said = text[begin:end].strip()
        announces = match is not None and match.group().startswith("\n") and re.search(r"(?::|\bis|\banswer|=)$", said)
        if said and not announces:
            spans.append((begin, said, "" if match is None else match.group()))
        if not announces:
            begin = len(text) if match is None else match.end()
    for k, (start, said, end) in enumerate(spans):
        fresh = not text[:start].strip(" \t") or text[:start].rstrip(" \t").endswith("\n")
        yield Sentence(text=" ".join(said.split()), start=start, end=end, last=k == len(spans) - 1, fresh=fresh)
