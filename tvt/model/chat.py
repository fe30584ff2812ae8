"""The position of an answer in a model's conversation: one module decides the text that is scored and the text that is trained.

A chat template renders the whole conversation, with a word of tvt's as the answer. What it writes before the word is the
prompt, what it writes behind it is the end of the turn. So the prompt that is scored is the one that training continues, also
where the template's own generation prompt is another: thinking models open a block there that a trained answer stands behind,
some templates know no generation prompt at all, and some write a line break or a mark of their own before an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tvt.errors import InputError

Message = Mapping[str, Any]
"""``role`` and ``content``: a text, or a list of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``."""

THINKING = {"<think>": "</think>", "◁think▷": "◁/think▷", "[THINK]": "[/THINK]"}
"""Marks that open and close a model's reasoning."""

_ANSWER = "TheAnswerStandsHere"
_WRITTEN_OUT = re.compile(r"""["']type["']: ["'](?:text|image)["']""")
"""Blocks of content as a template writes them out that does not know them."""
_TAIL = 32
"""So many characters of a prompt decide how what follows is divided into tokens."""

_REMEMBERED = 4096
"""Answers whose tokens are remembered: most are the same few letters."""


_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
"""A template's call for today's date."""
_DATE = datetime(2025, 1, 1)
"""What templates that write today's date write: a study must not depend on the days on which it is trained and scored."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation up to the place of the answer, and what surrounds the answer there."""

    text: str
    """What the model is shown; scored tokens and trained ones follow it immediately."""
    lead: str
    """What is between the prompt and the answer's first letter: a space that is one token with that letter, or nothing."""
    ending: str
    """What follows the answer: the end of the turn."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Tokens that training puts behind a prompt's."""

    tokens: list[int]
    learnt: list[bool]
    """Whether each of them is part of an answer or of the end of its turn, and takes part in the loss; the user's are not."""


@dataclass(slots=True)
class _Around:
    """A conversation around an answer, as the template takes it and as it renders it."""

    messages: list[Message]
    more: list[Message]
    plain: bool
    """Whether an answer's content is a plain text: most templates take a list of blocks, some a text alone."""
    before: str = ""
    after: str = ""

    def answer(self, text: str) -> Message:
        return {"role": "assistant", "content": text if self.plain else [{"type": "text", "text": text}]}


