"""A model of lmms-eval that asks a model which tvt loaded, with or without an adapter on it, so that every family works that
tvt loads.

Answers are generated as lmms-eval's own ``huggingface`` model does it: with the model's own generation settings, and the task's
over them. Likelihoods are the mean negative log-likelihoods of an answer's tokens up to the end of its turn, of which
lmms-eval takes the smallest, as its ``llava`` models return them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages

from tvt.errors import InputError
from tvt.evaluate.scorer import FiniteLogits
from tvt.model.base import Loaded
from tvt.model.chat import Chat, Message
from tvt.model.inputs import IGNORED, prompt_inputs, training_inputs
from tvt.model.picture import PictureError, decode, shown

GENERATION = {"max_new_tokens": 4096, "temperature": 0.0, "top_p": None, "num_beams": 1}
"""What lmms-eval's ``huggingface`` model takes where a task says nothing."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is asked: messages with places for pictures, and the pictures."""

    messages: Sequence[Message]
    pictures: Sequence[Any]
    """Decoded, in the order of their places."""


class HarnessModel(lmms):  # type: ignore[misc]
    """What lmms-eval asks in place of a model of its own.

    Args:
        base: the loaded base model, for its processor, device and limit of pixels.
        model: the base model, or it with an adapter on.
        batch_size: questions in a pass.
        answered: called with how many questions, or options of one, were answered.
    """

    is_simple = True

    def __init__(self, base: Loaded, model: Any, *, batch_size: int, answered: Callable[[int], object]) -> None:
        super().__init__()
        self._base = base
        self._asked = [model]  # as a plain attribute, lmms-eval would delete it after a task
        self._chat = Chat(base.processor)
        self._answered = answered
        self.batch_size = batch_size
        self.device = base.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers to questions, by the task's generation settings."""
        answers: dict[int, str] = {}
        for places in self._batches(requests):
            shown_ = [self._shown(requests[place].args) for place in places]
            for batch in _alike(places, shown_):
                texts = self._generate([one for _, one in batch], _settings(requests[places[0]].args))
                answers.update(zip((place for place, _ in batch), texts, strict=True))
                self._answered(len(batch))
        return [answers[place] for place in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """For each answer the mean negative log-likelihood of its tokens, and whether each of them is the most likely one."""
        results: list[tuple[float, bool]] = []
        for start in range(0, len(requests), self.batch_size):
            for request in requests[start : start + self.batch_size]:
                context, continuation, to_visual, place, task, split = request.args
                document = self.task_dict[task][split][place]
                text = continuation if isinstance(continuation, str) else continuation(document)
                results.append(self._likelihood(self._beside(context, to_visual(document), f"{task}, sample {place}"), text))
            self._answered(len(requests[start : start + self.batch_size]))
        # As they are, lmms-eval 0.7.3 would make texts of the pairs, and then fail to take them apart.
        return [GenerationResult(text=pair) for pair in results]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not done."""
        raise InputError("lmms-eval's output type generate_until_multi_round cannot be a target; take a task of generate_until")

    def _batches(self, requests: Sequence[Any]) -> Iterator[list[int]]:
        """Places of requests with the same generation settings, in batches."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(_settings(request.args), sort_keys=True, default=str), []).append(place)
        for group in groups.values():
            for start in range(0, len(group), self.batch_size):
                yield group[start : start + self.batch_size]

    def _shown(self, arguments: Sequence[Any]) -> Shown:
        """What a request for an answer asks: of tasks with messages these, else pictures and then the text."""
        if callable(arguments[1]):
            _, to_messages, _, place, task, split = arguments
            messages = to_messages(self.task_dict[task][split][place])
            return self._of_messages(messages, f"{task}, sample {place}")
        context, _, to_visual, place, task, split = arguments
        return self._beside(context, to_visual(self.task_dict[task][split][place]), f"{task}, sample {place}")

    def _of_messages(self, given: Any, where: str) -> Shown:
        messages: list[Message] = []
        pictures: list[Any] = []
        for message in ChatMessages(messages=given).messages:
            content = []
            for block in message.content:
                if block.type == "text":
                    content.append({"type": "text", "text": block.text})
                elif block.type == "image":
                    content.append({"type": "image"})
                    pictures.append(self._picture(block.url, where))
                else:
                    raise InputError(
                        f"{where}: shows {block.type}, and targets of lmms-eval show pictures and text alone; take another task"
                    )
            messages.append({"role": message.role, "content": content})
        return Shown(messages=messages, pictures=pictures)

    def _beside(self, context: str, visuals: Any, where: str) -> Shown:
        pictures = [self._picture(visual, where) for visual in visuals or ()]
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": context}]
        return Shown(messages=[{"role": "user", "content": content}], pictures=pictures)

    def _picture(self, visual: Any, where: str) -> Any:
        """A picture as tvt shows pictures: RGB, transparent parts on white, at most so many pixels."""
        from PIL.Image import Image

        limits = self._base.config.max_pixels, self._base.config.min_pixels
        try:
            if isinstance(visual, Image):
                return shown(visual, *limits)
            if isinstance(visual, str):
                with open(visual, "rb") as stream:
                    return decode(stream.read(), *limits)
        except (PictureError, OSError) as error:
            raise InputError(f"{where}: a picture cannot be read ({error}); mend the task's data") from error
        raise InputError(
            f"{where}: shows a {type(visual).__name__}, and targets of lmms-eval show pictures and text alone; take another one"
        )

    def _generate(self, batch: Sequence[Shown], settings: Mapping[str, Any]) -> list[str]:
        """Texts that the model writes on, by settings in transformers' names."""
        import torch
        import transformers

        library: Any = transformers
        tokenizer = self._base.processor.tokenizer
        inputs = prompt_inputs(
            self._base.processor, [self._chat.prompt(one.messages).text for one in batch], [one.pictures for one in batch]
        ).to(self.device)
        options = {**GENERATION, **settings}
        sampled = (options["temperature"] or 0) > 0
        check = FiniteLogits()
        with torch.inference_mode():
            tokens = self._asked[0].generate(
                **inputs,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                do_sample=sampled,
                temperature=options["temperature"] if sampled else None,
                top_p=options["top_p"] if sampled else None,
                num_beams=options["num_beams"],
                max_new_tokens=options["max_new_tokens"],
                use_cache=True,
                logits_processor=library.LogitsProcessorList([check]),
            )
        if check.bad is not None and check.bad.any():
            raise _not_finite(self._base.config.dtype)
        texts = tokenizer.batch_decode(
            tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return list(texts)

    def _likelihood(self, asked: Shown, answer: str) -> tuple[float, bool]:
        import torch

        completion = [{"role": "assistant", "content": answer.strip()}]
        row = {"images": asked.pictures, "prompt": asked.messages, "completion": completion}
        inputs = training_inputs(self._chat, [row])
        labels = inputs.pop("labels")[0, 1:]
        with torch.inference_mode():
            logits = self._asked[0](**_moved(inputs, self.device), use_cache=False).logits[0, :-1].float().cpu()
        wanted = labels != IGNORED
        scores = torch.log_softmax(logits[wanted], -1)
        if not torch.isfinite(scores).all():
            raise _not_finite(self._base.config.dtype)
        tokens = labels[wanted]
        loss = -scores.gather(1, tokens[:, None]).mean()
        return float(loss), bool((scores.argmax(1) == tokens).all())


def _settings(arguments: Sequence[Any]) -> Mapping[str, Any]:
    """A request's generation settings."""
    return arguments[2] if callable(arguments[1]) else arguments[1]  # type: ignore[no-any-return]


def _alike(places: Sequence[int], asked: Sequence[Shown]) -> list[list[tuple[int, Shown]]]:
    """Questions with equally many pictures, which fit into one batch."""
    groups: dict[int, list[tuple[int, Shown]]] = {}
    for place, one in zip(places, asked, strict=True):
        groups.setdefault(len(one.pictures), []).append((place, one))
    return list(groups.values())


def _moved(inputs: Mapping[str, Any], device: Any) -> dict[str, Any]:
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}


def _not_finite(dtype: str) -> Exception:
    from tvt.errors import NotFiniteScoreError

    return NotFiniteScoreError(
        f"lmms-eval: the scores are not finite numbers, in {dtype}; train with a lower learning rate", base=False
    )
