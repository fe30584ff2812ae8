"""Which questions go through the model together."""

from __future__ import annotations

from collections.abc import Sequence

from tvt.core.question import Question
from tvt.errors import InputError
from tvt.model.picture import PictureError, shown_size

TOKENS_PER_QUESTION = 2048
"""A batch is padded to at most this many tokens a question on average; larger questions go in smaller batches."""
_PIXELS_PER_TOKEN = 28 * 28
_LETTERS_PER_TOKEN = 3


def compose(questions: Sequence[Question], batch_size: int, max_pixels: int | None = None) -> list[list[int]]:
    """Indices in batches of questions with equally many images and of similar size, the largest first; those that are answered
    by a number, and hence by generating, apart from the others and after them.

    The composition depends on these questions alone, not on which of them are done already, so that an evaluation which goes
    on after an interruption pads as the uninterrupted one did. Equal image counts keep text-only questions apart, which many
    processors cannot mix with others. The largest come first, so that a lack of memory shows at once.

    Args:
        questions: in any order.
        batch_size: questions in a batch, at most.
        max_pixels: to which pictures are scaled down.

    Raises:
        InputError: images that cannot be read, one line each.
    """
    sizes = _sizes(questions, max_pixels)
    order = sorted(range(len(questions)), key=lambda k: (questions[k].numeric, -len(questions[k].images), -sizes[k], k))
    batches: list[list[int]] = []
    for k in order:
        batch = batches[-1] if batches else None
        fits = (
            batch is not None
            and questions[batch[0]].numeric == questions[k].numeric
            and len(questions[batch[0]].images) == len(questions[k].images)
            and len(batch) < batch_size
            and (len(batch) + 1) * sizes[batch[0]] <= TOKENS_PER_QUESTION * batch_size
        )
        if fits and batch is not None:
            batch.append(k)
        else:
            batches.append([k])
    return batches


def _sizes(questions: Sequence[Question], max_pixels: int | None) -> list[int]:
    """About how many tokens each question takes."""
    sizes, faults = [], []
    known: dict[bytes, int] = {}  # the questions about a video share its frames
    for question in questions:
        size = len(question.prompt) // _LETTERS_PER_TOKEN
        for place, data in enumerate(question.images):
            try:
                if data not in known:
                    width, height = shown_size(data, max_pixels)
                    known[data] = width * height // _PIXELS_PER_TOKEN
                size += known[data]
            except PictureError as error:
                where = f"{question.task}, question {question.id}: image {place + 1}"
                faults.append(f"{where} cannot be read ({error}); replace the file")
        sizes.append(size)
    if faults:
        raise InputError(*faults)
    return sizes
