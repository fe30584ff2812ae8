"""Encoded images without decoding them: are they whole, how large are they, and can a model be shown them?

PNG and JPEG, which are nearly all there is, are read by their structure: a PNG's checksums find any damage, a JPEG must reach
its end marker. Decoding every image of a million rows would take an hour; this takes seconds. Other formats are decoded.
"""

from __future__ import annotations

import struct
import zlib

from tvt.model.picture import BrokenPictureError, PictureError, decode, shown_size, size_fault

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of a frame, which states height and width."""


_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits a channel that a PNG may have, by its kind of colours; 3 is a palette."""


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image, after checking that it is whole and can be shown.

    Raises:
        BrokenPictureError: no image, or a damaged one.
        PictureError: too large, or of values that have no defined brightness.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(_JPEG):
        return _jpeg(data)
    return _other(data)


def image_fault(data: bytes) -> str | None:
    """What is wrong with an encoded image, or ``None``."""
    try:
        image_size(data)
    except BrokenPictureError as error:
        return f"broken image: {error}"
    except PictureError as error:
        return f"unusable image: {error}"
    return None


def _png(data: bytes) -> tuple[int, int]:
    at, size, kinds = len(_PNG), None, set()
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BrokenPictureError("damaged PNG (a checksum is wrong)")
        kinds.add(kind)
        if kind == b"IHDR" and length >= 13:
            size = struct.unpack(">II", data[at + 8 : at + 16])
            depth, colours = data[at + 16], data[at + 17]
            if at != len(_PNG) or depth not in _DEPTHS.get(colours, ()):
                raise BrokenPictureError("damaged PNG (no such kind of pixels)")
        if kind == b"IEND":
            if size is None or 0 in size or b"IDAT" not in kinds or (colours == 3 and b"PLTE" not in kinds):
                break
            if depth == 16 and b"tRNS" in kinds:  # only Pillow's reader knows which of them are refused
                shown_size(data)
            return _allowed(size[0], size[1])
        at = end
    raise BrokenPictureError("truncated PNG")


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    if b"\xff\xd9" not in data[-4096:]:  # some writers pad what follows the end
        raise BrokenPictureError("truncated JPEG")
    while at + 9 < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _SIZED:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if height and width:
                return _allowed(width, height)
            break
        at += 2 + (0 if marker == 0x01 or 0xD0 <= marker <= 0xD7 else int.from_bytes(data[at + 2 : at + 4], "big"))
    raise BrokenPictureError("damaged JPEG")


def _other(data: bytes) -> tuple[int, int]:
    if not data:
        raise BrokenPictureError("empty image")
    return decode(data).size


def _allowed(width: int, height: int) -> tuple[int, int]:
    fault = size_fault(width, height)
    if fault is not None:
        raise PictureError(fault)
    return width, height
