"""The batches of a run: which rows are trained on when and by which process, how long rows are, and how rows become tensors.

Rows, epochs, seed and global batch alone decide the order. The processes, the size of a forward pass and the length of rows
only divide a global batch, so that two processes train on what one would, each row once. The first pass follows the file,
which ``tvt mix`` wrote in the order of training; later passes are shuffled anew.

Under ZeRO-3 the processes gather the weights of a layer together. If one has a batch without pictures and skips the vision
tower, the others wait for it for ever. So in a run with pictures and several processes every batch has at least one: a grey
square with a question whose answer takes no part in the loss. The same row fills a batch that the last step left empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tvt.model.chat import Chat
from tvt.model.inputs import IGNORED, training_inputs
from tvt.model.limits import Size, picture_tokens
from tvt.model.picture import PictureError, shown_size
from tvt.train.rows import Examples


@dataclass(frozen=True, kw_only=True)
class Order:
    """The rows of a run in the order of training, and their division."""

    rows: int
    epochs: float
    seed: int
    global_batch: int
    per_device: int
    processes: int = 1

    @property
    def total(self) -> int:
        """Examples trained on, repetitions counted."""
        return max(1, math.ceil(self.rows * self.epochs - 1e-9))

    @property
    def steps(self) -> int:
        """Optimiser steps; the last may be smaller than the others."""
        return -(-self.total // self.global_batch)

    def sequence(self) -> npt.NDArray[np.int64]:
        """All rows of the run in order."""
        passes = -(-self.total // self.rows)
        shuffled = [np.random.default_rng((self.seed, k)).permutation(self.rows) for k in range(1, passes)]
        return np.concatenate([np.arange(self.rows), *shuffled])[: self.total]

    def batches(self, process: int, lengths: Sequence[int] | None = None) -> list[list[int]]:
        """Forward passes of one process, equally many in every step: DeepSpeed counts on that. At the very end some are empty.

        Within a global batch, which no length changes, rows of like length go through the model together, so that little is
        padded; so do those that the processes take at once, and the processes take turns at the longer ones, so that none waits
        for another.

        Args:
            process: its number.
            lengths: about how many tokens each row takes; default: all alike.
        """
        sequence, width = self.sequence(), self.per_device * self.processes
        known = np.asarray(lengths if lengths is not None else np.zeros(self.rows))
        batches: list[list[int]] = []
        for start in range(0, self.total, self.global_batch):
            chunk = sequence[start : start + self.global_batch]
            chunk = chunk[np.argsort(-known[chunk], kind="stable")]  # the longest first: a lack of memory shows at once
            for turn, begin in enumerate(range(0, self.global_batch, width)):
                shares = np.array_split(chunk[begin : begin + width], self.processes)
                batches.append(shares[-1 - process if turn % 2 else process].tolist())
        return batches


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
        pictures.append(sum(_tokens(image, processor, examples, sizes) for image in row.images))
        texts.append("\n".join((*row.texts, *row.answers)))
    words: list[int] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        encoded = processor.tokenizer(texts[start : start + _TEXTS_AT_ONCE], add_special_tokens=False)
        words += map(len, encoded["input_ids"])
    return [one + other for one, other in zip(pictures, words, strict=True)]


def _tokens(image: bytes, processor: Any, examples: Examples, sizes: dict[Size, int]) -> int:
    try:
        size = shown_size(image, examples.max_pixels, examples.min_pixels)
    except PictureError:
        return 0  # decoding it reports the error, with its row
    if size not in sizes:
        try:
            sizes[size] = picture_tokens(processor, size)
        except Exception:  # processors raise anything
            sizes[size] = size[0] * size[1] // _PIXELS_PER_TOKEN
    return sizes[size]


class Collator:
    """Collates the examples of one forward pass.

    Args:
        processor: the model's processor.
        picture_always: whether a batch without pictures gets an unscored one.
    """

    def __init__(self, processor: Any, *, picture_always: bool) -> None:
        self._chat = Chat(processor)
        self._picture_always = picture_always

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        unscored = not examples or (self._picture_always and not any(example["images"] for example in examples))
        if unscored:
            examples = [*examples, unscored_example(picture=self._picture_always)]
        batch = training_inputs(self._chat, examples)
        if unscored:
            batch["labels"][-1] = IGNORED
        return batch


def unscored_example(*, picture: bool) -> dict[str, Any]:
    """A row that only keeps the processes synchronous."""
    from PIL import Image

    return {
        "images": [Image.new("RGB", (64, 64), (128, 128, 128))] if picture else [],
        "prompt": [{"role": "user", "content": "Which?"}],
        "completion": [{"role": "assistant", "content": "A"}],
    }
