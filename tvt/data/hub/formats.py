"""How rows of datasets become questions: the base of all formats (:data:`tvt.core.choices.FORMATS`), tvt's own, and BLINK's.

**BLINK**: As the dataset card of ``BLINK-Benchmark/BLINK`` describes them and the benchmark's code reads them
(zeyofu/BLINK_Benchmark, README.md and eval/test_benchmark.py, commit 0cca9a3): one configuration a task, splits ``val`` and
``test``, answers such as ``(A)``, those of ``test`` held back for the leaderboard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tvt.core.choices import FORMATS
from tvt.core.question import Turn
from tvt.data.questions.batches import UncheckedQuestion
from tvt.data.questions.listed_options import in_brackets
from tvt.data.tasks import QuestionData

HubRow = Mapping[str, Any]
"""A row by column; an image is a mapping of ``bytes`` and ``path``, as it was stored."""


class RowFormat(ABC):
    """What a dataset's columns are."""

    version: int = 1
    """Raised whenever the same rows would give other questions."""
    materialise: bool = True
    """Whether the questions are written to a file once; not, where many share large images, as frames of one video."""
    needed: tuple[str, ...]
    """Columns without which nothing can be read."""
    id_column: str = "id"
    answer_column: str = "answer"

    @abstractmethod
    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """The question of a row.

        Args:
            row: the row.
            data: where it comes from, and how it is to be shown.

        Raises:
            ValueError: what is wrong with the row, and what to do.
        """

    def manifest_fault(self, data: QuestionData) -> str | None:
        """What a manifest lacks without which no row can be read, with the next step."""
        return None

    def copying(self, data: QuestionData) -> str | None:
        """How to make the local copy that is read, where the hub's files cannot be read as they are; else ``None``."""
        return None

    def hidden(self, row: HubRow) -> bool:
        """Whether the row's answer is secret."""
        return False

    def shown(self, row: HubRow) -> dict[str, Any]:
        """What a row of a dataset that is not stored asks, as plain values: two rows with the same ask the same."""
        return {name: row[name] for name in self.needed if name not in (self.id_column, self.answer_column)}

    def content(self, row: HubRow, data: QuestionData) -> Any:
        """What decides the question beside the row's columns, e.g. the digest of its video, as a plain value."""
        return None


def format_of(data: QuestionData) -> RowFormat:
    """The format of a dataset."""
    result: RowFormat = FORMATS.find(data.format)
    return result


def text_of(row: HubRow, column: str) -> str:
    """A text, or a number as text; empty where there is none."""
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"'{column}' is {_kind(value)}; it must be text")


def texts_of(row: HubRow, column: str) -> tuple[str, ...]:
    """A list of texts; empty where there is none."""
    value = row[column]
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"'{column}' is {_kind(value)}; it must be a list of texts")
    return tuple(value)


def numbered_images(columns: Collection[str]) -> list[str]:
    """The columns ``image_1``, ``image_2``, ..., in the order of their numbers."""
    result = [name for name in columns if name.startswith("image_") and name.removeprefix("image_").isdecimal()]
    return sorted(result, key=lambda name: int(name.removeprefix("image_")))


def image_of(value: Any, column: str) -> bytes:
    """The bytes of an image as they were stored, from the row or from the file that it names."""
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return bytes(value["bytes"])
        path = value.get("path")
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    raise ValueError(f"'{column}' holds no image; it must have the image's bytes")


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


class QuestionRows(RowFormat):
    """Rows in tvt's own columns; ``task``, ``question``, ``answers`` and ``turns`` may be missing, and images too."""

    needed = ("id", "prompt", "options", "answer")

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; without a column ``task`` it is the configuration, or the dataset's name."""
        name = str(data.dataset).rstrip("/").rpartition("/")[2]
        return UncheckedQuestion(
            id=text_of(row, "id"),
            task=(text_of(row, "task") if "task" in row else "") or data.config or name,
            prompt=text_of(row, "prompt"),
            options=texts_of(row, "options"),
            answer=text_of(row, "answer"),
            images=_images(row),
            question=(text_of(row, "question") if "question" in row else "") or None,
            answers=texts_of(row, "answers") if "answers" in row else (),
            turns=_turns(row),
        )


def _turns(row: HubRow) -> tuple[Turn, ...]:
    """The earlier turns of the column ``turns``, where it is there and filled."""
    turns = row.get("turns") or []
    try:
        return tuple(Turn(prompt=str(turn["prompt"]), answer=str(turn["answer"])) for turn in turns)
    except (TypeError, KeyError) as error:
        raise ValueError("'turns' is no list of turns; each needs 'prompt' and 'answer'") from error


def _images(row: HubRow) -> tuple[bytes, ...]:
    """The images of the list, or else those of the numbered columns that are there."""
    listed = row.get("images")
    if listed is not None:
        if not isinstance(listed, list):
            raise ValueError("'images' is no list; it must be a list of images")
        return tuple(image_of(value, "images") for value in listed)
    return tuple(image_of(row[name], name) for name in numbered_images(row) if row[name] is not None)


HIDDEN = "hidden"
"""What stands for an answer in the split ``test``."""


class BlinkRows(RowFormat):
    """Rows of BLINK, and of benchmarks that took over its columns."""

    needed = ("idx", "question", "choices", "answer", "prompt", "image_1")

    def question(self, row: HubRow, data: QuestionData) -> UncheckedQuestion:
        """See :meth:`RowFormat.question`; the task is the configuration, and images are those that are there."""
        answer = text_of(row, "answer").strip()
        return UncheckedQuestion(
            id=text_of(row, "idx"),
            task=data.config or text_of(row, "sub_task"),
            prompt=text_of(row, "prompt"),
            options=texts_of(row, "choices"),
            answer=in_brackets(answer),
            images=tuple(image_of(row[name], name) for name in numbered_images(row) if row[name] is not None),
            question=text_of(row, "question"),
        )

    def hidden(self, row: HubRow) -> bool:
        """Whether the answer is ``hidden``."""
        return text_of(row, "answer").strip().casefold() in ("", HIDDEN)
