"""Types that many modules share: arrays, whose shapes stand in the docstrings of what takes or gives them, and progress."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Positions = NDArray[np.intp]

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and of how much; 0 where nobody knows."""


def silent(*what: object) -> None:
    """Shows no progress and no notes."""