class Chat:
    """The chat template of one processor, and its tokenizer. It serves one thread at a time, as a tokenizer does.

    Args:
        processor: of a vision-language model, with a chat template.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        # Families that can do without reasoning say so with this variable; others would take it for an option of the tokenizer.
        template = str(processor.chat_template)
        self._options: dict[str, Any] = {"enable_thinking": False} if "enable_thinking" in template else {}
        if _TODAY.search(template):
            template = self._options["chat_template"] = _TODAY.sub(lambda call: repr(_DATE.strftime(call.group(2))), template)
        if "strftime_now(" in template:
            raise InputError(
                f"{self.tokenizer.name_or_path}: chat template: writes today's date in a form that it works out itself, so "
                "that no two days have the same prompt; write the form or the date into its chat_template.jinja"
            )
        self._continued: dict[tuple[str, str], list[int]] = {}
        self._endings: dict[str, str] = {}

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """The text before an answer, and what surrounds the answer.

        Args:
            messages: the conversation; the last message is the user's.

        Raises:
            InputError: the template fails, or does not show an answer as it is.
        """
        around = self._around(messages, ())
        before = around.before
        text = self._cut(self._render(around.messages, add_generation_prompt=True), before)
        lead = before[len(text) :] if before.startswith(text) else ""
        return Prompt(text=text, lead=lead, ending=self._ended(around.after))

    def completion(self, prompt: Prompt, messages: Sequence[Message], completion: Sequence[Message]) -> Continuation:
        """What training puts behind the prompt: the answer, the end of the turn, and later turns if there are any.

        Of several turns, all that stands before the last answer is divided into tokens at once, as where it is scored.

        Args:
            prompt: of ``messages``, from :meth:`prompt`.
            messages: the conversation before the first answer.
            completion: the answer, and possibly more turns, the last of them an answer.

        Raises:
            InputError: the template fails, or ``completion`` does not begin and end with an answer.
            ValueError: an earlier answer is shown otherwise than where it is scored, see :meth:`continues`.
        """
        roles = [message["role"] for message in completion]
        if roles[0] != "assistant" or roles[-1] != "assistant":
            role = next(role for role in (roles[0], roles[-1]) if role != "assistant")
            raise InputError(f"a completion begins or ends with role {role}; it must begin and end with the assistant's answer")
        if len(completion) == 1:
            tokens = self.tokens_after(prompt.text, f"{prompt.lead}{_text(completion[0]).strip()}{prompt.ending}")
            return Continuation(tokens, [True] * len(tokens))
        last = self.prompt([*messages, *completion[:-1]])
        earlier = self._earlier(prompt, last, messages, completion)
        tokens = self.tokens_after(last.text, f"{last.lead}{_text(completion[-1]).strip()}{last.ending}")
        return Continuation([*earlier.tokens, *tokens], [*earlier.learnt, *([True] * len(tokens))])

    def continues(self, messages: Sequence[Message], completion: Sequence[Message]) -> bool:
        """Whether the template shows every earlier answer of ``completion`` as it stands where it is scored.

        Thinking models' do not, as a rule: they write an empty block of reasoning before the last answer alone.
        """
        if len(completion) == 1:
            return True
        places = [place for place, message in enumerate(completion) if message["role"] == "assistant"]
        prompts = [self.prompt([*messages, *completion[:place]]) for place in places]
        said = (f"{at.text}{at.lead}{_text(completion[place]).strip()}" for at, place in zip(prompts, places, strict=True))
        return all(prompts[-1].text.startswith(text) for text in list(said)[:-1])

    def _earlier(
        self, prompt: Prompt, last: Prompt, messages: Sequence[Message], completion: Sequence[Message]
    ) -> Continuation:
        """What stands between the first prompt and the last answer."""
        between = last.text.removeprefix(prompt.text)
        whole = self.tokens_after(prompt.text, between)
        learnt = [False] * len(whole)
        for place, message in enumerate(completion[:-1]):
            if message["role"] != "assistant":
                continue
            before = prompt if not place else self.prompt([*messages, *completion[:place]])
            said = f"{before.lead}{_text(message).strip()}"
            if not last.text.startswith(prompt.text) or not last.text.startswith(f"{before.text}{said}"):
                raise ValueError("an earlier answer is shown otherwise than where it is scored")
            start = len(before.text) - len(prompt.text)
            end = start + len(said)
            end += _common(before.ending, between[end:])
            first, stop = (self._shared_tokens(prompt.text, between, whole, at) for at in (start, end))
            learnt[first:stop] = [True] * (stop - first)
        return Continuation(whole, learnt)

    def _shared_tokens(self, prompt: str, text: str, whole: Sequence[int], at: int) -> int:
        """How many of the tokens of ``text`` its first ``at`` characters make; a token that goes beyond them is not counted."""
        return _common(self.tokens_after(prompt, text[:at]), whole) if at else 0

    def shows(self, messages: Sequence[Message], completion: Sequence[Message]) -> bool:
        """Whether the template puts this very answer where it puts any, and changes nothing in it but space around it.

        Raises:
            InputError: the template fails.
        """
        answer, *more = completion
        text = _text(answer).strip()
        if any(mark in text for pair in THINKING.items() for mark in pair):
            return True  # templates take reasoning out of an answer; it is trained as it was written
        around = self._around(messages, more)
        rendered = self._render([*around.messages, around.answer(text), *around.more])
        return rendered.split() == f"{around.before}{text}{around.after}".split()

    def letters(self, prompt: Prompt, letters: str) -> list[list[int]]:
        """Token ids of option letters, once per spelling in which all are single, distinct tokens; the trained one first.

        Args:
            prompt: what they follow.
            letters: the letters.
        """
        spellings = [[self.tokens_after(prompt.text, f"{prompt.lead}{letter}") for letter in letters]]
        for space in ("", " "):
            spellings.append([self.tokens_after(prompt.text, f"{space}{letter}") for letter in letters])
            spellings.append([self._encode(f"{space}{letter}") for letter in letters])
        result: list[list[int]] = []
        for spelling in spellings:
            ids = [tokens[0] for tokens in spelling if len(tokens) == 1 and tokens[0] != self.tokenizer.unk_token_id]
            if len(set(ids)) == len(letters) and ids not in result:
                result.append(ids)
        return result

    def tokens_after(self, prompt: str, text: str) -> list[int]:
        """Tokens of ``text`` where it follows ``prompt``, whose own tokens stay as they are.

        Tokenizers of the Llama kind put a space before a text that stands alone, so the text is taken together with what it
        follows. Where both would share a token, it is taken behind a line break, which shares none.
        """
        key = (prompt[-_TAIL:], text)
        if key not in self._continued:
            if len(self._continued) == _REMEMBERED:
                self._continued.clear()
            for anchor in (key[0], "\n", ""):
                start, both = self._encode(anchor), self._encode(f"{anchor}{text}")
                if both[: len(start)] == start:
                    self._continued[key] = both[len(start) :]
                    break
        return self._continued[key]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _cut(self, begun: str, before: str) -> str:
        """Where the prompt ends: as late as it must be for the next token to be the answer's, and as early as it can be.

        Args:
            begun: the conversation with the template's generation prompt.
            before: all that the template writes before an answer.
        """
        if not before.startswith(begun) and (closing := _closing(begun)):
            return f"{begun.rstrip()}\n\n{closing}\n\n"
        for text in (begun, before.rstrip(" ")):
            if before.startswith(text) and self._distinguishes(text, before[len(text) :]):
                return text
        return before

    def _distinguishes(self, text: str, lead: str) -> bool:
        """Whether the token behind ``text`` distinguishes one answer from another."""
        one, other = (self.tokens_after(text, f"{lead}{letter}") for letter in "AB")
        return len(one) == len(other) == 1 and one != other

    def _around(self, messages: Sequence[Message], more: Sequence[Message]) -> _Around:
        """Render a conversation with an answer of our own, and find the answer in it."""
        blocks = [_blocks(message) for message in messages]
        texts = [block["text"].strip() for message in blocks for block in message["content"] if "text" in block]
        faults: list[str] = []
        for plain in (False, True):
            before, after = ([_shaped(message, plain=plain) for message in part] for part in (messages, more))
            around = _Around(messages=before, more=after, plain=plain)
            try:
                rendered = self._render([*before, around.answer(_ANSWER), *after])
            except InputError as error:
                faults += error.faults
                continue
            if fault := _rendering_fault(rendered, texts):
                faults.append(fault)
                continue
            around.before, _, around.after = rendered.partition(_ANSWER)
            return around
        raise InputError(
            f"{self.tokenizer.name_or_path}: chat template: {faults[0]}; so the place of an answer that is "
            "trained or scored is unknown; use a model with another template, or mend its chat_template.jinja"
        )

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self.processor.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **self._options
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise InputError(f"{str(error) or type(error).__name__}") from error
        return rendered

    def _ended(self, ending: str) -> str:
        """The end of a turn, with the model's own end where the template writes none: else it would never learn to stop."""
        if ending not in self._endings:
            known = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
            ends = not known.isdisjoint(self.tokens_after("", ending))
            self._endings[ending] = ending if ends else f"{ending.rstrip()}{self.tokenizer.eos_token or ''}"
        return self._endings[ending]


