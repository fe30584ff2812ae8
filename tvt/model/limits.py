"""What a model's processor and positions allow: every row is checked against it before anything is trained or scored.

Sizes from the pictures' headers and the texts suffice; no picture is decoded and no weight is loaded. Three things are refused:

* text that the tokenizer or the processor reads as a token of its own, as ``<image>`` or ``<|im_end|>``. Families differ in
  whether such text can be passed on as ordinary letters, and many processors search the finished text for placeholders,
  so nothing is escaped;
* pictures of a size, or a number of pictures, that the model's own processor refuses. It is asked with the size alone where it
  can be (``_get_num_multimodal_tokens``, which vLLM uses too), and with a blank picture of that size where the size is unusual;
* more tokens than the language model has positions. Tokens of pictures count where the processor states their number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError, reason_of
from tvt.model.chat import THINKING, Chat
from tvt.model.inputs import prompt_inputs, with_pictures
from tvt.model.loading import load_config, load_processor
from tvt.model.picture import PictureError, shown_size

LIMITS_VERSION = 1
"""Raised whenever a row could be judged otherwise; stored results for unchanged files are then not used."""
SHOWN = 20
"""Rows that are named; the rest is counted."""
_SMALL, _LONG, _LARGE = 56, 20, 16_000_000
"""A picture with a shorter side, or a larger ratio of its sides, is tried on the image processor, up to so many pixels."""
_ORDINARY = (336, 336)
_REASONING = {mark for pair in THINKING.items() for mark in pair}
TOO_LONG = "more than training.max_length {:,}; raise it, show fewer or smaller images (model.max_pixels), or drop the row"
_UNKNOWN_TEMPLATE = 64
"""Tokens allowed for the words of a chat template that cannot be rendered here."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownRow:
    """What a model is shown of a training row or a question."""

    name: str
    """What the row is called in messages."""
    texts: tuple[str, ...]
    """Of the conversation before the answer."""
    images: tuple[bytes, ...]
    """Encoded pictures."""
    answers: tuple[str, ...] = ()
    """What is trained: it may contain marks of a model's reasoning."""


