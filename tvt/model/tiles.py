"""Processors that enlarge every picture to tiles, or choose tiles by its shape: there a smaller picture takes no fewer tokens.

Idefics3 and SmolVLM enlarge the longest edge to four tiles (of a picture of 364 x 364 pixels they make 17 tiles), InternVL and
Aya Vision choose up to twelve tiles by the sides' ratio, and LFM2-VL up to ten. With ``model.max_pixels`` they may make no more
tiles than have so many pixels together, one at least; the overview that most add comes on top. The other families of the table
make fewer tokens or tiles of smaller pictures (or always the same number), and need nothing here.
"""

from __future__ import annotations

import math
from typing import Any


def limit_tiles(processor: Any, max_pixels: int | None) -> None:
    """Set a processor's own settings of tiles so that a picture takes at most about ``max_pixels``.

    Args:
        processor: of any family; changed in place where it makes tiles as above.
        max_pixels: at most so many in all tiles of a picture; ``None`` changes nothing.
    """
    images = processor.image_processor
    if max_pixels is None:
        return
    if isinstance(longest := _edge(images, "max_image_size"), int) and _edge(images, "size"):  # Idefics3, SmolVLM
        images.size["longest_edge"] = min(_edge(images, "size"), longest * max(1, int(math.sqrt(max_pixels) / longest)))
    elif getattr(images, "crop_to_patches", False):  # InternVL, Aya Vision
        tile = images.size["height"] * images.size["width"]
        images.max_patches = min(images.max_patches, max(images.min_patches, max_pixels // tile))
    elif getattr(images, "do_image_splitting", False) and hasattr(images, "max_tiles"):  # LFM2-VL
        images.max_tiles = min(images.max_tiles, max(images.min_tiles, max_pixels // images.tile_size**2))


def _edge(images: Any, name: str) -> Any:
    size = getattr(images, name, None)
    return None if size is None else size.get("longest_edge")
