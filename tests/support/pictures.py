"""Pictures that are drawn for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int, height: int, kind: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, kind, **how)
    return stream.getvalue()
