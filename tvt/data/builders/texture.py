"""Where an image has something to recognise a point by, and how alike two places look."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tvt.data.builders.marks import Point

Plane = NDArray[np.float32]

_QUALITY = 0.01
"""Corners weaker than this share of the image's strongest are none."""
_FLAT = 2.0
"""Standard deviation of grey values (0 to 255) under which a place has no texture."""


def grey(image: Image.Image) -> Plane:
    """Grey values from 0 to 255; array of height x width."""
    return np.asarray(image.convert("L"), dtype=np.float32)


def corners(plane: Plane, spacing: float, most: int = 200) -> list[Point]:
    """Corner points at least about ``spacing`` pixels apart, the strongest first.

    The strength of a corner is the smaller eigenvalue of the structure tensor (Shi and Tomasi, "Good features to track", 1994).
    """
    smooth = ndimage.gaussian_filter(plane, 1.5)
    down, across = np.gradient(smooth)
    xx, yy, xy = (ndimage.gaussian_filter(product, 3.0) for product in (across**2, down**2, across * down))
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    peaks = strength >= ndimage.maximum_filter(strength, size=2 * round(spacing / 2) + 1)
    rows, columns = np.nonzero(peaks & (strength > _QUALITY * strength.max()))
    order = np.argsort(-strength[rows, columns], kind="stable")[:most]
    return [(float(columns[k]), float(rows[k])) for k in order]


def patches(plane: Plane, places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """What is seen at each of some sets of places, made so that the dot product of two is their normalised cross-correlation.

    That is how alike they look whatever the light, from -1 to 1; a patch without texture is all zeros.

    Args:
        plane: grey values.
        places: n sets of s places x, y, between pixels too; n x s x 2. Outside the image, the nearest pixel counts.

    Returns:
        n x s values.
    """
    seen = ndimage.map_coordinates(plane, [places[..., 1], places[..., 0]], order=1, mode="nearest").astype(np.float64)
    seen -= seen.mean(axis=1, keepdims=True)
    length = np.linalg.norm(seen, axis=1, keepdims=True)
    flat = length < _FLAT * np.sqrt(seen.shape[1])
    return np.asarray(np.where(flat, 0.0, seen / np.where(flat, 1.0, length)))
