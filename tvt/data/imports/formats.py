"""Rows of other trainers as questions: LLaMA-Factory, ms-swift and OpenAI, TRL, LLaVA.

Columns and meaning are those of each tool's documentation and code: LLaMA-Factory ``data/README.md`` and
``src/llamafactory/data/converter.py`` (0.9), ms-swift ``Customization/Custom-dataset.md`` (4), OpenAI's guide to vision
fine-tuning, TRL's dataset formats (1.16, ``trl/data_utils.py``), LLaVA ``docs/Finetune_Custom_Data.md``.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tvt.data.hub.formats import HubRow, RowFormat
from tvt.data.imports.conversations import Conversation, Media, Reading, Turn, parts_of, read_conversation
from tvt.data.imports.descriptions import Description, description_of
from tvt.data.imports.media import RowError, media_reader
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.tasks import QuestionData
from tvt.io import digest, json_text

IDS = ("id", "question_id", "questionId", "qid", "idx", "uid", "sample_id")
"""Columns that name a row, the first that is there."""
_PAIRS = {
    "chosen": "chosen and rejected answers",
    "rejected": "chosen and rejected answers",
    "rejected_response": "a rejected answer",
    "rejected_messages": "rejected messages",
    "kto_tag": "a judgement of its answer (KTO)",
}
"""Columns of rows that are no questions with one answer."""


class ImportedRows(RowFormat):
    """Rows of others: what is done to a row is remembered beside the question."""

    needed = ()

    @abstractmethod
    def reading(self, row: HubRow, data: QuestionData) -> Reading:
        """A row as a question.

        Raises:
            ValueError: what is wrong with the row, and what to do; a :class:`RowError` where faults of its kind can be grouped.
        """

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; a row without an id is named by the digest of its content."""
        reading = self.reading(row, data)
        task = reading.task or data.config or str(data.path or data.dataset).rstrip("/").rpartition("/")[2]
        return reading.unchecked(reading.id or made_id(reading), task)


def made_id(reading: Reading) -> str:
    """An id that follows from what is asked and answered, wherever the row stands."""
    images = [hashlib.sha256(image).hexdigest() for image in reading.images]
    turns = [list(turn) for turn in reading.turns]
    return f"row-{digest.of_value([reading.prompt, reading.answer, images, turns])[:12]}"


class ConversationRows(ImportedRows):
    """Rows that are conversations."""

    described: ClassVar[bool] = False
    """Whether a ``dataset_info.json`` may say what their columns are."""

    @abstractmethod
    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """What is said in a row.

        Raises:
            RowError: what is wrong with the row.
        """

    def reading(self, row: HubRow, data: QuestionData) -> Reading:
        """See :meth:`ImportedRows.reading`."""
        for column, what in _PAIRS.items():
            if row.get(column) is not None:
                raise RowError("rows of preferences", f"it has {what} in '{column}'; tvt trains on one answer of a row")
        for column in ("audio", "audios"):
            if row.get(column):
                raise RowError("sound", "it has sound; tvt's questions take text, images and frames of videos")
        described = description_of(data) if self.described else None
        media = media_reader(data, *([described.path.parent] if described is not None else []))
        talk = self.conversation(row, data)
        return read_conversation(talk, media, id_=id_of(row), task=text_or_none(row.get("task")))


def id_of(row: HubRow) -> str | None:
    """The id of a row, where it has one."""
    return next((text for name in IDS if (text := text_or_none(row.get(name))) is not None), None)


def text_or_none(value: Any) -> str | None:
    """A text or a number as text; ``None`` for anything else, and for an empty text."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value).strip() or None
    return None


def listed(value: Any) -> tuple[Any, ...]:
    """One thing, several, or none, as several."""
    return () if value is None or value == "" else tuple(value) if isinstance(value, list | tuple) else (value,)


def messages_of(value: Any, column: str, role: str = "role", content: str = "content") -> tuple[Turn, ...]:
    """Messages as turns; a JSON text of them is read too.

    Raises:
        RowError: they are none, or some are not trained on.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json_text.loads(value)
        except ValueError as error:
            raise RowError("messages that cannot be read", f"'{column}' is no whole JSON ({error}); write a list") from error
    if not isinstance(value, list | tuple) or not value:
        raise RowError("messages that cannot be read", f"'{column}' is no list of messages; write a list of objects")
    return tuple(_message(message, column, role, content) for message in value)


