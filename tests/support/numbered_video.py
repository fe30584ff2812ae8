"""Videos whose every frame says in its pixels which one it is."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS, BLOCK = 8, 16


def write(path: Path, frames: int, *, codec: str = "libx264", tint: tuple[int, int, int] = (255, 255, 255)) -> Path:
    """``frames`` frames of 128 x 64 pixels: the upper half shows the frame's number in binary, the lower one is of a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = BITS * BLOCK, 64, "yuv420p"
        for index in range(frames):
            pixels = np.zeros((64, BITS * BLOCK, 3), np.uint8)
            for bit in range(BITS):
                pixels[:32, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (index >> bit & 1)
            pixels[32:] = tint
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def number(image: bytes) -> int:
    """Which frame an image is."""
    return sum(1 << bit for bit in range(BITS) if pixel(image, bit * BLOCK + BLOCK // 2, 16)[1] > 128)


def pixel(image: bytes, x: int, y: int) -> tuple[int, int, int]:
    found = Image.open(io.BytesIO(image)).convert("RGB").getpixel((x, y))
    assert isinstance(found, tuple)
    return int(found[0]), int(found[1]), int(found[2])
