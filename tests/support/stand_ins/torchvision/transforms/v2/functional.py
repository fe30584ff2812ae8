"""Operations on images, as torchvision defines them, written with torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as nn

from torchvision.transforms import InterpolationMode

__all__ = ["InterpolationMode"]
Tensor = torch.Tensor


def pil_to_tensor(image: Any) -> Tensor:
    """An image as (channels, height, width), in 8 bits."""
    array = torch.from_numpy(np.array(image))
    return array.permute(2, 0, 1) if array.ndim == 3 else array[None]


def resize(
    image: Tensor, size: Sequence[int], interpolation: Any = InterpolationMode.BILINEAR, antialias: bool | None = True
) -> Tensor:
    """Resize to (height, width)."""
    mode = interpolation.value if interpolation.value in ("bilinear", "bicubic") else "bicubic"
    batch = image if image.ndim == 4 else image[None]
    resized = nn.interpolate(batch.float(), tuple(size), mode=mode, antialias=bool(antialias), align_corners=False)
    if not image.is_floating_point():
        resized = resized.round().clamp(0, 255)
    return (resized if image.ndim == 4 else resized[0]).to(image.dtype)


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """Mean 0 and deviation 1 in each channel."""
    shift, scale = (torch.as_tensor(values, dtype=image.dtype)[:, None, None] for values in (mean, std))
    return (image - shift) / scale


def to_dtype(image: Tensor, dtype: torch.dtype, scale: bool = False) -> Tensor:
    """Another type; 8 bits become 0 to 1 where it is scaled."""
    return image.to(dtype) / (255 if scale and not image.is_floating_point() else 1)


def pad(image: Tensor, padding: Sequence[int], fill: float = 0, padding_mode: str = "constant") -> Tensor:
    """Pad by left, top, right, bottom."""
    left, top, right, bottom = padding
    return nn.pad(image, (left, right, top, bottom), mode=padding_mode, value=fill)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of the image."""
    return image[..., top : top + height, left : left + width]


def grayscale_to_rgb(image: Tensor) -> Tensor:
    """Three equal channels."""
    return image.expand(*image.shape[:-3], 3, *image.shape[-2:]) if image.shape[-3] == 1 else image
