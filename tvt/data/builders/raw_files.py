"""Reading the raw files of a source: nothing in them is trusted; what is wrong is said with the file and the next step.

Sources are large, and nobody needs all of one: images that an index names may be missing.
"""

from __future__ import annotations

import io
import json
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tvt.data.builders.contract import IMAGE_SUFFIXES, Unit
from tvt.data.csv_table import Faults
from tvt.errors import InputError
from tvt.model.picture import as_rgb

MAX_BYTES = 2**30
"""Larger files are refused, unless the reader says otherwise: no index or image of a source is that large."""
MAX_PIXELS = 170_000_000
"""Larger images are refused: a few bytes can claim to be more than fits the memory. Pillow's own limit is little more."""

_AGAIN = "get the file again from the source, or remove what belongs to it"


def inside(source: Path, relative: str) -> Path:
    """The path of a file that an index of the source names, which must lie in the source's folder, links followed.

    Raises:
        InputError: it is absolute or leads out of the folder.
    """
    if relative and "\0" not in relative and not relative.startswith(("/", "\\")):
        path, root = os.path.realpath(source / relative), os.path.realpath(source)
        if path == root or path.startswith(os.path.join(root, "")):
            return source / relative
    raise InputError(f"{source}: '{relative[:200]}' leads out of this folder; mend the index that names it")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        InputError: missing, unreadable, no regular file, or larger than ``limit``.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # without waiting: it might be a pipe
        with open(handle, "rb") as stream:
            result = os.fstat(handle)
            if not stat.S_ISREG(result.st_mode):
                raise InputError(f"{path}: is no regular file; {_AGAIN}")
            if result.st_size > limit:
                raise InputError(f"{path}: {result.st_size} bytes, more than {limit}; {_AGAIN}")
            return stream.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}; check the path and its permissions") from error


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a file in UTF-8.

    Raises:
        InputError: as :func:`read_bytes`, or not UTF-8.
    """
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8; {_AGAIN}") from error


def read_json(path: Path, limit: int = MAX_BYTES, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        limit: bytes; a larger file is refused.
        object_hook: what stands for each object, as in :func:`json.loads`; it can drop what nobody needs while it is read.

    Raises:
        InputError: as :func:`read_text`, or no JSON.
    """
    try:
        return json.loads(read_text(path, limit), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        why = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise InputError(f"{path}: damaged JSON ({why}); {_AGAIN}") from error


def read_json_lines(path: Path, limit: int = MAX_BYTES) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with the number of its line; empty lines are left out.

    Raises:
        InputError: as :func:`read_text`, or lines that are no JSON object; every fault, one line each.
    """
    faults = Faults(path)
    result: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(read_text(path, limit).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            result.append((number, record))
        else:
            faults.add(number, f"not one JSON object; {_AGAIN}")
    faults.check()
    return result


def read_image(path: Path, longest: int | None = None) -> Image.Image:
    """An image as a viewer shows it: turned as its EXIF says, RGB, what is transparent on white.

    Args:
        path: the file.
        longest: a larger image is scaled so that its longer side has this many pixels.

    Raises:
        InputError: missing, damaged, or larger than ``MAX_PIXELS``.
    """
    data = io.BytesIO(read_bytes(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd EXIF; what matters raises
            with Image.open(data) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                if longest is not None:
                    image.draft("RGB", (2 * longest, 2 * longest))  # a JPEG is decoded no finer than needed
                image.load()
                shown = as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: an image of more than {MAX_PIXELS:,} pixels; scale it down, or remove it") from error
    except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
        raise InputError(f"{path}: no image, or a damaged one; {_AGAIN}") from error
    return _shrunk(shown, longest)


def image_files(folder: Path) -> list[str]:
    """Names of the image files that lie in a folder, in their order; left out are hidden ones, and names that are no UTF-8.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    try:
        names: Sequence[str] = os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}; this folder of images is needed") from error
    return sorted(
        name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") and _is_text(name)
    )


def _is_text(name: str) -> bool:
    """Whether a file's name can be written down: others come from archives that were unpacked with the wrong encoding."""
    return not any("\ud800" <= mark <= "\udfff" for mark in name)


def _shrunk(image: Image.Image, longest: int | None) -> Image.Image:
    if longest is None or max(image.size) <= longest:
        return image
    scale = longest / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


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

    result = [unit for unit in units if all(map(there, unit.images))]
    if units and not result:
        missing = units[0].images[0]
        raise InputError(f"{source}: none of the {len(units)} images that {index.name} names is there; the first is {missing}")
    return result


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def read_depth(path: Path, farthest: float) -> NDArray[np.float64]:
    """Metres of an image of whole millimetres; not a number where unknown or not nearer than ``farthest``.

    Raises:
        InputError: no image of one band of whole numbers.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path}: {image.width} x {image.height} pixels, more than {MAX_PIXELS}; {_AGAIN}")
            millimetres = np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
        raise InputError(f"{path}: no image, or a damaged one; {_AGAIN}") from error
    if millimetres.ndim != 2 or millimetres.dtype.kind not in "iu":
        raise InputError(f"{path}: depth is one band of whole millimetres, and this is not; {_AGAIN}")
    metres = millimetres / 1000
    return np.where((metres > 0) & (metres < farthest), metres, np.nan)
