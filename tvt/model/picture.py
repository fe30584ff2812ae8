"""Encoded pictures, decoded in one way for training, scoring, previews and checks.

The result is upright (EXIF), RGB, 8 bits a channel, the first frame of an animation. Transparent parts lie on white, as vLLM
(``vllm/multimodal/image.py``, ``rgba_to_rgb``) and qwen-vl-utils (``to_rgb``) show them; Pillow's own conversion would drop the
alpha channel and show the colour that is stored behind it, black as a rule. Grey of 16 bits is divided by 257, so that 65535
becomes 255, where Pillow's own conversion would clip it at 255; colours of 16 bits keep their high byte. Numbers without a
stated white (32-bit integers, floating point) are refused. Colour profiles are not applied. Where the same bytes would give
other pixels, ``SCORER_VERSION`` and ``ORDER_VERSION`` are raised.

Limits of pixels (``model.max_pixels``, ``model.min_pixels``) are applied here, before any processor, not by the processors' own
settings: these differ from family to family in name and meaning (pixels, a longest edge, tiles, frames counted in), many
families have none, and what is scaled here is the same for training, scoring, the check of limits and the estimate of memory.
LLaMA-Factory's ``image_max_pixels`` and ms-swift's ``max_pixels`` do the same. Processors then round to their patches, so that
the pixels which a model sees may be some percent more. The few that enlarge every picture to tiles are set as they are loaded
(:mod:`tvt.model.loading`).
"""

from __future__ import annotations

import io
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from tvt.errors import reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 2**30 // 12
"""Larger pictures are refused by their header, before any memory is taken: 89,478,485 pixels, above which Pillow warns."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA", "QOI", "PCX", "SGI")
"""What is read; other formats of Pillow start programs (EPS) or are no pictures of pixels."""

_PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF."""
_SAVE = "save it as an 8-bit PNG, scaled to the range that should be seen"
_NO_WHITE = f"floating-point values, whose white is not defined; {_SAVE}"


class PictureError(ValueError):
    """Bytes that cannot be shown to a model; says why, and what to do where that is not to replace the file."""


class BrokenPictureError(PictureError):
    """Bytes that are no picture, or a damaged one."""


def decode(content: bytes, max_pixels: int | None = None, min_pixels: int | None = None) -> Image:
    """A picture as the model is shown it: upright, RGB, transparent parts on white, with at most ``max_pixels`` and, where the
    two allow it, at least ``min_pixels``.

    Raises:
        PictureError: it cannot be read, is too large, or its values have no defined brightness.
    """
    from PIL import ImageOps

    with _opened(content) as opened:
        try:
            opened.load()
            _correct_transparency(opened, content)
            return _scaled(as_rgb(ImageOps.exif_transpose(opened)), max_pixels, min_pixels)
        except PictureError:
            raise
        except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
            raise BrokenPictureError(_reason(error)) from error


def shown(image: Image, max_pixels: int | None = None, min_pixels: int | None = None) -> Image:
    """A picture that is decoded already, as the model is shown it: upright, RGB, scaled as :func:`decode` does.

    Raises:
        PictureError: its values have no defined brightness.
    """
    from PIL import ImageOps

    return _scaled(as_rgb(ImageOps.exif_transpose(image)), max_pixels, min_pixels)


def shown_size(content: bytes, max_pixels: int | None = None, min_pixels: int | None = None) -> tuple[int, int]:
    """Width and height of the decoded picture, scaled as :func:`decode` scales it, from its header alone.

    Raises:
        PictureError: see :func:`decode`; damage behind the header is not found.
    """
    return scaled_size(*_header_size(content), max_pixels, min_pixels)


