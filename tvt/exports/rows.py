"""The rows of a mixed dataset, as exports take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LINES = "rows.jsonl"
PARQUET = "rows"
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Row:
    """One example: the conversation, of which the answers from ``completion`` are trained, and its images."""

    source: str
    id: str
    prompt: tuple[dict[str, str], ...]
    """``role`` and ``content`` (text); the images stand before the first user message's text."""
    completion: tuple[dict[str, str], ...]
    images: tuple[str, ...] = ()
    """Paths relative to the export's folder."""
    contents: tuple[bytes, ...] = field(default=(), repr=False)
    """The encoded images."""

    @property
    def where(self) -> str:
        """The row as messages name it."""
        return f"{self.source}, row {self.id}"

    @property
    def messages(self) -> tuple[dict[str, str], ...]:
        """The whole conversation."""
        return (*self.prompt, *self.completion)

    @property
    def first_user(self) -> int:
        """The message that holds the images."""
        return next(index for index, message in enumerate(self.messages) if message["role"] == "user")

    @property
    def untrained(self) -> tuple[int, ...]:
        """The assistant's messages on which no loss is taken: those before the completion."""
        return tuple(index for index, message in enumerate(self.prompt) if message["role"] == "assistant")

    @property
    def trained(self) -> tuple[int, ...]:
        """The assistant's messages that are trained."""
        start = len(self.prompt)
        return tuple(start + index for index, message in enumerate(self.completion) if message["role"] == "assistant")

    @property
    def single_answers(self) -> list[tuple[list[dict[str, str]], dict[str, str]]]:
        """Each trained answer with the conversation before it."""
        messages = self.messages
        return [(list(messages[:index]), messages[index]) for index in self.trained]


@dataclass(frozen=True, kw_only=True)
class RowsWritten:
    """What the rows of an export are, for its configuration."""

    counts: dict[str, int] = field(default_factory=dict)
    """Rows of each source."""
    with_images: int = 0
    images: int = 0
    """Different pictures."""
    most_pixels: int = 0
    """Of the largest picture."""
    least_side: int = 0
    """The shortest side of any picture, in pixels."""
    earlier: int = 0
    """Rows with an assistant's turn on which no loss is taken."""
    several: int = 0
    """Rows with several trained answers."""
    answers: int = 0
    """Trained answers in all."""

    @property
    def total(self) -> int:
        """Rows in all."""
        return sum(self.counts.values())


def mixed_files(folder: Path) -> list[Path]:
    """The parquet files of a mixed dataset, in order."""
    return sorted((folder / "data").glob("*.parquet"))


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of a mixed dataset in order, few in memory at a time."""
    import pyarrow.parquet as pq

    for path in mixed_files(folder):
        with pq.ParquetFile(path) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS_AT_ONCE):
                yield from map(row_of, batch.to_pylist())


def row_of(fields: dict[str, Any]) -> Row:
    """A row from its columns."""
    return Row(
        source=fields["source"],
        id=fields["id"],
        prompt=tuple({"role": message["role"], "content": message["content"]} for message in fields["prompt"]),
        completion=tuple({"role": message["role"], "content": message["content"]} for message in fields["completion"]),
        contents=tuple(image["bytes"] for image in fields["images"]),
    )
