"""Names as torchvision has them."""

from enum import Enum


class InterpolationMode(Enum):
    """Ways of resizing."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
