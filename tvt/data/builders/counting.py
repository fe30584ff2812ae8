"""Counting from any counted images: four numbers near each other, of which one is right.

The options are four consecutive numbers, in no order, as BLINK has them ("(A) 0 (B) 3 (C) 2 (D) 1"). Which four is fixed by the
unit's key, evenly among those that hold the right number and none below 0. Numbers and windows are strata together, and strata
are taken in turn: among the rows that show the same four numbers, each of them is right equally often. So neither the smallest
nor a middle number, nor how often a count occurs, gives the answer away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tvt.data.builders.contract import UnfitError

OPTIONS = 4
MOST = 12
"""Larger counts are not asked for: people do not see them at a glance."""
LEAST_IMAGE = 160
"""Shorter side of an image, in pixels."""


def lowest_option(count: int, key: str) -> int:
    """The lowest of the four numbers offered to the unit of this key, for a count of 0 to ``MOST``."""
    first, last = max(0, count - OPTIONS + 1), min(count, MOST - OPTIONS + 1)
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return first + number % (last - first + 1)


def stratum_of(count: int, lowest: int) -> str:
    """The stratum of a count that is offered among four numbers."""
    return f"{count} of {lowest} to {lowest + OPTIONS - 1}"


def number_options(count: int, lowest: int, answer: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Four consecutive numbers from ``lowest`` on, the count at ``answer``, the others in no order."""
    others = [number for number in range(lowest, lowest + OPTIONS) if number != count]
    shuffled = [others[at] for at in rng.permutation(len(others))]
    shuffled.insert(answer, count)
    return tuple(map(str, shuffled))


def check_image(image: Image.Image) -> None:
    """Raise UnfitError where there is too little to count on."""
    if min(image.size) < LEAST_IMAGE:
        raise UnfitError("the image is too small")


def unanimous(counts: Sequence[int]) -> bool:
    """Whether all counts of the same things in the same image are the same."""
    return len(set(counts)) == 1
