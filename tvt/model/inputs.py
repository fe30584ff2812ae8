"""Model inputs: the tensors of a prompt, which are scored, and the same continued by an answer, which are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvt.model.chat import Chat, Message

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
    """Right-padded inputs of prompts with their answers, and ``labels``, on the CPU: the loss is on the answers alone.

    Args:
        chat: the model's chat template.
        examples: each with ``images``, decoded, ``prompt`` and ``completion``, both lists of messages.

    Raises:
        InputError: see :class:`tvt.model.chat.Chat`.
    """
    prompts, answers = [], []
    for example in examples:
        messages = with_pictures(example["prompt"], len(example["images"]))
        prompt = chat.prompt(messages)
        prompts.append(prompt.text)
        answers.append(chat.completion(prompt, messages, example["completion"]))
    inputs = prompt_inputs(chat.processor, prompts, [example["images"] for example in examples])
    return _continued(dict(inputs), answers, chat.processor)


def with_pictures(messages: Sequence[Message], count: int) -> list[Message]:
    """The messages with ``count`` images before the first user message's text, unless the messages place them already."""
    placed = sum(block["type"] == "image" for m in messages if not isinstance(m["content"], str) for block in m["content"])
    first = next((place for place, message in enumerate(messages) if message["role"] == "user"), None)
    if first is None or placed or not isinstance(messages[first]["content"], str):
        return list(messages)
    content = [*({"type": "image"} for _ in range(count)), {"type": "text", "text": messages[first]["content"]}]
    return [*messages[:first], {**messages[first], "content": content}, *messages[first + 1 :]]


def _continued(inputs: dict[str, Any], answers: Sequence[Sequence[int]], processor: Any) -> dict[str, Any]:
    """Put the answers' tokens behind the prompts', and all padding behind both."""
    import torch

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    width = max(len(answer) for answer in answers)
    pad = processor.tokenizer.pad_token_id
    tokens = torch.tensor([[*answer, *[pad] * (width - len(answer))] for answer in answers], dtype=ids.dtype)
    real = torch.tensor([[1] * len(answer) + [0] * (width - len(answer)) for answer in answers], dtype=mask.dtype)
    whole = {"input_ids": torch.cat((ids, tokens), 1), "attention_mask": torch.cat((mask, real), 1)}
    whole["labels"] = torch.cat((torch.full_like(ids, IGNORED), tokens.masked_fill(real == 0, IGNORED)), 1)
    for name in PER_TOKEN & inputs.keys():
        whole[name] = torch.cat((inputs[name], _of_answer(name, inputs[name], real, processor)), 1)
    seen = whole["attention_mask"]
    kept = seen.argsort(dim=1, descending=True, stable=True)[:, : int(seen.sum(1).max())]
    rows = torch.arange(len(answers))[:, None]
    return {**inputs, **{name: tensor[rows, kept] for name, tensor in whole.items()}}


def _of_answer(name: str, prompt: Any, real: Any, processor: Any) -> Any:
    """An input's values for the tokens of answers, which are those that generation gives them."""
    if name == "cross_attention_mask":  # an answer sees the images that the prompt's last token sees
        return prompt[:, -1:].expand(-1, real.shape[1], *prompt.shape[2:])
    if name == "token_type_ids" and "labels" in processor.model_input_names:
        return real.to(prompt.dtype)  # PaliGemma: 0 is a prompt, seen as a whole, and 1 an answer, seen word by word
    return real.to(prompt.dtype) * 0  # 0 is text, other numbers are images
