"""Whether a model and its processor belong together, by one small picture put through the processor; the model does nothing."""

from __future__ import annotations

from typing import Any

from tvt.core.recipe import ModelConfig
from tvt.errors import InputError
from tvt.model.chat import Chat
from tvt.model.families import family_of
from tvt.model.inputs import prompt_inputs
from tvt.model.weights import load_config

_SIDE = 64
"""Pixels: above the least that any family takes."""
_ASKED = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]},)
_TOKEN = ("image_token_id", "image_token_index")
"""Under what names a model's configuration has the token that stands for a piece of an image."""


def check_fit(config: ModelConfig, processor: Any) -> None:
    """Put a grey picture and a question through a processor.

    Args:
        config: which model.
        processor: its processor.

    Raises:
        InputError: the processor cannot take an image, or the model would not see it.
    """
    from PIL import Image

    name = config.model_name_or_path
    picture = Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128))
    prompt = Chat(processor).prompt(_ASKED)
    try:
        inputs = prompt_inputs(processor, [prompt.text], [[picture]])
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        line = f"{name}: its processor cannot take an image ({type(error).__name__}: {reason})"
        raise InputError(f"{line}; get the files of its processor anew, and see that all are of one model") from error
    if family_of(config) is None:
        return  # others may call it otherwise
    told = load_config(config)
    token = next((found for key in _TOKEN if (found := getattr(told, key, None)) is not None), None)
    if token is not None and int(token) not in inputs["input_ids"][0].tolist():
        raise InputError(
            f"{name}: config.json has {token} for the token of an image, and its processor or chat template writes none; get "
            "its files anew, and see that all are of one model"
        )