def _blocks(message: Message) -> Message:
    """The message with its content as a list of blocks."""
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _shaped(message: Message, *, plain: bool) -> Message:
    """A message as a template takes it: with blocks, or the assistant's as plain text."""
    return {**message, "content": _text(message)} if plain and message["role"] == "assistant" else _blocks(message)


def after_reasoning(text: str) -> str:
    """What a model answered once it had reasoned, without space around it; all of it where it shows no reasoning."""
    for closing in THINKING.values():
        text = text.rpartition(closing)[2]
    return text.strip()


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def _rendering_fault(rendered: str, texts: Sequence[str]) -> str | None:
    """What is wrong with a conversation that shows ``texts`` and then an answer, if anything is."""
    if rendered.count(_ANSWER) != 1:
        return "an answer is not shown as it is"
    if any(text not in rendered for text in texts):
        return "a question is not shown as it is"
    if len(_WRITTEN_OUT.findall(rendered)) > sum(len(_WRITTEN_OUT.findall(text)) for text in texts):
        return "it writes out a list of texts and images instead of showing them"
    return None


def _closing(text: str) -> str | None:
    """The mark that closes the reasoning that ``text`` leaves open at its very end."""
    return next((closing for opening, closing in THINKING.items() if text.rstrip().endswith(opening)), None)
