"""What a reader of answers is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reader(ABC):
    """Reads the option or the number that a free answer names.

    How answers are read decides accuracies, and finetuning changes how a model answers. So a reader has a name and a version,
    which stand beside its results, and ``None`` (nothing could be read) is counted apart from wrong answers. Readers see the
    raw answer, which is stored, so that another reader asks no model again.
    """

    name: str
    """What ``--extract`` takes."""
    version: int
    """Raise it with every change that can change a reading."""
    title: str
    """Half a sentence for help and docs."""

    @abstractmethod
    def read_letter(self, text: str, options: Sequence[str]) -> str | None:
        """The upper-case letter of the option that an answer names.

        Args:
            text: the raw answer.
            options: the options' texts, ``A`` first.
        """

    @abstractmethod
    def read_number(self, text: str) -> float | None:
        """The finite number that an answer names."""

    @property
    def identity(self) -> dict[str, str | int]:
        """Name and version, as plain values."""
        return {"name": self.name, "version": self.version}