def _message(message: Any, column: str, role: str, content: str) -> Turn:
    if not isinstance(message, Mapping) or message.get(role) is None:
        raise RowError(
            "messages that cannot be read", f"a message in '{column}' has no '{role}'; write '{role}' and '{content}'"
        )
    if message.get("tool_calls"):
        raise RowError("turns of others", "a message calls a tool; tvt trains on turns of user and assistant")
    if message.get("weight") == 0 or message.get("loss") is False:
        raise RowError("answers without loss", "an answer is not to be learnt (weight 0); tvt trains on every answer of a row")
    return Turn(str(message[role]), parts_of(message.get(content)))


class SharegptRows(ConversationRows):
    """LLaMA-Factory's sharegpt: ``conversations`` of ``from`` and ``value``, with ``images`` (``<image>``) and ``videos``.

    Where a ``dataset_info.json`` beside the file describes it, the columns and tags are those that stand there. Images and
    placeholders must be as many. ms-swift's ``conversation`` of ``human`` and ``assistant`` is read too, and The Cauldron's
    ``texts`` of ``user`` and ``assistant``; there, images without any placeholder stand before the first question.
    """

    described = True

    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """See :meth:`ConversationRows.conversation`."""
        described = description_of(data)
        column = (
            described.column("messages")
            if described is not None
            else _first(row, ("conversations", "messages", "conversation", "texts"))
        )
        if column is None or row.get(column) is None:
            raise RowError(
                "no conversation", f"no '{column or 'conversations'}' in it; write a list of turns, or name the format"
            )
        turns = self._turns(row[column], column, described)
        system = row.get(described.column("system") or "") if described is not None else row.get("system")
        if isinstance(system, str) and system.strip() and (not turns or turns[0].role != "system"):
            turns = (Turn("system", (system,)), *turns)
        names = [described.column(name) if described is not None else name for name in ("images", "videos")]
        images, videos = (listed(row.get(name or "")) for name in names)
        return Conversation(turns=turns, images=images, videos=videos, in_front=column in ("conversation", "texts"))

    def _turns(self, value: Any, column: str, described: Description | None) -> tuple[Turn, ...]:
        if described is not None:
            role, content = described.tag("role_tag"), described.tag("content_tag")
            return tuple(Turn(described.role(turn.role), turn.parts) for turn in messages_of(value, column, role, content))
        first = value[0] if isinstance(value, list | tuple) and value else None
        if isinstance(first, Mapping) and "from" not in first and "role" not in first:
            return tuple(turn for message in value for turn in _exchange(message, column))
        named = isinstance(first, Mapping) and "from" not in first
        return messages_of(value, column, *(("role", "content") if named else ("from", "value")))


def _exchange(message: Any, column: str) -> tuple[Turn, ...]:
    """A question and its answer in one object, as ms-swift's ShareGPT format has them."""
    if not isinstance(message, Mapping):
        raise RowError("messages that cannot be read", f"a turn in '{column}' is no object; write 'human' and 'assistant'")
    asked, answered = (
        next((message[key] for key in keys if key in message), None) for keys in (("human", "user"), ("assistant", "gpt"))
    )
    if asked is None or answered is None:
        raise RowError("messages that cannot be read", f"a turn in '{column}' has no 'from' and 'value'; write both")
    return Turn("user", parts_of(asked)), Turn("assistant", parts_of(answered))