class ModelLimits:
    """The limits of one model.

    Args:
        processor: of the model.
        config: of the model.
        max_pixels: to which pictures are scaled down before the processor.
        min_pixels: to which they are scaled up.
    """

    def __init__(self, processor: Any, config: Any, max_pixels: int | None = None, min_pixels: int | None = None) -> None:
        self._processor = processor
        self._max_pixels, self._min_pixels = max_pixels, min_pixels
        self._tokens = _own_tokens(processor)
        self._own = re.compile("|".join(map(re.escape, sorted(self._tokens, key=len, reverse=True))) or r"(?!)")
        self._starts = {token[0] for token in self._tokens}
        self._positions = _positions(config)
        self._sizes: dict[Size, tuple[str | None, int]] = {}
        self._counts: dict[int, str | None] = {}
        self._template: int | None = None

    def faults(self, row: ShownRow, max_length: int | None = None) -> Iterator[str]:
        """What the model cannot take of a row, each with the next step.

        Args:
            row: of training, or a question.
            max_length: the most tokens that it may have; rows that surely have more are refused. What the chat template adds
                is left out of it, and :func:`tvt.train.lengths.check_lengths` counts that, too.
        """
        tokens_read = [token for text in row.texts for token in self._tokens_in(text)]
        tokens_read += [token for text in row.answers for token in self._tokens_in(text) if token not in _REASONING]
        for token in dict.fromkeys(tokens_read):
            yield f"the text holds '{token}', which the model reads as a token of its own; write it otherwise or drop the row"
        tokens = 0
        for place, image in enumerate(row.images, 1):
            try:
                size = shown_size(image, self._max_pixels, self._min_pixels)
            except PictureError as error:
                yield f"image {place} cannot be read ({error}); replace the file"
                continue
            fault, taken = self._size(size)
            tokens += taken
            if fault is not None:
                refused = f"{size[0]} x {size[1]} pixels, which the model's processor refuses ({fault})"
                yield f"image {place} has {refused}; scale, pad or crop it, or drop the row"
        if (fault := self._count(len(row.images))) is not None:
            yield f"{len(row.images)} images, which the model's processor refuses ({fault}); use another model or drop the row"
        yield from self._length((*row.texts, *row.answers), tokens)
        if max_length is not None:
            yield from self._more_than(max_length, (*row.texts, *row.answers), tokens)

    def check(self, rows: Iterable[ShownRow], progress: Callable[[int], object] = bool, max_length: int | None = None) -> None:
        """Check all rows; arguments as for :meth:`faults`.

        Raises:
            InputError: rows that the model cannot take: the first :data:`SHOWN` faults and the number of the others.
        """
        faults: list[str] = []
        more = 0
        for number, row in enumerate(rows, 1):
            for fault in self.faults(row, max_length):
                if len(faults) < SHOWN:
                    faults.append(f"{row.name}: {fault}")
                else:
                    more += 1
            progress(number)
        if faults:
            raise InputError(*faults, *([f"and {more:,} more such faults of rows; mend these first"] if more else []))

    def text_tokens(self, text: str) -> int:
        """How many tokens a text is by itself."""
        return len(self._processor.tokenizer.encode(text, add_special_tokens=False))

    def _tokens_in(self, text: str) -> list[str]:
        return self._own.findall(text) if any(start in text for start in self._starts) else []

    def _size(self, size: Size) -> tuple[str | None, int]:
        """Why the processor refuses a picture of this size, if it does, and how many tokens it takes (0 where unknown)."""
        if size not in self._sizes:
            self._sizes[size] = self._asked(size)
        return self._sizes[size]

    def _asked(self, size: Size) -> tuple[str | None, int]:
        width, height = size
        tokens = 0
        try:
            tokens = picture_tokens(self._processor, size)
        except (ValueError, ZeroDivisionError) as error:
            if self._states_tokens:
                return _reason(error), 0
        except Exception:  # many processors lack this function, or what it reads from their settings
            tokens = 0
        unusual = min(size) < _SMALL or max(size) > _LONG * min(size)
        return (self._tried([size], whole=False) if unusual and width * height <= _LARGE else None), tokens

    @property
    def _states_tokens(self) -> bool:
        """Whether the processor states the tokens of an ordinary picture; else its error does not refer to a size."""
        try:
            picture_tokens(self._processor, _ORDINARY)
        except Exception:  # whatever is missing
            return False
        return True

    def _count(self, images: int) -> str | None:
        """Why the processor refuses so many pictures, or ``None``; without a word where it refuses a single one too."""
        if images not in self._counts:
            self._counts[images] = None if images == 1 else self._tried([_ORDINARY] * images, whole=True)
        return self._counts[images]

    def _tried(self, sizes: Sequence[Size], *, whole: bool) -> str | None:
        """Why the processor refuses blank pictures of these sizes where it takes an ordinary one, or ``None``."""
        try:
            self._process(sizes, whole=whole)
        except Exception as error:  # processors raise anything
            try:
                self._process([_ORDINARY], whole=whole)
            except Exception:  # the row is not the cause
                return None
            return _reason(error)
        return None

    def _process(self, sizes: Sequence[Size], *, whole: bool) -> None:
        from PIL import Image

        blank = [Image.new("RGB", size, (128, 128, 128)) for size in sizes]
        if whole:
            prompt_inputs(self._processor, [self._rendered(len(blank))], [blank])
        else:
            self._processor.image_processor(images=blank, return_tensors="pt")

    def _rendered(self, images: int) -> str:
        """An almost empty conversation."""
        return Chat(self._processor).prompt(with_pictures([{"role": "user", "content": "Which?"}], images)).text

    def _length(self, texts: Sequence[str], images: int) -> Iterator[str]:
        """A text has at most as many tokens as bytes, so that only long ones need the tokenizer."""
        if self._positions is None:
            return
        if self._template is None:
            self._template = self._template_tokens()
        fixed = images + self._template
        if fixed + sum(len(text.encode()) for text in texts) <= self._positions:
            return
        total = fixed + sum(len(self._processor.tokenizer.encode(text, add_special_tokens=False)) for text in texts)
        if total > self._positions:
            excess = f"about {total:,} tokens, {images:,} of them for images, but the model has {self._positions:,} positions"
            yield f"{excess}; show fewer images or smaller ones (model.max_pixels), shorten the text, or drop the row"

    def _more_than(self, most: int, texts: Sequence[str], images: int) -> Iterator[str]:
        """A text that stands in a conversation may share its first and last token with what surrounds it."""
        if images + sum(len(text.encode()) for text in texts) <= most:
            return
        least = images + sum(len(self._processor.tokenizer.encode(text, add_special_tokens=False)) - 2 for text in texts)
        if least > most:
            yield f"has at least {least:,} tokens, {images:,} of them for images; {TOO_LONG.format(most)}"

    def _template_tokens(self) -> int:
        """Tokens of an almost empty conversation."""
        try:
            return len(self._processor.tokenizer.encode(self._rendered(0), add_special_tokens=False))
        except Exception:  # templates raise anything
            return _UNKNOWN_TEMPLATE


def picture_tokens(processor: Any, size: Size) -> int:
    """How many tokens a picture takes, as its processor says; vLLM asks it so, too. Many cannot say, and raise anything."""
    width, height = size
    return int(processor._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens[0])


def load_limits(model: ModelConfig) -> ModelLimits:
    """The limits of a model, from its configuration and its processor.

    Raises:
        InputError: the model is not there, or is none for images and text.
        MissingPackageError: the train extra, or a package of the processor, is not installed.
    """
    processor = load_processor(model)
    return ModelLimits(processor, load_config(model), model.max_pixels, model.min_pixels)


def _own_tokens(processor: Any) -> set[str]:
    """Texts that are no text: the tokenizer's special tokens, and the placeholders that the processor replaces."""
    tokenizer = processor.tokenizer
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    placeholders = {value for name, value in vars(processor).items() if name.endswith("_token") and isinstance(value, str)}
    return {token for token in special | placeholders | set(tokenizer.all_special_tokens) if token.strip()}


def _positions(config: Any) -> int | None:
    """Positions of the language model, those that stretched ones add included."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    stretched = getattr(text, "rope_parameters", None) or {}
    factor = stretched.get("factor") if isinstance(stretched, dict) else None
    return int(positions * max(1.0, float(factor or 1))) if positions else None


def _reason(error: Exception) -> str:
    return reason_of(error)[:200]
