"""Conversations of user and assistant, and what question they are: the last turn is asked, earlier ones come before it.

tvt shows all images of a row before its first question. A placeholder (``<image>``) before the whole text of
the first question or behind it, where it says nothing, is taken out; if any stands elsewhere, each becomes ``(image 1)``,
``(image 2)``, ... in its place, so that the text still says which image it speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tvt.core.question import Turn as EarlierTurn
from tvt.data.hub.videos import OPENING
from tvt.data.imports.media import MediaReader, RowError
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.questions.listed_options import letter_of, listed_options

_BESIDE = re.compile(r"(?<=\w)(?=\(images? \d)|(?<=\(image \d\))(?=\w)|(?<=\(image \d\d\))(?=\w)")
"""Between an image's name in a text and a word that touches it."""
_PLACE = re.compile(r"(<image>|<video>|<audio>)")
_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a video in the text of a turn."""

    kind: Literal["image", "video"]
    value: Any = None
    """What names it; ``None`` for a placeholder, which stands for the next of the row's list."""


Part = str | Media


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its text, without images."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A row as what was said in it."""

    turns: tuple[Turn, ...]
    images: tuple[Any, ...] = ()
    """What names the images that placeholders stand for, in their order."""
    videos: tuple[Any, ...] = ()
    in_front: bool = False
    """Whether images without any placeholder stand before the first question; otherwise they are a fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A row as a question, and what was done to it."""

    id: str | None
    """``None`` where the row has none."""
    task: str | None
    prompt: str
    options: tuple[str, ...] = ()
    answer: str
    answers: tuple[str, ...] = ()
    """All accepted answers where there are several; the first is ``answer``."""
    images: tuple[bytes, ...] = ()
    question: str | None = None
    turns: tuple[EarlierTurn, ...] = ()
    """Earlier turns, oldest first."""
    notes: tuple[str, ...] = ()
    """What was changed, the same words for all rows of a kind."""

    def unchecked(self, id_: str, task: str) -> UncheckedQuestion:
        """As a question that is not checked yet."""
        return UncheckedQuestion(
            id=id_,
            task=task,
            prompt=self.prompt,
            options=self.options,
            answer=self.answer,
            images=self.images,
            question=self.question,
            answers=self.answers,
            turns=self.turns,
        )


