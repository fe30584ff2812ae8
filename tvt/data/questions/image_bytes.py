"""Encoded images without decoding them: are they whole, and how large are they?

PNG and JPEG, which are nearly all there is, are read by their structure: a PNG's checksums find any damage, a JPEG must reach
its end marker. Decoding every image of a million rows would take an hour; this takes seconds. Other formats go to Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of a frame, which states height and width."""


class BrokenImageError(ValueError):
    """Bytes that are no whole image; says why."""


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image, after checking that it is whole.

    Raises:
        BrokenImageError: no image, or a damaged one.
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
    except BrokenImageError as error:
        return str(error)
    return None


def _png(data: bytes) -> tuple[int, int]:
    at, size = len(_PNG), None
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BrokenImageError("damaged PNG (a checksum is wrong)")
        if kind == b"IHDR" and length >= 8:
            size = struct.unpack(">II", data[at + 8 : at + 16])
        if kind == b"IEND":
            if size is None or 0 in size:
                break
            return size[0], size[1]
        at = end
    raise BrokenImageError("truncated PNG")


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    if b"\xff\xd9" not in data[-4096:]:  # some writers pad what follows the end
        raise BrokenImageError("truncated JPEG")
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
                return width, height
            break
        at += 2 + (0 if marker == 0x01 or 0xD0 <= marker <= 0xD7 else int.from_bytes(data[at + 2 : at + 4], "big"))
    raise BrokenImageError("damaged JPEG")


def _other(data: bytes) -> tuple[int, int]:
    if not data:
        raise BrokenImageError("empty image")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            image.load()
    except Exception as error:  # Pillow's decoders raise anything on bytes made to hurt
        raise BrokenImageError("not an image that Pillow can read; use PNG or JPEG") from error
    return size
