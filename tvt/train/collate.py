"""Rows to tensors, plus an unscored picture wherever a process would otherwise see none.

Under ZeRO-3 the processes gather the weights of a layer together. If one has a batch without pictures and skips the vision
tower, the others wait for it for ever. So in a run with pictures and several processes every batch has at least one: a grey
square with a question whose answer takes no part in the loss. The same row fills a batch that the last step left empty.
"""

from __future__ import annotations

from typing import Any

from tvt.model.chat import Chat
from tvt.model.inputs import IGNORED, training_inputs


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
        counted = len(examples)
        if not examples or (self._picture_always and not any(example["images"] for example in examples)):
            examples = [*examples, unscored_example(picture=self._picture_always)]
        batch = training_inputs(self._chat, examples)
        batch["labels"][counted:] = IGNORED
        return batch


def unscored_example(*, picture: bool) -> dict[str, Any]:
    """A row that only keeps the processes in step."""
    from PIL import Image

    return {
        "images": [Image.new("RGB", (64, 64), (128, 128, 128))] if picture else [],
        "prompt": [{"role": "user", "content": "Which?"}],
        "completion": [{"role": "assistant", "content": "A"}],
    }
