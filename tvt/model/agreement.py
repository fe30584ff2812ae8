"""Before a run: whether, for the model at hand, trained tokens begin with exactly those of the scored prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tvt.errors import InputError
from tvt.model.chat import Chat, Message
from tvt.model.inputs import IGNORED, prompt_inputs, training_inputs, with_pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A row or a question with its answer."""

    name: str
    """As messages name it."""
    images: Sequence[Any]
    """Decoded."""
    prompt: Sequence[Message]
    completion: Sequence[Message]


def check_agreement(processor: Any, samples: Iterable[Sample]) -> None:
    """Compare, token by token, what is trained with what is scored. It needs no weights.

    Args:
        processor: of the model at hand.
        samples: a few rows or questions, say the first of every task.

    Raises:
        InputError: the chat template cannot be used, or training and scoring differ; one line for each sample.
    """
    chat = Chat(processor)
    faults: list[str] = []
    for sample in samples:
        try:
            fault = _difference(chat, sample)
        except InputError as error:
            faults += error.faults
            continue
        if fault:
            faults.append(
                f"{sample.name}: {processor.tokenizer.name_or_path}: {fault}, so a score would not be that of what was "
                "trained; use a model with another chat template or processor"
            )
    if faults:
        raise InputError(*dict.fromkeys(faults))


def _difference(chat: Chat, sample: Sample) -> str | None:
    messages = with_pictures(sample.prompt, len(sample.images))
    if not chat.shows(messages, sample.completion):
        return "the chat template changes the answer"
    example = {"images": sample.images, "prompt": sample.prompt, "completion": sample.completion}
    trained = training_inputs(chat, [example])
    scored = prompt_inputs(chat.processor, [chat.prompt(messages).text], [sample.images])["input_ids"][0].tolist()
    start = int((trained["labels"][0] != IGNORED).nonzero()[0])
    if trained["input_ids"][0, :start].tolist() != scored:
        return f"the tokens that are trained do not begin with the {len(scored)} tokens of the scored prompt"
    return None
