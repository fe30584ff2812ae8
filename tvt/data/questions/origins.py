"""Where rows come from, as their ``provenance`` says: sources with their licences, counted while the rows are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tvt.data.tasks import load_manifests
from tvt.io.card import NOT_STATED

_KEYS = ("source", "licence")


@dataclass(frozen=True, order=True, kw_only=True)
class Origin:
    """A source that rows come from."""

    source: str
    """``not stated`` where rows do not say."""
    licence: str
    rows: int

    def plain(self) -> dict[str, Any]:
        """As plain values, with the source's address where a bundled manifest tells it."""
        return {**asdict(self), "url": _addresses().get(self.source)}


@cache
def _addresses() -> dict[str, str]:
    """Addresses of the raw data that tvt data build knows, by name."""
    return {source.name: source.url for manifest in load_manifests() for source in manifest.sources}


@dataclass
class Origins:
    """Counts the origins of rows, a batch at a time.

    A million rows say a million different things, of which two matter: these are cut out of the JSON text by Arrow, and only
    the few different ones are decoded.
    """

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, told: pa.Array) -> None:
        """Count the rows of a column of ``provenance``."""
        parts = [pc.struct_field(pc.extract_regex(told, _pattern(key)), key) for key in _KEYS]
        pairs = pc.binary_join_element_wise(*(pc.fill_null(part, "") for part in parts), "\x1f")
        for entry in pc.value_counts(pairs).to_pylist():
            source, licence = (_text(part) for part in entry["values"].split("\x1f", 1))
            self._counts[source, licence] += entry["counts"]

    def found(self) -> Iterator[Origin]:
        """The origins, by name."""
        for (source, licence), rows in sorted(self._counts.items()):
            yield Origin(source=source, licence=licence, rows=rows)


def _pattern(key: str) -> str:
    """The raw JSON text that stands behind a key, where it stands first."""
    return rf'"{key}"\s*:\s*"(?P<{key}>(?:[^"\\]|\\.)*)"'


def _text(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"')).strip() or NOT_STATED
    except ValueError:
        return NOT_STATED
