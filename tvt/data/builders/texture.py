"""Where an image has something to recognise a point by, and how alike two places look."""

from __future__ import annotations

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


def sample(plane: Plane, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey values at places between pixels; outside, the nearest pixel's."""
    return np.asarray(ndimage.map_coordinates(plane, [ys, xs], order=1, mode="nearest"), dtype=np.float64)


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Normalised cross-correlation of two patches, -1 to 1: how alike they look whatever the light; 0 where one is flat."""
    one, other = one - one.mean(), other - other.mean()
    if min(one.std(), other.std()) < _FLAT:
        return 0.0
    return float((one * other).mean() / (one.std() * other.std()))
