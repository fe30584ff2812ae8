"""Arrays whose axes have names: the same values in the order of other names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvt.types import Floats

Names = Sequence[str]


def positions(names: Names, wanted: Names) -> list[int]:
    """Where each of the ``wanted`` names stands.

    Raises:
        KeyError: a name is not there.
    """
    at = {name: k for k, name in enumerate(names)}
    return [at[name] for name in wanted]


def aligned(values: Floats, *axes: tuple[Names, Names] | None, missing: float = np.nan) -> Floats:
    """The values in the order of other names.

    Args:
        values: an array with as many axes as are given.
        axes: for each axis the names that it has and those that are wanted; ``None`` leaves an axis as it is.
        missing: the value where a wanted name is not there.
    """
    for axis, names in enumerate(axes):
        if names is None or tuple(names[0]) == tuple(names[1]):
            continue
        at = {name: k for k, name in enumerate(names[0])}
        places = np.array([at.get(name, -1) for name in names[1]], dtype=int)
        shape = (*values.shape[:axis], len(places), *values.shape[axis + 1 :])
        found = np.full(shape, missing)
        there = (slice(None),) * axis + (places >= 0,)
        found[there] = np.take(values, places[places >= 0], axis=axis)
        values = found
    return values
