"""``training.max_length``: rows with more tokens are refused before training starts, since cutting them would cut an image's
tokens or the answer.
"""

from __future__ import annotations

from typing import Any

from tvt.errors import InputError
from tvt.model.chat import Chat
from tvt.model.inputs import training_inputs
from tvt.model.limits import SHOWN, TOO_LONG, picture_tokens
from tvt.train.batches import row_lengths
from tvt.train.rows import Examples

_MARGIN, _AROUND = 0.1, 64
"""By so much, and by so many tokens, an estimate may be too small: marks around images, and the chat template's words."""
_ORDINARY = (336, 336)


def check_lengths(examples: Examples, processor: Any, most: int) -> None:
    """Count the tokens of every row that may be too long, as it is trained, chat template and answer included.

    Args:
        examples: the rows.
        processor: of the model. Where it cannot say how many tokens a picture takes, every row is counted.
        most: how many tokens a row may have.

    Raises:
        InputError: rows with more, by name; the first :data:`tvt.model.limits.SHOWN` and the number of the others.
    """
    chat = Chat(processor)
    lengths = row_lengths(examples, processor)
    first = _tokens(chat, examples[0]) - lengths[0]
    estimated = _states_tokens(processor)
    faults: list[str] = []
    for index, length in enumerate(lengths):
        if estimated and (1 + _MARGIN) * (length + first) + _AROUND <= most:
            continue
        if (tokens := _tokens(chat, examples[index])) > most:
            faults.append(f"{examples.name(index)}: has {tokens:,} tokens, {TOO_LONG.format(most)}")
    if faults:
        more = len(faults) - SHOWN
        raise InputError(*faults[:SHOWN], *([f"and {more:,} more such rows"] if more > 0 else []))


def _tokens(chat: Chat, example: dict[str, Any]) -> int:
    return int(training_inputs(chat, [example])["attention_mask"].sum())


def _states_tokens(processor: Any) -> bool:
    try:
        picture_tokens(processor, _ORDINARY)
    except Exception:  # processors raise anything
        return False
    return True
