"""A model's tokenizer alone, without its processor and weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tvt.errors import InputError, reason_of


def can_load() -> bool:
    """Whether the package is here that loads tokenizers."""
    return find_spec("transformers") is not None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and its tokenizers raise anything on damaged files
        raise InputError(
            f"{folder}: its tokenizer cannot be loaded ({reason_of(error)}); get the model's files anew"
        ) from error