def parts_of(content: Any) -> tuple[Part, ...]:
    """The content of a message: text with placeholders, or a list of parts as OpenAI and TRL have them.

    Raises:
        RowError: sound, or a part of another type.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return tuple(_placed(text) for text in _PLACE.split(content) if text)
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise RowError(
            "content that is no text", f"a message's content is a {type(content).__name__}; write text or a list of parts"
        )
    return tuple(part for item in content for part in _part(item))


def _placed(text: str) -> Part:
    if text == "<audio>":
        raise RowError("sound", "it has sound; tvt's questions take text, images and frames of videos")
    if text in ("<image>", "<video>"):
        return Media("image" if text == "<image>" else "video")
    return text


def _part(item: Any) -> tuple[Part, ...]:
    if isinstance(item, str):
        return parts_of(item)
    if not isinstance(item, Mapping):
        raise RowError(
            "content of unknown type", f"a part of a message is a {type(item).__name__}; write an object with 'type'"
        )
    kind = item.get("type") or next((name for name in ("text", "image", "video") if item.get(name) is not None), None)
    if kind in ("text", "input_text", "output_text"):
        return (str(item.get("text") or ""),)
    for media in ("image", "video"):
        if kind in (media, f"{media}_url", f"input_{media}"):
            keys = (media, f"{media}_url", "path", "url", "bytes")
            value = next((item[key] for key in keys if item.get(key) is not None), None)
            return (Media(media, value),)
    if kind in ("audio", "input_audio", "audio_url"):
        return (_placed("<audio>"),)
    raise RowError("content of unknown type", f"a part of a message has type '{kind}'; tvt takes text, image and video")


def read_conversation(talk: Conversation, media: MediaReader, *, id_: str | None, task: str | None) -> Reading:
    """A conversation as a question.

    Args:
        talk: what was said.
        media: what reads the images and videos.
        id_: of the row, where it has one.
        task: of the row, where it says.

    Raises:
        RowError: turns that do not end in an answer, images that do not fit their placeholders, or that cannot be read.
    """
    system, turns = _alternating(talk.turns)
    turns, images, placed = _with_images(turns, talk, media)
    said = [turn.text.strip() for turn in turns]
    if system:
        said[0] = f"{system}\n\n{said[0]}"
    if not all(said):
        empty = next(number for number, text in enumerate(said) if not text)
        raise RowError(
            "empty turns",
            f"{'a question' if empty % 2 == 0 else 'an answer'} (turn {empty + 1}) is empty; write it or drop the row",
        )
    pairs = tuple(map(EarlierTurn, said[::2], said[1::2]))
    notes = ["a system prompt was put before the first question"] * bool(system)
    notes += ["placeholders within the text became (image 1), (image 2), ..."] * placed
    result = Reading(
        id=id_, task=task, prompt=pairs[-1][0], answer=pairs[-1][1], images=images, turns=pairs[:-1], notes=tuple(notes)
    )
    return with_options(result)


def with_options(row: Reading) -> Reading:
    """The row with the options that its prompt lists, where its answer is one of them.

    Raises:
        RowError: the answer is a letter of none of the options.
    """
    options = row.options or listed_options(row.prompt)
    if not options:
        return row
    try:
        letter = letter_of(row.answer, options)
    except ValueError as error:
        raise RowError("answers that are no option", f"{error}; mend the options or the answer") from error
    if letter is None:
        if row.options:
            raise RowError(
                "answers that are no option",
                f"the answer '{row.answer[:40]}' is none of its options; write the right one's letter",
            )
        return row
    changed = ("answers became the right option's letter",) if row.answer != letter else ()
    return replace(row, options=options, answer=letter, answers=(), notes=(*row.notes, *changed))


def _alternating(turns: Sequence[Turn]) -> tuple[str, list[Turn]]:
    """The system prompt, and the turns of user and assistant, one after the other; messages of one side in a row are one turn.

    Raises:
        RowError: others take part, or it does not begin with a question and end with an answer.
    """
    named = []
    for turn in turns:
        role = _ROLES.get(str(turn.role).lower())
        if role is None:
            raise RowError("turns of others", f"a turn is of '{turn.role}'; tvt trains on turns of user and assistant")
        named.append(Turn(role, turn.parts))
    system = [turn.text.strip() for turn in named if turn.role == "system"]
    if named and any(turn.role == "system" for turn in named[len(system) :]):
        raise RowError("system prompts within", "a system prompt stands after the first question; put it first")
    result: list[Turn] = []
    for turn in named[len(system) :]:
        if result and result[-1].role == turn.role == "user":
            result[-1] = Turn("user", (*result[-1].parts, "\n", *turn.parts))
        elif result and result[-1].role == turn.role:
            raise RowError("two answers in a row", "two turns of the assistant follow each other; join them")
        else:
            result.append(turn)
    if not result or result[0].role != "user":
        raise RowError("no question", "it does not begin with a question of the user; write one or drop the row")
    if result[-1].role != "assistant":
        raise RowError("no answer", "it ends without an answer of the assistant; write one or drop the row")
    return "\n".join(filter(None, system)), result


def _with_images(turns: list[Turn], talk: Conversation, media: MediaReader) -> tuple[list[Turn], tuple[bytes, ...], bool]:
    """The turns as text, their images in order, and whether places in the text were written out."""
    if any(isinstance(part, Media) for turn in turns[1::2] for part in turn.parts):
        raise RowError("images in answers", "an answer of the assistant holds an image; tvt's answers are text")
    every = [part for turn in turns for part in turn.parts if isinstance(part, Media)]
    given = {"image": list(talk.images), "video": list(talk.videos)}
    for kind, values in given.items():
        places = sum(part.kind == kind and part.value is None for part in every)
        if places == 0 and values and talk.in_front:
            front = tuple(Media(kind) for _ in values)  # type: ignore[arg-type]
            turns = [Turn("user", (*front, *turns[0].parts)), *turns[1:]]
        elif places != len(values):
            raise RowError(
                f"{kind}s that do not fit their placeholders",
                f"{len(values)} {kind}{'s' * (len(values) != 1)} for {places} <{kind}> in its text; give each {kind} one place",
            )
    at_edge = _at_edge(turns)
    images: list[bytes] = []
    result = []
    for turn in turns:
        shown = [(part, _shown(part, given, images, media)) for part in turn.parts]
        result.append(Turn(turn.role, tuple(text for part, text in shown if isinstance(part, str) or not at_edge)))
    if not at_edge:
        result = [Turn(turn.role, (_BESIDE.sub(" ", turn.text),)) for turn in result]
    if any(part.kind == "video" for part in every) or talk.videos:
        result[0] = Turn("user", (f"{OPENING}\n", result[0].text.strip()))
    return result, tuple(images), not at_edge


def _at_edge(turns: Sequence[Turn]) -> bool:
    """Whether all images stand before the whole text of the first question, or all behind it."""
    first = [part for part in turns[0].parts if isinstance(part, Media) or part.strip()]
    media = [isinstance(part, Media) for part in first]
    later = any(isinstance(part, Media) for turn in turns[1:] for part in turn.parts)
    count = sum(media)
    return not later and (all(media[:count]) or all(media[len(media) - count :]))


def _shown(part: Part, given: dict[str, list[Any]], images: list[bytes], media: MediaReader) -> str:
    """What a part is called in a text; its images are appended."""
    if isinstance(part, str):
        return part
    value = given[part.kind].pop(0) if part.value is None else part.value
    first = len(images) + 1
    images += [media.image(value)] if part.kind == "image" else media.video(value)
    return f"(image {first})" if len(images) == first else f"(images {first} to {len(images)})"


def answers_of(value: Any) -> tuple[str, ...]:
    """The accepted answers of a value, the most frequent first: a text, a number, or a list of them, which may hold one twice.

    Raises:
        RowError: it is none of these.
    """
    if isinstance(value, Mapping) and isinstance(value.get("answer") or value.get("text"), str | list):
        value = value.get("answer") or value.get("text")
    if isinstance(value, list | tuple):
        texts = [text for item in value for text in answers_of(item)]
        return tuple(sorted(texts, key=lambda text: (-texts.count(text), texts.index(text))))
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    if isinstance(value, float):
        return (f"{value:.15g}",)
    if isinstance(value, str | int) and str(value).strip():
        return (str(value).strip(),)
    raise RowError(
        "no answer", "its answer is empty; write one or drop the row" if value in (None, "") else "its answer is no text"
    )
