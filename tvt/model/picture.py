"""Encoded images, decoded as models are shown them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(content: bytes) -> Image:
    """An image as the model is shown it: upright, RGB.

    Raises:
        OSError, ValueError, SyntaxError, TypeError: it cannot be read; more errors of Pillow are among them.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")
