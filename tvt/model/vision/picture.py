"""Encoded images: how they are decoded, and how one travels undecoded until it is known whether its pixels are needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK = "tvt"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """An image as its file has it."""

    key: str
    """sha256 of ``content``."""
    content: bytes
    open: Callable[[], Image]
    """Decodes it; complains in the words of whoever owns the image."""


def decode(content: bytes) -> Image:
    """An image as the model is shown it: upright, RGB.

    Raises:
        OSError, ValueError, SyntaxError, TypeError: it cannot be read; more errors of Pillow are among them.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def undecoded(content: bytes, open: Callable[[], Image]) -> Image:  # noqa: A002 - the word of the field
    """A single pixel that carries the encoded image through code which only hands images on."""
    from PIL import Image

    picture = Image.new("RGB", (1, 1))
    picture.info[_MARK] = Encoded(key=hashlib.sha256(content).hexdigest(), content=content, open=open)
    return picture


def encoded(picture: Any) -> Encoded | None:
    """What :func:`undecoded` put into a picture; ``None`` for any other."""
    found = getattr(picture, "info", {}).get(_MARK)
    return found if isinstance(found, Encoded) else None
