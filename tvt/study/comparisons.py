"""Comparisons of a study, kept in its folder: the mixture and the entries as they were when their runs were first asked for.

Baselines such as *proportional* follow from the matrix, which grows with the study; a comparison that was begun keeps its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tvt.core.comparison import Entry
from tvt.core.mixture import Mixture
from tvt.errors import InputError, suggest
from tvt.io import atomic, digest
from tvt.io.mixture_file import load_mixture, save_mixture

MIXTURE, ENTRIES = "mixture.yaml", "entries.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A comparison of the study."""

    name: str
    mixture: Mixture
    entries: tuple[Entry, ...]


def comparison_name(mixture: Mixture, stem: str) -> str:
    """What the comparison of a mixture is called: the mixture file's name and the start of its content's digest."""
    return f"{stem}-{digest.of_value(mixture.model_dump(mode='json'))[:8]}"


def keep_comparison(folder: Path, kept: Kept) -> None:
    """Write a comparison into a study's folder; the entries come last."""
    place = folder / "comparisons" / kept.name
    save_mixture(kept.mixture, place / MIXTURE)
    told = {"schema": SCHEMA, "entries": [entry.model_dump(mode="json") for entry in kept.entries]}
    atomic.write_text(place / ENTRIES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def comparison_names(folder: Path) -> tuple[str, ...]:
    """The comparisons of a study, the oldest first."""
    found = sorted((folder / "comparisons").glob(f"*/{ENTRIES}"), key=lambda path: (path.stat().st_mtime_ns, path))
    return tuple(path.parent.name for path in found)


def load_comparison(folder: Path, name: str) -> Kept:
    """Read a comparison.

    Raises:
        InputError: no such comparison, or a damaged one.
    """
    place = folder / "comparisons" / name
    names: Sequence[str] = comparison_names(folder)
    if name not in names:
        known = f"; there are {', '.join(names)}" if names else ""
        raise InputError(f"{folder}: no comparison '{name}'{suggest(name, names)}{known}")
    try:
        told = json.loads((place / ENTRIES).read_text(encoding="utf-8"))
        entries = tuple(Entry.model_validate(entry) for entry in told["entries"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{place / ENTRIES}: damaged; delete {place} and compare the mixture again") from error
    return Kept(name=name, mixture=load_mixture(place / MIXTURE), entries=entries)
