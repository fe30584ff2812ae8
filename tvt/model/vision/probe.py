"""Whether images give the same features alone as within a batch: on this model, in this precision, on this device.

Which kernel multiplies two matrices, and so the order in which products are summed up, can depend on how many rows they have.
Where it does, features of an image depend by rounding on what else is in the batch; where it does not, a cache changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tvt.model.vision.tower import Tower

_SIZES = ((224, 224), (336, 224), (96, 128), (300, 200), (64, 64), (224, 224), (150, 420), (56, 56))
"""Width and height of the pictures that are looked at."""
_BATCHES = (1, 2, 3, 5, 8)
LARGEST_BATCH = 16
_ROUNDING = {"torch.float32": 1e-5, "torch.bfloat16": 5e-2, "torch.float16": 1e-2}
"""What counts as rounding, as a part of the largest feature."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the vision tower runs without a cache."""

    name: str
    batch: int
    """Examples of a pass."""
    enter: Callable[[], AbstractContextManager[Any]]
    """Brings torch into the state that a pass has."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far features of batches were from those of the same images alone."""

    largest: float
    """The largest difference of two features."""
    scale: float
    """The largest feature."""

    @property
    def equal(self) -> bool:
        """Whether no bit differed."""
        return self.largest == 0

    def by_rounding(self, dtype: str) -> bool:
        """Whether the difference is one of rounding; never where something was not finite."""
        return self.largest <= _ROUNDING.get(dtype, 0) * self.scale < float("inf")


def probe(tower: Tower, setting: Setting) -> Verdict:
    """Compare the features of pictures alone with those within batches of several sizes, as a pass in ``setting`` has them.

    Torch's random state stays as it is.
    """
    import torch

    pictures = [_picture(place, size) for place, size in enumerate(_SIZES)]
    processed = tower.processor.image_processor
    devices = [tower.device] if tower.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        alone = [tower.features_alone(processed([[picture]], return_tensors="pt")) for picture in pictures]
        largest = 0.0
        for size in sorted({*_BATCHES, min(setting.batch, LARGEST_BATCH)}):
            chosen = [(size + place) % len(pictures) for place in range(size)]
            inputs = processed([[pictures[place]] for place in chosen], return_tensors="pt")
            with setting.enter():
                together = tower.features(inputs)
            for name, found in together.items():
                expected = torch.cat([alone[place][name] for place in chosen])
                largest = max(largest, _difference(found, expected))
    scale = max(float(found.float().abs().max()) for features in alone for found in features.values())
    return Verdict(largest=largest, scale=scale)


def _difference(found: Any, expected: Any) -> float:
    if found.shape != expected.shape:
        return float("inf")
    difference = float((found.detach().float() - expected.float()).abs().max())
    return difference if difference == difference else float("inf")  # noqa: PLR0124 - not a number


def _picture(place: int, size: tuple[int, int]) -> Any:
    """Noise on a slope, another for each place."""
    import numpy as np
    from PIL import Image

    width, height = size
    noise = np.random.default_rng(place).integers(0, 128, (height, width, 3))
    return Image.fromarray((noise + np.linspace(0, 127, width)[:, None]).astype(np.uint8))
