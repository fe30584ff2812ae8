"""Model inputs: the tensors of a prompt, which are scored, and the same continued by an answer, which are trained; and the
check that, for the model at hand, the trained tokens begin with exactly those of the scored prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvt.errors import InputError
from tvt.model.chat import Chat, Continuation, Message

IGNORED = -100
"""The label of a token that takes no part in the loss."""
PER_TOKEN = {"token_type_ids", "mm_token_type_ids", "cross_attention_mask"}
"""Inputs with a value for every token, beside the tokens and their mask; shape (rows, tokens, ...)."""


def prompt_inputs(processor: Any, prompts: Sequence[str], pictures: Sequence[Sequence[Any]]) -> Any:
    """Left-padded inputs of prompts, on the CPU.

    Args:
        processor: the model's processor.
        prompts: as :meth:`tvt.model.chat.Chat.prompt` gives their text.
        pictures: of each prompt; possibly none.
    """
    bos = processor.tokenizer.bos_token
    inputs = processor(
        text=list(prompts),
        **({"images": [list(shown) for shown in pictures]} if any(pictures) else {}),
        padding=True,
        padding_side="left",
        # The template may have written the token for the beginning already; twice is another prompt.
        add_special_tokens=not (bos and prompts[0].startswith(bos)),
        return_tensors="pt",
    )
    inputs.pop("labels", None)  # PaliGemma's processor gives some for a suffix that is not there
    return inputs


def training_inputs(chat: Chat, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Right-padded inputs of prompts with their answers, and ``labels``, on the CPU.

    The loss is on the answers alone, whatever is asked between them. There is a row for each example, or for each of its
    answers (:func:`one_by_one`).

    Args:
        chat: the model's chat template.
        examples: each with ``images``, decoded, ``prompt`` and ``completion``, both lists of messages.

    Raises:
        InputError: see :class:`tvt.model.chat.Chat`.
    """
    examples = [part for example in examples for part in one_by_one(chat, example)]
    prompts: list[str] = []
    answers: list[Continuation] = []
    for example in examples:
        messages = with_pictures(example["prompt"], len(example["images"]))
        prompt = chat.prompt(messages)
        prompts.append(prompt.text)
        answers.append(chat.completion(prompt, messages, example["completion"]))
    inputs = prompt_inputs(chat.processor, prompts, [example["images"] for example in examples])
    return _continued(dict(inputs), answers, chat.processor)


def one_by_one(chat: Chat, example: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The example, or, where the template shows earlier answers otherwise than the last one, an example for each answer.

    So every answer of a conversation is trained where it is scored.
    """
    completion = example["completion"]
    if chat.continues(with_pictures(example["prompt"], len(example["images"])), completion):
        return [example]
    places = [place for place, message in enumerate(completion) if message["role"] == "assistant"]
    return [
        {**example, "prompt": [*example["prompt"], *completion[:place]], "completion": [completion[place]]} for place in places
    ]


def with_pictures(messages: Sequence[Message], count: int) -> list[Message]:
    """The messages with ``count`` images before the first user message's text, unless the messages place them already."""
    placed = sum(block["type"] == "image" for m in messages if not isinstance(m["content"], str) for block in m["content"])
    first = next((index for index, message in enumerate(messages) if message["role"] == "user"), None)
    if first is None or placed or not isinstance(messages[first]["content"], str):
        return list(messages)
    content = [*({"type": "image"} for _ in range(count)), {"type": "text", "text": messages[first]["content"]}]
    return [*messages[:first], {**messages[first], "content": content}, *messages[first + 1 :]]


def _continued(inputs: dict[str, Any], answers: Sequence[Continuation], processor: Any) -> dict[str, Any]:
    """Put the answers' tokens behind the prompts', and all padding behind both."""
    import torch

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = [len(answer.tokens) for answer in answers]
    width = max(lengths)
    pad = processor.tokenizer.pad_token_id
    tokens = torch.tensor([[*answer.tokens, *[pad] * (width - len(answer.tokens))] for answer in answers], dtype=ids.dtype)
    real = torch.tensor([[1] * length + [0] * (width - length) for length in lengths], dtype=mask.dtype)
    learnt = torch.tensor([[*answer.learnt, *[False] * (width - len(answer.learnt))] for answer in answers])
    joined = {"input_ids": torch.cat((ids, tokens), 1), "attention_mask": torch.cat((mask, real), 1)}
    joined["labels"] = torch.cat((torch.full_like(ids, IGNORED), tokens.masked_fill(~learnt, IGNORED)), 1)
    for name in PER_TOKEN & inputs.keys():
        joined[name] = torch.cat((inputs[name], _of_answer(name, inputs[name], real, processor)), 1)
    attended = joined["attention_mask"]
    columns = attended.argsort(dim=1, descending=True, stable=True)[:, : int(attended.sum(1).max())]
    rows = torch.arange(len(answers))[:, None]
    return {**inputs, **{name: tensor[rows, columns] for name, tensor in joined.items()}}


def _of_answer(name: str, prompt: Any, real: Any, processor: Any) -> Any:
    """An input's values for the tokens of answers, which are those that generation gives them."""
    if name == "cross_attention_mask":  # an answer sees the images that the prompt's last token sees
        return prompt[:, -1:].expand(-1, real.shape[1], *prompt.shape[2:])
    if name == "token_type_ids" and "labels" in processor.model_input_names:
        return real.to(prompt.dtype)  # PaliGemma: 0 is a prompt, seen as a whole, and 1 an answer, seen word by word
    return real.to(prompt.dtype) * 0  # 0 is text, other numbers are images


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
    if not chat.shows(with_pictures(sample.prompt, len(sample.images)), sample.completion):
        return "the chat template changes the answer"
    example = {"images": sample.images, "prompt": sample.prompt, "completion": sample.completion}
    return next(filter(None, (_part_difference(chat, part) for part in one_by_one(chat, example))), None)


def _part_difference(chat: Chat, example: Mapping[str, Any]) -> str | None:
    """Where the tokens before an answer are not those of its scored prompt, or not those that the loss begins behind."""
    trained = training_inputs(chat, [example])
    ids, learnt = trained["input_ids"][0].tolist(), (trained["labels"][0] != IGNORED).tolist()
    messages = with_pictures(example["prompt"], len(example["images"]))
    for place, message in enumerate(example["completion"]):
        if message["role"] != "assistant":
            continue
        asked = chat.prompt([*messages, *example["completion"][:place]]).text
        scored = prompt_inputs(chat.processor, [asked], [example["images"]])["input_ids"][0].tolist()
        at = len(scored)
        if ids[:at] != scored or learnt[at - 1] or not learnt[at]:
            turn = "" if not place else f", turn {1 + place // 2}"
            return f"the tokens that are trained do not begin with the {at} tokens of the scored prompt{turn}"
    return None
