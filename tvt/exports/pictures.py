"""Pictures as files that every trainer shows as tvt shows them.

Trainers open pictures with Pillow and convert them to RGB, each in its own way: transparent parts turn black, 16 bits are cut,
and whether a photograph is turned upright differs. A plain picture, on which all agree, is written as it is; any other,
and any with more or fewer pixels than are wanted, is written as what :func:`tvt.model.picture.decode` makes of it.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvt.errors import InputError
from tvt.model.picture import PictureError, decode, scaled_size

FOLDER = "images"
_ORIENTATION = 0x0112
_SUFFIX = {"PNG": ".png", "JPEG": ".jpg"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture to be written."""

    content: bytes
    suffix: str
    size: tuple[int, int]


def shown(content: bytes, max_pixels: int | None = None, min_pixels: int | None = None) -> Shown:
    """The picture as every trainer shows it alike: the very bytes where they are plain, else a PNG.

    Raises:
        PictureError: it cannot be read, or has no defined brightness.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            if _is_plain(opened) and scaled_size(*opened.size, max_pixels, min_pixels) == opened.size:
                opened.load()  # a damaged file is found here, not by the trainer
                return Shown(content=content, suffix=_SUFFIX[str(opened.format)], size=opened.size)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        pass  # decode says what is wrong
    picture = decode(content, max_pixels, min_pixels)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return Shown(content=stream.getvalue(), suffix=".png", size=picture.size)


def _is_plain(opened: Any) -> bool:
    """Whether Pillow's conversion to RGB is what tvt shows: 8 bits, opaque, upright, one frame."""
    return (
        opened.format in _SUFFIX
        and opened.mode in ("RGB", "L")
        and "transparency" not in opened.info
        and getattr(opened, "n_frames", 1) == 1
        and opened.getexif().get(_ORIENTATION, 1) == 1
    )


class Pictures:
    """Writes each different picture of an export once, under a name made of its bytes.

    Args:
        folder: of the export.
        max_pixels: larger pictures are scaled down to these.
        min_pixels: smaller ones up.
    """

    def __init__(self, folder: Path, max_pixels: int | None = None, min_pixels: int | None = None) -> None:
        self._folder, self._limits = folder, (max_pixels, min_pixels)
        self._places: dict[bytes, str] = {}
        self._seen: set[bytes] = set()
        self.most_pixels = 0
        """Of the largest picture."""
        self.least_side = 0
        """The shortest side of any picture; 0 where there are none."""

    def __len__(self) -> int:
        return len(self._seen)

    def convert(self, content: bytes, where: str) -> Shown:
        """The picture to be shown; ``where`` names its row in a message.

        Raises:
            InputError: it cannot be shown.
        """
        self._seen.add(hashlib.sha256(content).digest())
        try:
            result = shown(content, *self._limits)
        except PictureError as error:
            raise InputError(f"{where}: a picture cannot be read ({error}); mend or drop the row") from error
        width, height = result.size
        self.most_pixels = max(self.most_pixels, width * height)
        self.least_side = min(self.least_side or width, width, height)
        return result

    def place(self, content: bytes, where: str) -> str:
        """The picture's path relative to the folder; it is written if it is new."""
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            picture = self.convert(content, where)
            name = key.hex()[:32]
            path = Path(FOLDER) / name[:2] / f"{name}{picture.suffix}"
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / path).write_bytes(picture.content)
            self._places[key] = path.as_posix()
        return self._places[key]