def _first(row: HubRow, names: Sequence[str]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


class MessageRows(ConversationRows):
    """``messages`` of ``role`` and ``content``, as ms-swift and OpenAI have them.

    The content is text, with ``<image>`` for the next of ``images``, or a list of parts of type text, image, image_url and
    video. Images without any placeholder stand before the first question, where ms-swift puts them.
    """

    column = "messages"

    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """See :meth:`ConversationRows.conversation`."""
        if isinstance(row.get("label"), bool):
            raise RowError(
                "rows of preferences", "it has a judgement of its answer in 'label' (KTO); tvt trains on one answer of a row"
            )
        if row.get("objects"):
            raise RowError("boxes", "it has 'objects', whose boxes a trainer writes into the text; write them there")
        turns = messages_of(row.get(self.column), self.column)
        system = row.get("system")
        if isinstance(system, str) and system.strip() and turns[0].role != "system":
            turns = (Turn("system", (system,)), *turns)
        return Conversation(turns=turns, images=images_of(row), videos=_videos(row), in_front=True)


def images_of(row: HubRow) -> tuple[Any, ...]:
    """What names the images of a row, in ``images`` or ``image``."""
    return listed(row.get("images")) or listed(row.get("image"))


def _videos(row: HubRow) -> tuple[Any, ...]:
    return listed(row.get("videos")) or listed(row.get("video"))


class TrlRows(ConversationRows):
    """TRL's ``prompt`` and ``completion``, as text or as messages, or ``messages``; ``images``, or one ``image``.

    In messages of text all images stand before the first question, as TRL puts them; blocks of type image say where they stand.
    """

    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """See :meth:`ConversationRows.conversation`."""
        if row.get("messages") is not None:
            turns = messages_of(row["messages"], "messages")
        else:
            turns = (*self._side(row, "prompt", "user"), *self._side(row, "completion", "assistant"))
        return Conversation(turns=turns, images=images_of(row), videos=_videos(row), in_front=True)

    def _side(self, row: HubRow, column: str, role: str) -> tuple[Turn, ...]:
        value = row.get(column)
        if value is None:
            raise RowError(
                "no prompt and completion", f"no '{column}' in it; TRL's rows have prompt and completion, or messages"
            )
        return (Turn(role, parts_of(value)),) if isinstance(value, str) else messages_of(value, column)


class LlavaRows(ConversationRows):
    """LLaVA's ``conversations`` of ``from`` (human, gpt) and ``value``, with ``image``, the path of an image or a list of them.

    Of a ``video`` the frames are shown in the place of its ``<video>`` or, as in LLaVA-Video, its ``<image>``.
    """

    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """See :meth:`ConversationRows.conversation`."""
        turns = messages_of(row.get("conversations"), "conversations", "from", "value")
        images, videos = images_of(row), _videos(row)
        if videos and not images:
            turns = tuple(Turn(turn.role, tuple(map(_as_video, turn.parts))) for turn in turns)
        return Conversation(turns=turns, images=images, videos=videos)


def _as_video(part: str | Media) -> str | Media:
    return part if isinstance(part, str) else Media("video", part.value)


class AlpacaRows(ConversationRows):
    """LLaMA-Factory's alpaca: ``instruction``, ``input``, ``output``; or ms-swift's ``query`` and ``response``; ``history``."""

    described = True

    def conversation(self, row: HubRow, data: QuestionData) -> Conversation:
        """See :meth:`ConversationRows.conversation`."""
        described = description_of(data)
        names = {
            name: (described.column(name) if described is not None else None) or name
            for name in ("prompt", "query", "response")
        }
        asked = [row.get(names["prompt"], row.get("instruction")), row.get(names["query"], row.get("input"))]
        answer = row.get(names["response"], row.get("output"))
        history = row.get((described.column("history") if described is not None else None) or "history") or []
        try:
            turns = [
                Turn(role, parts_of(text)) for pair in history for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
        except (TypeError, ValueError) as error:
            raise RowError(
                "messages that cannot be read", f"'history' is no list of pairs ({error}); write [[asked, answered]]"
            ) from error
        system = row.get("system")
        first = (Turn("system", (system,)),) if isinstance(system, str) and system.strip() else ()
        prompt = Turn("user", parts_of("\n".join(str(text) for text in asked if text)))
        return Conversation(
            turns=(*first, *turns, prompt, Turn("assistant", parts_of(answer))),
            images=images_of(row),
            videos=_videos(row),
            in_front=described is None,
        )
