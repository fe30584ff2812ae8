"""The row manifest of a mixture: which row of which source comes when, exactly as often as the mixture says.

A source with n rows of which c examples are wanted is used in whole passes, each in an order of its own, and the rest is the
start of one more pass: every row stands floor(c / n) or ceil(c / n) times. The passes of a source follow each other, so that no
row comes back before all others were used. The sources are interleaved at random but evenly: the k-th example of a source lies
at a random place of the k-th c-th of the whole, so that the mixture holds in every stretch of training, not in the mean only.

All of it depends on the seed and the sources' names, never on the order in which sources are given. The bits come from PCG64's
raw stream and from SeedSequence, which numpy keeps stable over its versions, unlike its ``permutation``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class RowManifest:
    """The rows in the order of training. ``source`` indexes ``sources``, ``row`` counts within its source, both from 0."""

    sources: tuple[str, ...]
    """Names, sorted; those without examples left out."""
    source: Ints
    row: Ints
    passes: Ints
    """In which pass over its source a row is used, from 0."""

    def __len__(self) -> int:
        return len(self.source)


def draw_rows(counts: Mapping[str, int], available: Mapping[str, int], seed: int) -> RowManifest:
    """Draw the row manifest.

    Args:
        counts: examples wanted of each source.
        available: rows that each source has.
        seed: of all randomness.

    Raises:
        ValueError: examples wanted of a source without rows, or a negative count.
    """
    sources = tuple(sorted(source for source, count in counts.items() if count))
    for name in sources:
        if counts[name] < 0 or available.get(name, 0) <= 0:
            raise ValueError(f"{counts[name]} examples of {name}, which has {available.get(name, 0)} rows")
    rows: list[Ints] = []
    passes: list[Ints] = []
    places: list[npt.NDArray[np.float64]] = []
    for name in sources:
        row, number = _passes(counts[name], available[name], seed, name)
        rows.append(row)
        passes.append(number)
        places.append(_places(counts[name], seed, name))
    owner = np.repeat(np.arange(len(sources), dtype=np.int32), [len(row) for row in rows])
    # Stable, so that equal places, however unlikely, fall in the order of the names.
    order = np.argsort(_joined(places, np.float64), kind="stable")
    return RowManifest(
        sources=sources,
        source=owner[order],
        row=_joined(rows, np.int32)[order],
        passes=_joined(passes, np.int32)[order],
    )


def epochs(counts: Mapping[str, int], available: Mapping[str, int]) -> dict[str, float]:
    """How often each source is used on average; 0 where nothing of it is."""
    return {name: count / available[name] if count else 0.0 for name, count in counts.items()}


def _passes(count: int, available: int, seed: int, name: str) -> tuple[Ints, Ints]:
    """Rows of a source in the order of use, and the pass of each."""
    rows = np.empty(count, np.int32)
    for number, start in enumerate(range(0, count, available)):
        order = np.argsort(_bits(available, seed, name, f"pass {number}"), kind="stable")
        rows[start : start + available] = order[: count - start]
    return rows, (np.arange(count) // available).astype(np.int32)


def _places(count: int, seed: int, name: str) -> npt.NDArray[np.float64]:
    """Where in the whole, in [0, 1), each example of a source lies; ascending."""
    within = (_bits(count, seed, name, "places") >> np.uint64(11)) * 2.0**-53
    places: npt.NDArray[np.float64] = (np.arange(count) + within) / count
    return places


def _bits(count: int, seed: int, name: str, purpose: str) -> npt.NDArray[np.uint64]:
    """Raw random bits that belong to the seed, the source's name and a purpose."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
    generator = np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big")))
    bits: npt.NDArray[np.uint64] = generator.random_raw(count)
    return bits


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
