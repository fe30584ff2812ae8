"""Stands in for torchvision, which has no build that imports beside a CPU torch: the operations that image processors use."""

__version__ = "0.27.0"
