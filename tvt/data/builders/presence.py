"""Which of the images that an index names are there: sources are large, and nobody needs all of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tvt.data.builders.contract import Unit
from tvt.data.builders.raw_files import inside
from tvt.errors import InputError


def only_present(source: Path, units: Sequence[Unit], index: Path) -> list[Unit]:
    """The units all of whose images lie in the source; folders are listed once, and no image is opened.

    Args:
        source: the source's folder.
        units: their ``images`` are paths relative to it.
        index: the file that names the images, for the message.

    Raises:
        InputError: an image's path leads out of the source, or the source has none of the images.
    """
    listed: dict[str, frozenset[str]] = {}

    def there(relative: str) -> bool:
        path = PurePosixPath(relative)
        folder = str(path.parent)
        if folder not in listed:
            listed[folder] = _names(source if folder == "." else inside(source, folder))
        return path.name in listed[folder]

    found = [unit for unit in units if all(map(there, unit.images))]
    if units and not found:
        missing = units[0].images[0]
        raise InputError(f"{source}: none of the {len(units)} images that {index.name} names is there; the first is {missing}")
    return found


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
