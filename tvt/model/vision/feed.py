"""The CPU's side: batches are made without the pixels of images whose features are known.

A processor asks its image processor for pixels, and needs of the answer only how many tokens an image takes. So while a batch
is made, another stands in the image processor's place: it answers from what the store tells about known images, which are not
even decoded then, and processes each of the others alone. What is to be put into the model is noted as pieces, in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvt.model.vision.picture import Encoded, encoded
from tvt.model.vision.store import Store

GRID, PIXELS = "image_grid_thw", "pixel_values"


@dataclass(kw_only=True)
class Piece:
    """One image of a batch, on its way to the model."""

    key: str
    content: bytes
    """As the file has it: whatever else is lost can be made of it."""
    inputs: dict[str, Any] | None = None
    """What the vision tower takes, the image by itself; ``None`` where its features are known."""


class StandIn:
    """Stands in the place of an image processor while one batch is made.

    Args:
        real: the image processor.
        store: the features that are known.
    """

    def __init__(self, real: Any, store: Store) -> None:
        self._real, self._store = real, store
        self.pieces: list[Piece] | None = None
        """The batch's images; ``None`` where it must go through the vision tower as ever."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, images: Any, **options: Any) -> Any:
        """What the image processor would answer, with empty pixel values where they are not needed."""
        pictures = list(_flat(images))
        sources = [found for picture in pictures if (found := encoded(picture)) is not None]
        if len(sources) < len(pictures):
            return self._real(_opened(images), **options)
        told = [self._store.about(source.key) for source in sources]
        if self._store.full and None in told:
            return self._real(_opened(images), **options)
        self.pieces = [Piece(key=source.key, content=source.content) for source in sources]
        abouts = []
        for piece, source, about in zip(self.pieces, sources, told, strict=True):
            if about is None:
                piece.inputs = alone(self._real, source, options)
            abouts.append(about or about_inputs(piece.inputs or {}))
        joined = _joined(abouts)
        return self._real(_opened(images), **options) if joined is None else joined


@dataclass(frozen=True)
class Feed:
    """What makes batches needs of a cache; other processes that load batches get a copy."""

    store: Store

    @contextmanager
    def standing_in(self, processor: Any) -> Iterator[StandIn]:
        """Put a stand-in into a processor for one batch. One batch is made at a time."""
        real = processor.image_processor
        processor.image_processor = StandIn(real, self.store)
        try:
            yield processor.image_processor
        finally:
            processor.image_processor = real


def take_pixels(batch: Any) -> None:
    """Remove from a batch what only the vision tower takes; the grids of Qwen's images also place their tokens."""
    for name in [name for name in batch if name.startswith("pixel_")]:
        del batch[name]


def alone(image_processor: Any, source: Encoded, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an image processor makes of one image by itself."""
    return dict(image_processor([[source.open()]], **options))


def about_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the number of an image's tokens follows from, as plain values: Qwen's grid, else the shape of the pixels.

    Empty where more than that may be needed, so that a batch's images are processed to make its text.
    """
    if inputs.keys() == {PIXELS, GRID}:
        return {GRID: inputs[GRID].tolist()}
    if inputs.keys() == {PIXELS} and inputs[PIXELS].ndim == 4:
        return {PIXELS: list(inputs[PIXELS].shape)}
    return {}


def _joined(abouts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The answer for a whole batch, as the image processor would give it, but with pixels that take no memory."""
    import torch

    if all(about.keys() == {GRID} for about in abouts):
        return {GRID: torch.tensor([row for about in abouts for row in about[GRID]])}
    shapes = {tuple(about.get(PIXELS, ())) for about in abouts}
    if len(shapes) == 1 and (shape := shapes.pop()):
        return {PIXELS: torch.zeros(1).expand(shape[0] * len(abouts), *shape[1:])}
    return None


def _flat(images: Any) -> Iterator[Any]:
    if isinstance(images, list | tuple):
        for image in images:
            yield from _flat(image)
    else:
        yield images


def _opened(images: Any) -> Any:
    """The same, decoded."""
    if isinstance(images, list | tuple):
        return [_opened(image) for image in images]
    source = encoded(images)
    return images if source is None else source.open()
