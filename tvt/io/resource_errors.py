"""A full disk and too little memory as one line that says what to do, since they stop every run of a study."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvt.errors import InputError, ProcessDiedError, TvtError

if TYPE_CHECKING:
    from tvt.core.recipe import Recipe

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The last two are torch.save's way to say that a write failed.
_FULL_TEXTS = ("No space left", "File too large", "quota exceeded", "iostream error", "PytorchStreamWriter failed")
_LITTLE = 2**20


@contextmanager
def reported(folder: Path, name: str, recipe: Recipe | None = None) -> Iterator[None]:
    """Turn a full disk and a lack of memory into an error for a person, however deep in a library they occurred.

    Args:
        folder: the folder that is written; its disk is checked.
        name: the work, for the message.
        recipe: the recipe of the work; the message names the settings that can still save memory.

    Raises:
        InputError: with what to do; other errors pass through.
    """
    try:
        yield
    except Exception as error:
        chain = list(_chain(error))
        unclear = not isinstance(error, TvtError) or isinstance(error, ProcessDiedError)
        full = next((link for link in chain if _says_full(link)), None)
        if full is not None or (unclear and shutil.disk_usage(folder).free < _LITTLE):
            what = _first_line(full or error)
            raise InputError(
                f"{folder}: the disk is full ({what}); make room and run the same command again: what is done is kept"
            ) from error
        if any(isinstance(link, MemoryError) or "out of memory" in str(link).lower() for link in chain):
            raise InputError(f"{name}: {_less_memory(recipe)}, and run the same command again") from error
        raise


def _less_memory(recipe: Recipe | None) -> str:
    """What is wrong and what to set, the most expensive last."""
    steps = [
        "out of memory; lower training.per_device_train_batch_size (the global batch, hence the result, stays) or "
        "evaluation.batch_size"
    ]
    if recipe is not None and recipe.training.gradient_checkpointing is not True:
        steps.append("set training.gradient_checkpointing=true")
    if recipe is None or recipe.model.max_pixels is None:
        steps.append("scale large pictures down with model.max_pixels, which makes other runs")
    return ", or ".join(steps)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in _FULL) or any(text in str(error) for text in _FULL_TEXTS)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
