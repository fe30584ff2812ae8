"""Images that look alike: perceptual hashes, and the pairs of them that lie close together.

A hash has 64 bits (Zauner 2010: the signs of the lowest frequencies of the cosine transform, against their median). Scaling,
recompression and small marks flip few of them; unrelated images differ in some 32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tvt.errors import needs_data_extra
from tvt.model.picture import as_rgb, decode

Hashes = npt.NDArray[np.uint64]

NEAR = 8
"""Two images whose hashes differ in at most so many bits are taken for the same picture."""
FLAT = 2.0
"""Images whose grey values deviate less than this (of 255) have no frequencies to speak of: only equal ones are the same."""
_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class Look:
    """What is remembered of an image."""

    exact: bytes
    """Digest of its size and its pixels: the same for PNG and a lossless copy."""
    hash: int | None
    """Perceptual hash; ``None`` where the image is flat."""


@dataclass(frozen=True, slots=True)
class Match:
    """An image that was found again."""

    name: str
    bits: int
    """In how many bits the hashes differ."""
    same: bool
    """Whether its pixels are equal."""

    @property
    def told(self) -> str:
        """What another image does, seen from it."""
        return f"shows {self.name}" if self.same else f"looks like {self.name} ({self.bits} of 64 bits differ)"


def look_at(image: Image.Image) -> Look:
    """Digest and hash of a decoded image.

    Raises:
        MissingPackageError: the data extra is not installed.
    """
    with needs_data_extra():
        import imagehash
    image = as_rgb(image)
    exact = hashlib.blake2b(image.tobytes(), digest_size=16, key=repr(image.size).encode()).digest()
    grey = image.convert("L")
    if float(np.std(np.asarray(grey.resize((32, 32), Image.Resampling.BOX)))) < FLAT:
        return Look(exact, None)
    bits = imagehash.phash(grey).hash.ravel()
    return Look(exact, int.from_bytes(np.packbits(bits).tobytes(), "big"))


def look_at_bytes(data: bytes) -> Look:
    """Digest and hash of an encoded image; see :func:`look_at`.

    Raises:
        PictureError: no image that can be decoded.
    """
    return look_at(decode(data))


def popcount(values: Hashes) -> npt.NDArray[np.uint8]:
    """Bits that are set in each value (Hacker's Delight, 5-1: counts of ever wider fields added in parallel)."""
    ones = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    ones = (ones & np.uint64(0x3333333333333333)) + ((ones >> np.uint64(2)) & np.uint64(0x3333333333333333))
    ones = (ones + (ones >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    counts: npt.NDArray[np.uint8] = ((ones * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return counts


def near_pairs(left: Hashes, right: Hashes, near: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """Yield (place in ``left``, place in ``right``, bits that differ) of all pairs that differ in at most ``near`` bits."""
    for top in range(0, len(left), _BLOCK):
        for start in range(0, len(right), _BLOCK):
            apart = popcount(left[top : top + _BLOCK, None] ^ right[None, start : start + _BLOCK])
            for row, column in np.argwhere(apart <= near):
                yield top + int(row), start + int(column), int(apart[row, column])


def near_pairs_within(hashes: Hashes, near: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """Yield (place, later place, bits that differ) of all pairs of one set that differ in at most ``near`` bits."""
    for top in range(0, len(hashes), _BLOCK):
        for first, second, apart in near_pairs(hashes[top : top + _BLOCK], hashes[top:], near):
            if first < second:
                yield top + first, top + second, apart


class Gallery:
    """Images to compare with, each with a name: those of evaluation sets."""

    def __init__(self) -> None:
        self._exact: dict[bytes, str] = {}
        self._hashes: list[int] = []
        self._names: list[str] = []
        self._array: Hashes = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return len(self._exact)

    def add(self, look: Look, name: str) -> None:
        """Remember an image."""
        if look.exact in self._exact:
            return
        self._exact[look.exact] = name
        if look.hash is not None:
            self._hashes.append(look.hash)
            self._names.append(name)

    def find(self, look: Look, near: int = NEAR) -> Match | None:
        """The image that is the same, or the one that looks most alike with at most ``near`` bits apart."""
        same = self._exact.get(look.exact)
        if same is not None:
            return Match(same, 0, same=True)
        if look.hash is None or not self._hashes:
            return None
        if len(self._array) != len(self._hashes):
            self._array = np.array(self._hashes, np.uint64)
        apart = popcount(self._array ^ np.uint64(look.hash))
        best = int(np.argmin(apart))
        return Match(self._names[best], int(apart[best]), same=False) if apart[best] <= near else None

    @property
    def digest(self) -> str:
        """sha256 of what it holds, in whatever order it was added."""
        return hashlib.sha256(b"".join(sorted(self._exact))).hexdigest()
