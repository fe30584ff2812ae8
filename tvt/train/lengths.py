"""About how many tokens each row takes: the text's own, and those of its pictures by their sizes alone."""

from __future__ import annotations

from typing import Any

from tvt.model.limits import Size, picture_tokens
from tvt.model.picture import PictureError, shown_size
from tvt.train.rows import Examples

_PIXELS_PER_TOKEN = 28 * 28
_TEXTS_AT_ONCE = 1024


def row_lengths(examples: Examples, processor: Any) -> list[int]:
    """The rows' lengths in tokens, without decoding a picture; what the chat template adds to all alike is left out.

    Args:
        examples: the rows.
        processor: the model's. Where it cannot say how many tokens a picture takes, that is guessed by the picture's area.
    """
    sizes: dict[Size, int] = {}
    pictures: list[int] = []
    texts: list[str] = []
    for row in examples.shown():
        pictures.append(sum(_tokens(image, processor, examples.max_pixels, sizes) for image in row.images))
        texts.append("\n".join((*row.texts, *row.answers)))
    words: list[int] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        found = processor.tokenizer(texts[start : start + _TEXTS_AT_ONCE], add_special_tokens=False)
        words += map(len, found["input_ids"])
    return [one + other for one, other in zip(pictures, words, strict=True)]


def _tokens(image: bytes, processor: Any, max_pixels: int | None, sizes: dict[Size, int]) -> int:
    try:
        size = shown_size(image, max_pixels)
    except PictureError:
        return 0  # whoever decodes it says so, with its row
    if size not in sizes:
        try:
            sizes[size] = picture_tokens(processor, size)
        except Exception:  # processors raise anything
            sizes[size] = size[0] * size[1] // _PIXELS_PER_TOKEN
    return sizes[size]