def scaled_size(width: int, height: int, max_pixels: int | None, min_pixels: int | None = None) -> tuple[int, int]:
    """Width and height of a picture once it has from ``min_pixels`` to ``max_pixels``; the sides' ratio is kept."""
    if min_pixels is not None and width * height < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        width, height = math.ceil(width * scale), math.ceil(height * scale)
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    short = max(1, int(min(width, height) * scale))
    long = min(max(1, int(max(width, height) * scale)), max_pixels // short)
    return (long, short) if width > height else (short, long)


def _header_size(content: bytes) -> tuple[int, int]:
    with _opened(content) as opened:
        if opened.format == "PNG" and "exif" not in opened.info:  # Pillow would decode it all to look behind the pixels
            return opened.size
        if opened.format == "TIFF":  # Pillow has turned its size already
            return opened.size
        try:
            turned = opened.getexif().get(_ORIENTATION) in _TURNED
        except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
            raise BrokenPictureError(_reason(error)) from error
        return (opened.height, opened.width) if turned else opened.size


def as_rgb(image: Image) -> Image:
    """A loaded picture of any mode as RGB.

    Raises:
        PictureError: its mode has no defined brightness; see the table on the data page.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise PictureError(_NO_WHITE)
    if image.mode.startswith("I"):
        return _of_16_bits(image)
    if image.mode in _ALPHA or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _scaled(image: Image, max_pixels: int | None, min_pixels: int | None) -> Image:
    from PIL.Image import Resampling

    size = scaled_size(*image.size, max_pixels, min_pixels)
    return image if size == image.size else image.resize(size, Resampling.BICUBIC)


def size_fault(width: int, height: int) -> str | None:
    """What is wrong with a picture of this size, or ``None``."""
    if width < 1 or height < 1:
        return f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        return f"{width:,} x {height:,} pixels, more than {MAX_PIXELS:,}; scale it down"
    return None


def _opened(content: bytes) -> Image:
    """The picture with its header read and checked."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BrokenPictureError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the same
            opened = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MAX_PIXELS:,} pixels; scale it down") from error
    except UnidentifiedImageError as error:
        raise BrokenPictureError("not an image that Pillow can read; use PNG or JPEG") from error
    except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
        raise BrokenPictureError(_reason(error)) from error
    fault = size_fault(*opened.size) or _mode_fault(opened, content)
    if fault is not None:
        opened.close()
        raise PictureError(fault)
    return opened


@cache
def _formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _mode_fault(image: Image, content: bytes) -> str | None:
    """Why the stored values have no defined brightness, or ``None``."""
    if image.mode == "P" and image.palette is None:
        return "colours of a palette that is missing; save it anew"
    if image.mode in _PLAIN or image.mode in _ALPHA:
        masked = image.format == "PNG" and content[24:26] == b"\x10\x02" and "transparency" in image.info
        return "16-bit colours with one of them transparent; save it with an alpha channel" if masked else None
    if image.mode == "F":
        return _NO_WHITE
    if image.mode.startswith("I;16") and image.format == "TIFF":
        return _tiff_fault(image)
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):  # Pillow scales a PGM's values to 16 bits
        return None
    integers = "32-bit integers, whose white" if image.mode == "I" else f"mode {image.mode}, whose brightness"
    return f"{integers} is not defined; {_SAVE}"


def _tiff_fault(image: Any) -> str | None:
    """Why a TIFF's values are misread, or ``None``: Pillow reads 12 bits as they are, and inverts no scale with 0 for white."""
    (bits, *_), photometric = image.tag_v2.get(_BITS, (1,)), image.tag_v2.get(_PHOTOMETRIC)
    if bits == 16 and photometric != _WHITE_IS_ZERO:
        return None
    return f"a TIFF of {bits} bits a pixel{', with 0 for white' * (photometric == _WHITE_IS_ZERO)}; {_SAVE}"


def _correct_transparency(image: Image, content: bytes) -> None:
    """Scale the transparent grey of a PNG as its pixels are scaled: of 1, 2 or 4 bits Pillow scales these alone."""
    transparent = image.info.get("transparency")
    if image.format == "PNG" and image.mode in ("1", "L") and isinstance(transparent, int) and content[24] < 8:
        image.info["transparency"] = transparent * 255 // (2 ** content[24] - 1)


def _of_16_bits(image: Image) -> Image:
    """A grey picture of values from 0 to 65535, rounded to 8 bits."""
    import numpy as np
    from PIL.Image import fromarray

    values = np.asarray(image).astype(np.uint32)  # room for the rounding
    grey = fromarray(((values + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.paste(255, mask=fromarray((values == transparent).astype(np.uint8) * 255))
    return grey.convert("RGB")


def _on_white(image: Image) -> Image:
    from PIL.Image import new

    straight: Any = {"RGBa": "RGBA", "La": "LA"}
    layer = image.convert(straight[image.mode]) if image.mode in straight else image
    layer = layer.convert("RGBA")
    paper = new("RGB", layer.size, (255, 255, 255))
    paper.paste(layer, mask=layer.getchannel("A"))
    return paper


def _reason(error: Exception) -> str:
    return reason_of(error)[:200]
